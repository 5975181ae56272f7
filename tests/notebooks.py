"""Execute the notebooks and write them, with outputs, beside their scripts.

python -m tests.notebooks              # all of them
python -m tests.notebooks 02 07        # those whose name begins so
"""

import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
import tyro
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image
from traitlets.config import Config

from probes.cli.command_line import run_functions
from probes.jobs.sweep import progress_bar
from probes.jobs.validation import require

FOLDER = Path(__file__).parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def notebook(script: Path) -> NotebookNode:
    """Read a script as a notebook without outputs, whose cells are named by their place."""
    made = jupytext.read(script)
    for place, cell in enumerate(made.cells):
        cell.id = f"cell-{place}"
        cell.metadata = NotebookNode()
    made.metadata = NotebookNode(kernelspec=made.metadata["kernelspec"])
    return made


def execute(made: NotebookNode) -> None:
    """Run every cell in the folder of the notebooks; what it says on the way is left out."""
    with TemporaryDirectory() as place:
        # By sockets that are files: somebody may take a free port before the kernel listens there.
        sockets = {"transport": "ipc", "ip": f"{place}/kernel"}
        # How what is printed is cut depends on when the kernel sends it: together it is the same.
        NotebookClient(
            made, timeout=1200, kernel_name="python3", resources={"metadata": {"path": FOLDER}},
            coalesce_streams=True, config=Config(KernelManager=sockets),
        ).execute()  # fmt: skip
    for cell in made.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if not on_the_way(one)]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = smaller(output.data["image/png"])
    made.metadata = NotebookNode(kernelspec=made.metadata["kernelspec"])


def on_the_way(output: NotebookNode) -> bool:
    """Whether an output is a message or a progress bar, which stands still where it was last."""
    return output.get("name") == "stderr" or WIDGET in output.get("data", {})


def smaller(picture: str) -> str:
    """Write a picture with 64 colours, in a third of the bytes; both are PNG in base64."""
    written = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(64).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def write(script: Path) -> Path:
    """Execute a script as a notebook and write it beside the script."""
    made = notebook(script)
    execute(made)
    written = script.with_suffix(".ipynb")
    nbformat.write(made, written)
    return written


def main(names: tyro.conf.Positional[tuple[str, ...]] = ()) -> None:
    """Execute notebooks, two at a time with one thread each.

    Args:
        names: how the names of those that are asked for begin; all of them if left out.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    every = sorted(FOLDER.glob("*.py"))
    for name in names:
        known = any(one.name.startswith(name) for one in every)
        require(known, "names", f"beginnings of {', '.join(one.stem for one in every)}", name)
    scripts = [one for one in every if one.name.startswith(names or "")]
    with (
        ThreadPoolExecutor(2) as pool,
        progress_bar(len(scripts), "executing", "notebook") as bar,
    ):
        # The first are short: last, so that neither of the two waits long for the other.
        for done in as_completed([pool.submit(write, script) for script in reversed(scripts)]):
            bar.update()
            bar.write(str(done.result()))


if __name__ == "__main__":
    run_functions(main)

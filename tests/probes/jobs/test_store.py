"""What is kept survives: damaged files, two sweeps in one folder, a full disk."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.jobs import manifest, sealed_tables
from probes.jobs.atomic_files import write_whole
from probes.jobs.sealed_tables import DamagedTableError, read_sealed, write_sealed
from probes.jobs.store import Store
from tests.probes.commands import run_here, run_probe

QUICK = ("--task", "breast_cancer", "--n", "12", "--p", "0.1", "0.5", "--draws", "3",
         "--steps", "5", "--matrix", "--out", "here")  # fmt: skip
CELL_FILES = 12


def sweep(folder):
    done = run_here("stability", *QUICK, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [pd.read_parquet(folder / "here" / f"{name}.parquet") for name in ("rows", "matrix")], (
        done.stderr
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a sweep that nothing disturbed, and its tables."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, sweep(folder)[0]


@pytest.fixture
def undisturbed(finished):
    return finished[1]


def assert_same_tables(found, expected):
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)


def cut_in_half(content):
    return content[: len(content) // 2]


def flip_a_bit(content):
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


def replace_by_another(content):
    return b"PAR1"


@pytest.mark.slow
@pytest.mark.parametrize("harm", [cut_in_half, flip_a_bit, replace_by_another])
def test_a_damaged_file_is_named_set_aside_and_computed_again(harm, finished, tmp_path, undrawn):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    cells = tmp_path / "here/cells"
    file = sorted(cells.glob("*.parquet"))[0]
    content = file.read_bytes()
    file.write_bytes(harm(content))
    found, stderr = sweep(tmp_path)
    assert_same_tables(found, finished[1])
    assert len(stderr.splitlines()) == 1
    assert file.name in stderr
    assert (cells / file.name.replace(".parquet", ".damaged")).read_bytes() == harm(content)
    assert len(list(cells.glob("*.parquet"))) == CELL_FILES


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A table with every kind of column that rows have, and its file's bytes."""
    table = pd.DataFrame(
        {
            "number": [1.5, float("nan"), -0.0], "count": [1, 2, 3], "yes": [True, False, True],
            "word": ["a", "b", None], "nothing": [None] * 3,
        }
    )  # fmt: skip
    path = tmp_path_factory.mktemp("sealed") / "table.parquet"
    write_sealed(table, path)
    return read_sealed(path), path.read_bytes(), path


@settings(max_examples=300)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(sealed, place, bit):
    table, content, path = sealed
    at = int(place * len(content))
    path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
    try:
        found = read_sealed(path)
    except ValueError:
        return
    pd.testing.assert_frame_equal(found, table)


@settings(max_examples=50)
@given(share=st.floats(0, 1, exclude_max=True))
def test_no_missing_end_goes_unnoticed(sealed, share):
    _, content, path = sealed
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedTableError, match="cannot be read"):
        read_sealed(path)


def test_another_way_of_pandas_to_hold_text_is_no_damage(sealed):
    table, content, path = sealed
    path.write_bytes(content)
    with pd.option_context("mode.string_storage", "python"):
        found = read_sealed(path)
    # pandas 2 holds it in one way.
    assert found["word"].dtype != table["word"].dtype or table["word"].dtype == object
    assert found["word"].tolist()[:2] == ["a", "b"]


@pytest.mark.slow
def test_two_sweeps_share_a_folder(undisturbed, tmp_path, undrawn):
    both = [
        subprocess.Popen([sys.executable, "-m", "probes.stability", *QUICK], cwd=tmp_path,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
    assert_same_tables(sweep(tmp_path)[0], undisturbed)
    assert len(list((tmp_path / "here/cells").iterdir())) == CELL_FILES


@pytest.mark.slow
def test_a_full_disk_is_said_in_one_line_and_loses_nothing(
    undisturbed, small_disk, tmp_path, undrawn
):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(60 * 1024))
    full = run_here("stability", *QUICK, cwd=small_disk)
    assert full.returncode == 2
    assert len(full.stderr.splitlines()) == 1, full.stderr
    assert "No space left" in full.stderr
    cells = small_disk / "here/cells"
    kept = {file.name: file.read_bytes() for file in cells.iterdir()}
    assert 0 < len(kept) < CELL_FILES
    assert all(name.endswith(".parquet") for name in kept)
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert_same_tables(sweep(small_disk)[0], undisturbed)
    assert all((cells / name).read_bytes() == content for name, content in kept.items())


@dataclass(frozen=True)
class Thing:
    size: int = 1
    libraries: tuple[str, ...] = ()


@pytest.fixture
def kept(tmp_path):
    """A store that holds a table, and its file."""
    store = Store(tmp_path, "code")
    store.save(Thing(), pd.DataFrame({"a": [1.0]}))
    return store, store.path(Thing())


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (MemoryError(), "not enough memory"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (pa.ArrowMemoryError("malloc failed"), "not enough memory"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_trouble_of_reading_is_said_and_leaves_the_file_alone(kept, trouble, said, monkeypatch):
    store, path = kept
    content = path.read_bytes()

    def fail(*arguments):
        raise trouble

    of_arrow = isinstance(trouble, pa.ArrowMemoryError)
    with monkeypatch.context() as patched:
        place = (sealed_tables.pq, "read_table") if of_arrow else (Path, "read_bytes")
        patched.setattr(*place, fail)
        with pytest.raises(ValueError, match=f"cannot be read .{said}.; it is left as it is"):
            store.load(Thing())
    assert path.read_bytes() == content
    assert [one.name for one in store.cells.iterdir()] == [path.name]


@pytest.mark.slow
def test_a_file_without_the_right_to_read_it_is_left_alone(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    sweep(tmp_path)
    file = sorted((tmp_path / "here/cells").glob("*.parquet"))[0]
    file.chmod(0)
    done = run_probe("stability", *QUICK, cwd=tmp_path)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr
    file.chmod(0o600)
    assert sweep(tmp_path)[1] == ""


def test_wherever_ctrl_c_comes_no_part_of_a_file_is_left(tmp_path):
    path, before = tmp_path / "file", sys.gettrace()

    def stop(frame, event, argument):
        nonlocal lines
        lines -= event == "line"
        if lines < 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return stop

    for place in count():
        lines = place
        with suppress(KeyboardInterrupt):
            sys.settrace(stop)
            write_whole(path, Path.touch)
        sys.settrace(before)
        assert not list(tmp_path.glob(".*"))
        if lines >= 0:
            break
    assert place > 5
    assert path.exists()


def test_who_commits_while_a_run_ends_is_not_locked_out(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    file, index = tmp_path / "file", tmp_path / ".git/index"
    file.touch()
    git("init")
    git("add", "file")
    git("-c", "user.name=me", "-c", "user.email=me", "commit", "--message", "first")
    # What git writes anew where it may: the index, as the file's time is another.
    os.utime(file, (0, 0))
    before = index.read_bytes()
    monkeypatch.setattr(manifest, "__file__", str(file))
    assert len(manifest.git_revision()) == 40
    assert index.read_bytes() == before


def test_a_store_of_other_code_does_not_take_it(kept):
    store, _ = kept
    assert store.load(Thing()) is not None
    assert store.load(Thing(2)) is None
    assert Store(store.folder, "other code").load(Thing()) is None


def test_a_store_names_what_it_used(kept):
    store, path = kept
    again = Store(store.folder, "code")
    again.load(Thing())
    again.save(Thing(), pd.DataFrame({"a": [1.0]}))
    assert again.used == store.used == [path.name]

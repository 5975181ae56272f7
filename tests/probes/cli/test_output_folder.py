"""A folder holds one run: another is refused by what is different, or has a folder of its own."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from probes import stability
from probes.cli.output_folder import (
    check_folder,
    nothing_left_of_a_refusal,
    own_folder,
    remove_left_over,
    written_files,
)
from tests.probes.commands import assert_refused, run_here

pytestmark = pytest.mark.slow

RUN = {"p": (0.1,), "n": 64, "out": "here", "workers": 1}


def keep(folder, question="stability", **changes):
    folder.mkdir(parents=True)
    content = {"question": question, "settings": RUN | changes, "files": ["rows.parquet"]}
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize("changes", [{}, {"workers": 2}, {"out": "elsewhere"}])
def test_the_same_run_is_written_again(changes, tmp_path):
    keep(tmp_path / "a", **changes)
    check_folder(tmp_path / "a", "stability", RUN)
    assert own_folder(tmp_path / "a", "stability", RUN) == tmp_path / "a"
    assert written_files(tmp_path / "a") == ["rows.parquet", "manifest.json"]


@pytest.mark.parametrize("name", ["out", "max_memory", "minutes", "matrix", "workers", "engine"])
def test_how_a_run_is_done_does_not_matter(name, tmp_path):
    keep(tmp_path / "a", **{name: "there"})
    check_folder(tmp_path / "a", "stability", RUN | {name: "here"})


def test_a_run_that_ended_first_is_not_written_over(tmp_path, undrawn):
    """Two that begin at once have a folder that is free; both keep their cells there."""
    shared = {"task": "ridge", "n": 8, "draws": 2, "steps": 5, "out": tmp_path / "a"}

    def gather(settings, cells, sweep):
        stability.measure(p=0.2, **shared)
        return sweep(cells)

    slower = replace(stability.PROBE, gather=gather)
    with pytest.raises(ValueError, match=r"holds another \(p 0.2 there, 0.1 here\)"):
        slower.measure(p=0.1, **shared)
    kept = json.loads((tmp_path / "a/manifest.json").read_text())
    assert kept["settings"]["p"] == [0.2]
    assert {*pd.read_parquet(tmp_path / "a/rows.parquet")["p"]} == {0.2}
    assert len(list((tmp_path / "a/cells").iterdir())) == 4


def test_two_differences_are_said_and_long_values_are_cut(tmp_path):
    keep(tmp_path / "a", data="x" * 40, task="y" * 39)
    with pytest.raises(ValueError, match=r"holds another \(n") as refused:
        check_folder(tmp_path / "a", "stability", {"n": 8, "data": "here", "task": "here"})
    assert f"(n 64 there, 8 here; data {'x' * 37}... there, here here; ...)" in str(refused.value)
    with pytest.raises(ValueError, match=f"task {'y' * 39} there"):
        check_folder(tmp_path / "a", "stability", {"task": "here"})
    with pytest.raises(ValueError, match=r"\(n 64 there, 8 here; task y+ there, here here\):"):
        check_folder(tmp_path / "a", "stability", {"n": 8, "task": "here"})


@pytest.mark.parametrize("refused", [ValueError, OSError])
def test_folders_within_the_folder_of_a_refusal_go_first(refused, tmp_path):
    folder = tmp_path / "a" / "b"

    @nothing_left_of_a_refusal(folder)
    def refuse():
        (folder / "cells" / "one" / "two").mkdir(parents=True)
        raise refused("late")

    with pytest.raises(refused, match="late"):
        refuse()
    assert not (tmp_path / "a").exists()
    with pytest.raises(refused, match="late"), nothing_left_of_a_refusal(None):
        raise refused("late")


def test_a_setting_that_json_does_not_know_is_compared_as_text(tmp_path):
    keep(tmp_path / "a", own="mine:own")
    check_folder(tmp_path / "a", "stability", RUN | {"own": Path("mine:own")})
    with pytest.raises(ValueError, match="own mine:own there, yours:own here"):
        check_folder(tmp_path / "a", "stability", RUN | {"own": Path("yours:own")})


def test_what_the_same_run_wrote_before_and_not_now_is_removed(tmp_path):
    """A config of a recommendation that holds no more, for example; nothing of anybody else's."""
    folder = tmp_path / "a"
    keep(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    files = ["rows.parquet", "adapter_config.json", "../elsewhere"]
    (folder / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    for name in (*files, "mine.txt"):
        (folder / name).touch()
    (folder / "adapter_config.json").unlink()  # as the user may have done
    files.append("method.json")
    (folder / "method.json").touch()
    (folder / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    remove_left_over(folder, ["rows.parquet"])
    left = {"rows.parquet", "manifest.json", "mine.txt"}
    assert {path.name for path in folder.iterdir()} == left
    assert (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "content", [{"settings": 5}, {"settings": [], "files": 3}, {"files": [1, None]}]
)
def test_a_manifest_of_something_else_is_that_of_another_run(content, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="holds another"):
        check_folder(tmp_path, "stability", RUN)
    assert written_files(tmp_path) == ["manifest.json"]
    remove_left_over(tmp_path, [])


def test_a_manifest_that_cannot_be_read_is_none(tmp_path):
    for content in ("[" * 100_000, "{", "[]", "5"):
        (tmp_path / "manifest.json").write_text(content)
        check_folder(tmp_path, "stability", RUN)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"p": (0.1, 0.3)}, "p 0.1 0.3 there, 0.1 here"), ({"n": 32}, "n 32 there, 64 here"),
        ({"question": "curves"}, "of curves"),
    ],
)  # fmt: skip
def test_another_run_is_refused_by_what_is_different(changes, words, tmp_path):
    keep(tmp_path / "a", **changes)
    with pytest.raises(ValueError, match=words):
        check_folder(tmp_path / "a", "stability", RUN)
    assert own_folder(tmp_path / "a", "stability", RUN) == tmp_path / "a-2"
    keep(tmp_path / "a-2", n=16)
    keep(tmp_path / "a-3")
    assert own_folder(tmp_path / "a", "stability", RUN) == tmp_path / "a-3"


@pytest.mark.parametrize("content", [None, "", "[]", "{"])
def test_a_folder_without_a_manifest_is_free(content, tmp_path):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    check_folder(tmp_path, "stability", RUN)


def test_the_command_line_refuses_and_keeps_apart(tmp_path, undrawn):
    quick = ["--task", "ridge", "--n", "6", "--draws", "1", "--steps", "2"]
    for _ in range(2):
        done = run_here("stability", *quick, "--p", "0.1", "--out", "here", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    words = ["out must be a folder of this run alone", "p 0.1 there, 0.3 here", "--out"]
    assert_refused("stability", [*quick, "--p", "0.3", "--out", "here"], words, tmp_path)
    for p, folder in (("0.1", "stability"), ("0.3", "stability-2"), ("0.1", "stability")):
        done = run_here("stability", *quick, "--p", p, cwd=tmp_path)
        assert done.stdout.splitlines()[-1].startswith(f"written to runs/{folder}/: rows.parquet")


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (["a/b/cells"], []),
        (["a/b/cells/deep", "a/b/rows"], []),
        (["mine/cells"], []),
        (["mine/other"], ["other"]),
    ],
)
def test_a_value_that_is_refused_late_leaves_no_empty_folder(made, kept, tmp_path):
    """What a cell finds wrong, as a column that is not in the file."""
    (tmp_path / "mine").mkdir()

    def run():
        with nothing_left_of_a_refusal((tmp_path / made[0]).parents[made[0].endswith("deep")]):
            for name in made:
                (tmp_path / name).mkdir(parents=True)
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        run()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert [path.name for path in (tmp_path / "mine").iterdir()] == kept


def test_cells_that_are_done_stay_where_a_later_one_is_refused(tmp_path):
    def run():
        with nothing_left_of_a_refusal(tmp_path / "c"):
            (tmp_path / "c/cells").mkdir(parents=True)
            (tmp_path / "c/cells/one.parquet").touch()
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        run()
    assert (tmp_path / "c/cells/one.parquet").exists()


@pytest.mark.parametrize("name", ["a" * 300, "a" * 5000, "\udcff"])
def test_a_name_that_no_folder_can_have_is_refused_by_its_flag(name, tmp_path):
    shared = ["--statement", "sparsity"]
    assert_refused("verify", [*shared, "--out", name], ["out must be a "], tmp_path)

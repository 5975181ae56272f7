"""The splits of a folder: which files they are, and what is said where there are none."""

import json
from dataclasses import replace

import pytest

from probes.finetuning.splits import (
    Split,
    has_split,
    read_split,
    require_columns,
    require_texts,
    rows_with,
)
from probes.finetuning.task import Corpus
from tests.probes.finetuning.corpora import write_jsonl


def corpus(folder):
    return Corpus(str(folder), "", "", None, None, None, 0)


def test_a_row_in_which_there_is_nothing_to_see_is_left_out(tmp_path):
    texts = ("a", " ", "\u200b", "b")
    write_jsonl(tmp_path / "train.jsonl", [{"output": text} for text in texts])
    split = read_split("hub/name", None, "train", corpus(tmp_path))
    assert rows_with(split, ["output"]) == ([0, 3], {"without output": 2})


def test_a_folder_of_save_to_disk_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file of split 'train' in [^:]*$"):
        read_split("hub/name", None, "train", corpus(tmp_path))
    for name in ("dataset_dict", "dataset_info", "state"):
        (tmp_path / f"{name}.json").write_text("{}")
        with pytest.raises(ValueError, match=r"a folder of save_to_disk is not read \(write its s"):
            read_split("hub/name", None, "train", corpus(tmp_path))
        (tmp_path / f"{name}.json").unlink()


def read(folder, split="train", config=None):
    return read_split("hub/name", config, split, corpus(folder))


def test_the_files_of_a_split_are_those_of_the_first_place_and_of_the_best_format(tmp_path):
    """The folder of the config, the folder itself, data; formats that know types come first."""
    assert not has_split("mine", "train", corpus(tmp_path))
    assert has_split("mine", "train", replace(corpus(tmp_path), data=None))
    tried = [
        ("data__train.csv", "text\na"), ("data__train.jsonl", '{"text": "b"}'),
        ("train.tsv", "text\nc"), ("train.jsonl.", ""), ("training.jsonl", '{"text": "d"}'),
        ("train-of.jsonl", '{"text": "e"}'), ("mine__train.csv", "text\nf"),
    ]  # fmt: skip
    found = []
    for name, text in tried:
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        found.append("".join(read(tmp_path, config="mine").table["text"]))
        assert has_split("mine", "train", corpus(tmp_path))
    assert "".join(found) == "abcccef"
    assert read(tmp_path).table["text"][0] == "e"
    (tmp_path / "train.parquet").mkdir()  # no file
    assert read(tmp_path).table["text"][0] == "e"


@pytest.mark.parametrize("name", ["validation", "dev"])
def test_validation_has_two_names(name, tmp_path):
    write_jsonl(tmp_path / f"{name}.jsonl", [{"text": "a"}])
    assert read(tmp_path, "validation").table["text"] == ["a"]
    with pytest.raises(ValueError, match="no file of split 'test'"):
        read(tmp_path, "test")


def test_rows_of_several_files_stand_one_after_the_other_and_know_their_line(tmp_path):
    texts = {"train-2.jsonl": [None, "c", None, "d"], "train-1.jsonl": ["a", None, "b"]}
    for name, lines in texts.items():
        rows = ["" if one is None else json.dumps({"text": one}) for one in lines]
        (tmp_path / name).write_text("\n".join(rows))
    split = read(tmp_path)
    assert split.table["text"] == ["a", "b", "c", "d"]
    one, two = (tmp_path / f"train-{number}.jsonl" for number in (1, 2))
    places = [f"{one}: line 1", f"{one}: line 3", f"{two}: line 2", f"{two}: line 4"]
    assert [split.where(row) for row in range(4)] == places
    assert split.source == f"{one}, {two}"
    hub = Split("split train of name", split.table)
    assert (hub.source, hub.where(3)) == (hub.name, "split train of name: row 4")


def test_what_is_no_text_is_named_by_its_place(tmp_path):
    write_jsonl(tmp_path / "train-1.jsonl", [{"a": "x", "b": 1.5}, {"a": "y", "b": 2.0}])
    write_jsonl(tmp_path / "train-2.jsonl", [{"a": "z", "b": 3.0}, {"a": None, "b": 4.0}])
    split = read(tmp_path)
    require_columns(split, ["a", "b"])
    with pytest.raises(
        ValueError, match=r"train-1.jsonl, .*2.jsonl has no column c, d; there are a, b"
    ):
        require_columns(split, ["c", "a", "d"])
    with pytest.raises(
        ValueError, match=r"train-2.jsonl: line 2, column 'a', must be a text; it is nothing"
    ):
        require_texts(split, ["a"])
    with pytest.raises(
        ValueError, match=r"train-1.jsonl: line 1, column 'b', .* it is of type float"
    ):
        require_texts(split, ["b"])
    write_jsonl(tmp_path / "train-2.jsonl", [{"a": "z", "b": "three"}])
    with pytest.raises(
        ValueError, match=r"must have the same columns \(\S*-1.jsonl, \S*-2.jsonl\): "
    ):
        read(tmp_path)


@pytest.mark.parametrize("count", [2, 5, 8])
def test_the_first_value_of_another_kind_is_named_wherever_it_stands(count, tmp_path):
    for first in range(1, count):
        values = [1] * first + ["two", *[3, "four", [5], {}][: count - first - 1]]
        write_jsonl(tmp_path / "train.jsonl", [{"n": 0, "value": value} for value in values])
        said = rf"train.jsonl: line {first + 1}, column 'value', holds a value of another kind"
        with pytest.raises(ValueError, match=said):
            read(tmp_path)


def test_the_hub_is_asked_for_the_split_of_the_config_and_its_refusal_is_a_line(
    tmp_path, monkeypatch
):
    hub = replace(corpus(tmp_path), data=None)
    monkeypatch.setattr("datasets.load_dataset", lambda *names, split: (*names, split))
    for config, name in (("mine", "split train of mine"), (None, "split train of hub/name")):
        asked = ("hub/name", config, "train")
        assert read_split("hub/name", config, "train", hub) == Split(name, asked)

    def refuse(*names, split):
        raise RuntimeError("outer") from OSError("the cause\nand more")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(ValueError, match=r"^data of hub/name cannot be read: the cause$"):
        read_split("hub/name", None, "train", hub)

"""The splits of a folder: which files they are, and what is said where there are none."""

import pytest

from probes.finetuning.splits import read_split, rows_with
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
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a folder of save_to_disk is not read \(write its spl"):
        read_split("hub/name", None, "train", corpus(tmp_path))

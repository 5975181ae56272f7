"""Tasks of GLUE from a folder: what cannot be scored is named before training."""

import pytest
from transformers import AutoTokenizer

from probes.finetuning.classification import glue_task
from probes.finetuning.task import Corpus
from tests.probes.finetuning.corpora import write_glue


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [("rte", "train", "2 different classes"), ("cola", "validation", "2 different classes"),
     ("stsb", "validation", "2 different numbers")],
)  # fmt: skip
def test_labels_that_are_all_the_same_are_refused(name, split, words, models, tmp_path):
    folder = write_glue(
        name, tmp_path, 1 if name == "stsb" else 2,
        lambda which, table: table.assign(label=1) if which == split else table,
    )  # fmt: skip
    corpus = Corpus(folder, "", "", None, None, 16, 0)
    tokenizer = AutoTokenizer.from_pretrained(models["classifier"])
    with pytest.raises(
        ValueError, match=rf"{split}-.*, column 'label', must hold at least {words}"
    ):
        glue_task(name, corpus, tokenizer)

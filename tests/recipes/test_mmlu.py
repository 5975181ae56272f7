"""Answers to MMLU: the same as one question at a time, scored by the whole text."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipes.mmlu import (
    LETTERS,
    MmluSettings,
    accuracy_of,
    answer_logits,
    answer_tokens,
    measure_mmlu,
)
from tests.recipes.shell import run_module
from tests.recipes.tiny import save_deberta, save_llama, write_mmlu


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("llama") / "model")


def test_logits_are_those_of_one_prompt_at_a_time(llama):
    model = AutoModelForCausalLM.from_pretrained(llama).double()
    tokenizer = AutoTokenizer.from_pretrained(llama)
    prompts = ["cats see fish Answer:", "dogs Answer:", "what do birds like ? Answer:"]

    @torch.no_grad()
    def forward(**inputs):
        return model(**inputs).logits

    found = answer_logits(forward, prompts, tokenizer, batch=2, longest=100)
    relative = found - found[:, :1]
    for prompt, logits in zip(prompts, relative, strict=True):
        # As lm-evaluation-harness does: the log-probability of the text that goes on with a letter.
        scores = []
        for letter in LETTERS:
            ids = tokenizer(f"{prompt} {letter}", return_tensors="pt")["input_ids"]
            scores.append(float(forward(input_ids=ids)[0, -2].log_softmax(-1)[ids[0, -1]]))
        # float64, a few hundred operations.
        np.testing.assert_allclose(np.array(scores) - scores[0], logits, atol=1e-10)


def test_the_end_of_a_prompt_that_is_too_long_is_read(llama):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    lengths = []

    def forward(input_ids, attention_mask):
        lengths.append(input_ids.shape[1])
        return torch.zeros(*input_ids.shape, len(tokenizer))

    answer_logits(forward, ["cats " * 30 + "Answer:"], tokenizer, batch=1, longest=8)
    assert lengths == [8]


def test_a_tokenizer_that_does_not_know_the_letters_is_refused(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(save_deberta(tmp_path / "model"))
    with pytest.raises(ValueError, match="one token of each of A, B, C and D"):
        answer_tokens(tokenizer)


@pytest.mark.parametrize("flags", [["--batch", "0"], ["--ensemble", "-1"], ["--limit", "0"]])
def test_bad_numbers_are_one_line(flags, llama, tmp_path):
    words = ["recipes.mmlu", "--runs", str(tmp_path), "--model", llama, *flags]
    status, said, complaint = run_module(str(tmp_path), words)
    assert (status, said) == (2, "")
    assert re.fullmatch(rf"error: {flags[0][2:]} must be at least \d; got -?\d\n", complaint)


def test_runs_without_adapters_are_refused(llama, tmp_path):
    settings = MmluSettings((tmp_path,), llama, data=write_mmlu(tmp_path / "mmlu"), limit=2)
    with pytest.raises(ValueError, match="no finished runs"):
        measure_mmlu(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "column 'question', must be a text; it is nothing"),
        ({"subject": None}, "column 'subject', must be a text; it is nothing"),
        ({"choices": None}, "column 'choices', must be 4 texts; got None"),
        ({"choices": ["cats", "dogs"]}, "column 'choices', must be 4 texts; got "),
        ({"choices": ["cats", None, "a", "b"]}, "column 'choices', must be 4 texts; got "),
        ({"answer": 4}, "column 'answer', must be from 0 to 3; got 4"),
        ({"answer": None}, "column 'answer', must be from 0 to 3; got None"),
    ],
)
def test_a_question_that_is_damaged_is_named(change, message, llama, tmp_path):
    row = {"question": "what ?", "subject": "birds", "choices": ["a", "b", "c", "d"], "answer": 1}
    rows = [row, row | change]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pd.DataFrame([{"task": "alpaca", "p": 0.0, "inference": "no masks", "method": "lora"}]).assign(
        samples=1, draw=0
    ).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=rf"test\.jsonl: line 2, {message}"):
        measure_mmlu(MmluSettings((tmp_path,), llama, data=str(tmp_path)))


def test_a_model_that_has_diverged_has_no_accuracy():
    """The largest of four NaN is the first: it would have a quarter of the answers right."""
    logits = np.zeros((8, 4))
    answers = np.arange(8) % 4
    assert accuracy_of(logits, answers) == 0.25
    logits[3, 2] = np.nan
    assert math.isnan(accuracy_of(logits, answers))

"""Instructions and answers: what is learned, and which rows are refused."""

import pytest
from transformers import AutoTokenizer

from probes.finetuning.instructions import instruction_task
from probes.finetuning.task import Corpus
from tests.probes.finetuning.corpora import SENTENCES, VOCABULARY, write_jsonl


@pytest.fixture
def tokenizer(models):
    return AutoTokenizer.from_pretrained(models["writer"])


def write(folder, change=None):
    rows = [{"instruction": f"say {one}", "input": "", "output": one} for one in SENTENCES]
    rows[3] |= change or {}
    write_jsonl(folder / "train.jsonl", rows)
    return Corpus(str(folder), "", "", None, None, 32, 0)


def test_the_loss_is_over_the_answer(tmp_path, tokenizer):
    task = instruction_task(write(tmp_path, {"input": None}), tokenizer)
    for row in task.train:
        answer = [VOCABULARY[label] for label in row["labels"] if label >= 0]
        assert answer[-1] == tokenizer.eos_token
        assert " ".join(answer[:-1]) in SENTENCES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruction": None}, "'instruction', must be a text; it is nothing"),
        ({"output": None}, "'output', must be a text; it is nothing"),
        ({"output": ["a", "b"]}, "'output', holds a value of another kind than the rows above"),
        ({"input": 5}, "'input', holds a value of another kind"),
        ({"output": "\ud83d"}, "'output', is no Unicode text"),
    ],
)
def test_a_row_that_is_damaged_is_named(change, message, tmp_path, tokenizer):
    with pytest.raises(ValueError, match=rf"train\.jsonl: line 4, column {message}"):
        instruction_task(write(tmp_path, change), tokenizer)


def test_what_cannot_be_learned_is_left_out_and_said(tmp_path, tokenizer, capsys):
    rows = [{"instruction": f"say {one}", "output": one} for one in SENTENCES]
    rows[0]["output"], rows[1], rows[2]["output"] = " ", rows[3], "fish " * 40
    write_jsonl(tmp_path / "train.jsonl", rows)
    task = instruction_task(Corpus(str(tmp_path), "", "", None, None, 32, 0), tokenizer)
    assert len(task.train) + len(task.held_out) == 25
    said = capsys.readouterr().err
    assert "train.jsonl: 27 rows, 25 used: 1 without output, 1 duplicate\n" in said
    assert "; answers that are cut after 32 tokens: 1\n" in said


def test_a_column_of_numbers_is_no_text(tmp_path, tokenizer):
    rows = [{"instruction": "say", "input": "", "output": number} for number in range(12)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    given = Corpus(str(tmp_path), "", "", None, None, 32, 0)
    with pytest.raises(ValueError, match="line 1, column 'output', must be a text; it is of"):
        instruction_task(given, tokenizer)


def test_an_answer_needs_an_end(tmp_path, tokenizer):
    given = write(tmp_path)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="a token for the end of an answer"):
        instruction_task(given, tokenizer)

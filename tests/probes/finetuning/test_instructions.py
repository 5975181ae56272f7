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


@pytest.mark.parametrize("context", ["", "cats"])
@pytest.mark.parametrize("tokens", [64, 24])
def test_the_model_reads_question_and_answer_and_no_padding_is_learned(
    context, tokens, tmp_path, tokenizer
):
    rows = [{"instruction": f"say {one}", "input": context, "output": one} for one in SENTENCES]
    write_jsonl(tmp_path / "train.jsonl", rows)
    given = Corpus(str(tmp_path), "", "", 20, None, tokens, 0)
    task = instruction_task(given, tokenizer)
    read = {}
    for one in SENTENCES:
        beside = f"### Input:\n{context}\n\n" if context else ""
        asked = f"### Instruction:\nsay {one}\n\n{beside}### Response:\n"
        ids = [*tokenizer(asked)["input_ids"], *_ids(one, tokenizer), tokenizer.eos_token_id]
        begin = len(tokenizer(asked)["input_ids"])
        read[tuple(ids[:tokens])] = ([-100] * begin + ids[begin:])[:tokens]
    for row in task.train:
        assert row["labels"] == read[tuple(row["input_ids"])]
        assert row["attention_mask"] == [1] * len(row["labels"])
    longer = {name: [*values, 1] for name, values in task.train[0].items()}
    padded = task.collate([task.train[0], longer])
    assert padded["labels"][0, -1] == -100
    assert padded["attention_mask"][0, -1] == 0


def _ids(text, tokenizer):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(("rows", "asked", "found"), [(27, None, 2), (27, 1, 1), (10, 9, 1)])
def test_a_tenth_is_held_out_at_most_the_same_for_every_seed(
    rows, asked, found, tmp_path, tokenizer
):
    lines = [{"instruction": f"say {one}", "output": one} for one in SENTENCES[:rows]]
    write_jsonl(tmp_path / "train.jsonl", lines)
    tasks = [
        instruction_task(Corpus(str(tmp_path), "", "", None, asked, 32, seed), tokenizer)
        for seed in (0, 1)
    ]
    held_out = [task.held_out["input_ids"] for task in tasks]
    assert len(held_out[0]) == found
    assert list(held_out[0]) == list(held_out[1])
    assert len(tasks[0].train) == rows - found
    assert not {*map(tuple, held_out[0])} & {*map(tuple, tasks[0].train["input_ids"])}
    few = instruction_task(Corpus(str(tmp_path), "", "", 4, asked, 32, 0), tokenizer)
    assert (few.n, few.pool, tasks[0].pool) == (4, rows - found, None)


def test_of_nine_examples_none_can_be_held_out(tmp_path, tokenizer):
    lines = [{"instruction": f"say {one}", "output": one} for one in SENTENCES[:9]]
    write_jsonl(tmp_path / "train.jsonl", lines)
    with pytest.raises(ValueError, match="at least 10 examples are needed; there are 9"):
        instruction_task(Corpus(str(tmp_path), "", "", None, None, 32, 0), tokenizer)


def test_a_question_that_fills_all_tokens_teaches_nothing(tmp_path, tokenizer, capsys):
    lines = [{"instruction": f"say {one}", "output": one} for one in SENTENCES]
    for row in lines[::2]:
        row["instruction"] *= 9
    write_jsonl(tmp_path / "train.jsonl", lines)
    given = Corpus(str(tmp_path), "", "", None, None, 32, 0)
    task = instruction_task(given, tokenizer)
    assert len(task.train) + len(task.held_out) == 13
    said = capsys.readouterr().err
    assert "alpaca, training: 25 rows, 12 used: 13 whose question fills all tokens\n" in said
    write_jsonl(tmp_path / "train.jsonl", [row | {"instruction": "say " * 40} for row in lines])
    with pytest.raises(ValueError, match="no answer begins within 32 tokens: give more --tokens"):
        instruction_task(given, tokenizer)


def test_a_column_that_is_not_there_is_named(tmp_path, tokenizer):
    write_jsonl(tmp_path / "train.jsonl", [{"instruction": one} for one in SENTENCES])
    with pytest.raises(ValueError, match=r"train\.jsonl has no column output; there are instruct"):
        instruction_task(Corpus(str(tmp_path), "", "", None, None, 32, 0), tokenizer)


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

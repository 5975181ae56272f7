"""SQuAD: perfect predictions score 1 in every layout; damaged examples are named."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from probes.finetuning.spans import squad_task
from probes.finetuning.task import Corpus
from tests.probes.finetuning.corpora import SENTENCES

TOKENS = 16
LONG = " ".join(SENTENCES[:20])


@pytest.fixture
def tokenizer(models):
    return AutoTokenizer.from_pretrained(models["reader"])


def example(number, sentence):
    words = sentence.split()
    answer = {"text": [words[2]], "answer_start": [sentence.index(words[2])]}
    return {"id": str(number), "context": sentence, "question": f"what do {words[0]} ?",
            "answers": answer}  # fmt: skip


def write(folder, change=lambda number, row: row, splits=(SENTENCES[:6], SENTENCES[6:12])):
    for split, chosen in zip(("train", "validation"), splits, strict=True):
        rows = [change(number, example(number, one)) for number, one in enumerate(chosen)]
        pd.DataFrame(rows).to_json(folder / f"{split}-0.jsonl", orient="records", lines=True)
    return corpus(folder)


def corpus(folder, tokens=TOKENS):
    return Corpus(str(folder), "", "", None, None, tokens, 0)


def score_of_perfect_predictions(task, tokens=TOKENS):
    starts, ends = (
        10.0 * np.eye(tokens)[task.held_out[name]] for name in ("start_positions", "end_positions")
    )
    return task.metrics(SimpleNamespace(predictions=(starts, ends)))


@pytest.mark.parametrize(
    "change",
    [
        lambda number, row: row,
        lambda number, row: row | {"id": "the same"},
        lambda number, row: {name: value for name, value in row.items() if name != "id"},
        lambda number, row: row | {"question": "   " + row["question"]},
        lambda number, row: row | {"question": row["question"] + " do" * 40},
    ],
    ids=["plain", "ids that occur twice", "no ids", "spaces", "longer than the window"],
)
def test_perfect_predictions_score_one(change, tmp_path, tokenizer):
    task = squad_task("squad", write(tmp_path, change), tokenizer)
    assert score_of_perfect_predictions(task) == {"score": 1.0, "exact_match": 1.0}


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        ("cats see fish .", " fish "),
        ("cats see \u200bfish .", "\u200bfish"),
        ("cats see fish\u0301 .", "fish\u0301"),
        ("cats see\n\nfish", "\nfish"),
    ],
    ids=["blanks", "no width", "a mark", "a line"],
)
def test_what_an_answer_begins_or_ends_with_need_not_be_a_token(
    context, answer, tmp_path, tokenizer
):
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    given = write(tmp_path, lambda number, row: row | {"context": context, "answers": answers})
    task = squad_task("squad", given, tokenizer)
    fish = tokenizer.convert_tokens_to_ids("fish")
    for row in task.train:
        assert row["input_ids"][row["start_positions"] : row["end_positions"] + 1] == [fish]


def bytes_alone():
    """A tokenizer in which a character may be four tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", pad_token="</s>"
    )


@pytest.mark.parametrize(("tokens", "kept"), [(15, "\U0001f600"), (9, "")])
def test_a_question_is_not_cut_within_a_character(tokens, kept, tmp_path):
    tokenizer = bytes_alone()
    write(tmp_path, lambda number, row: row | {"question": "\U0001f600" * 9})
    for row in squad_task("squad", corpus(tmp_path, tokens), tokenizer).train:
        ids = row["input_ids"]
        assert tokenizer.decode(ids[1 : ids.index(1)]) == kept


def test_windows_and_questions_are_as_long_as_is_said(tmp_path, tokenizer):
    splits = [LONG], SENTENCES[:2]
    with pytest.raises(ValueError, match="n must be from 2"):
        squad_task("squad", write(tmp_path, splits=splits), tokenizer)
    write(tmp_path, splits=([LONG, LONG], SENTENCES[:2]))
    task = squad_task("squad", corpus(tmp_path, tokens=24), tokenizer)
    assert (len(task.train), len(task.held_out)) == (12, 2)
    # An example is one however many windows it has.
    assert (task.n, task.pool) == (2, None)
    asked, first, second = (task.train["input_ids"][window] for window in (0, 0, 1))
    begin = asked.index(tokenizer.sep_token_id) + 1
    assert begin == len(["[CLS]", "what", "do", "cats", "?", "[SEP]"])
    assert first[-1 - 8 : -1] == second[begin : begin + 8]
    write(tmp_path, lambda number, row: row | {"question": "do " * 99}, ([LONG] * 2, [LONG] * 2))
    task = squad_task("squad", corpus(tmp_path, tokens=None), tokenizer)
    for row in task.train:
        assert len(row["input_ids"]) == 384
        assert row["input_ids"].index(tokenizer.sep_token_id) == 1 + 64


@pytest.mark.parametrize(
    ("length", "better", "right"), [(30, 0, True), (31, 0, False), (1, 19, True), (1, 20, False)]
)
def test_an_answer_has_30_tokens_and_is_sought_among_20_ends(
    length, better, right, tmp_path, tokenizer
):
    """The ends that are better lie in the question and in the padding."""
    answer = " ".join(LONG.split()[:length])
    answers = {"text": [answer], "answer_start": [0]}
    change = {"context": LONG, "question": "what do cats ?", "answers": answers}
    write(tmp_path, lambda number, row: row | change)
    task = squad_task("squad", corpus(tmp_path, tokens=96), tokenizer)
    starts, ends = (
        10.0 * np.eye(96)[task.held_out[name]] for name in ("start_positions", "end_positions")
    )
    ends[:, [*range(5), *range(75, 95)][:better]] = 20.0
    found = task.metrics(SimpleNamespace(predictions=(starts, ends)))
    assert (found["exact_match"] == 1) == right


def test_a_tokenizer_that_knows_no_places_is_refused(tmp_path):
    with pytest.raises(ValueError, match="task squad needs a fast tokenizer"):
        squad_task("squad", write(tmp_path), SimpleNamespace(is_fast=False))


def test_rows_without_a_question_are_left_out_and_what_is_cut_is_said(tmp_path, tokenizer, capsys):
    changes = {1: {"question": " "}, 2: {"question": "what do cats ? " * 9}}
    task = squad_task(
        "squad", write(tmp_path, lambda number, row: row | changes.get(number, {})), tokenizer
    )
    assert len(task.train) == 5
    said = capsys.readouterr().err
    assert "train-0.jsonl: 6 rows, 5 used: 1 without question; 0 without an answer\n" in said
    assert "squad, training: 5 windows; questions that are cut: 1\n" in said


def without_every_other_answer(number, row):
    return row | ({"answers": {"text": [], "answer_start": []}} if number % 2 else {})


def test_an_answer_in_which_there_is_nothing_to_see_is_none(tmp_path, tokenizer, capsys):
    answers = {"text": [" "], "answer_start": [4]}
    squad_task("squad_v2", write(tmp_path, lambda _, row: row | {"answers": answers}), tokenizer)
    assert "train-0.jsonl: 6 rows, 6 used; 6 without an answer\n" in capsys.readouterr().err


@pytest.mark.parametrize("special", ["cls_token", "bos_token", None])
def test_no_answer_is_the_first_special_token_also_behind_padding(special, tmp_path, tokenizer):
    tokenizer.padding_side, token = "left", tokenizer.cls_token_id
    tokenizer.cls_token = tokenizer.bos_token = None
    if special:
        setattr(tokenizer, special, "[CLS]")
    for row in squad_task("squad_v2", write(tmp_path, no_answer), tokenizer).train:
        place = row["input_ids"].index(token) if special else 0
        assert row["input_ids"][0] == tokenizer.pad_token_id
        assert row["start_positions"] == row["end_positions"] == place


def no_answer(number, row):
    return row | {"answers": {"text": [], "answer_start": []}}


@pytest.mark.parametrize(
    "answers", [{"text": [5], "answer_start": [0]}, {"text": ["cats"], "answer_start": ["0"]}]
)
def test_answers_that_are_no_texts_at_characters_are_named(answers, tmp_path, tokenizer):
    given = write(tmp_path, lambda number, row: row | {"answers": answers})
    with pytest.raises(ValueError, match=r"train-0\.jsonl: line 1, .* must hold texts and char"):
        squad_task("squad", given, tokenizer)


def test_questions_without_an_answer_are_scored(tmp_path, tokenizer):
    task = squad_task("squad_v2", write(tmp_path, without_every_other_answer), tokenizer)
    assert score_of_perfect_predictions(task)["score"] == 1.0


def test_a_model_whose_logits_are_not_finite_has_no_score(tmp_path, tokenizer):
    """It predicts no answer, which is the right one to the questions that have none."""
    task = squad_task("squad_v2", write(tmp_path, without_every_other_answer), tokenizer)
    logits = np.zeros((len(task.held_out), TOKENS))
    for lost in (np.nan, np.inf):
        damaged = logits.copy()
        damaged[0, 3] = lost
        found = task.metrics(SimpleNamespace(predictions=(logits, damaged)))
        assert set(found) == {"score", "exact_match"}
        assert all(math.isnan(value) for value in found.values())
    masked = np.where(np.arange(TOKENS) == 0, -np.inf, logits)
    assert task.metrics(SimpleNamespace(predictions=(masked, masked)))["score"] >= 0


def test_the_least_window_that_is_allowed_has_room(tmp_path, tokenizer):
    write(tmp_path)
    task = squad_task("squad", corpus(tmp_path, tokens=8), tokenizer)
    assert {len(row) for row in task.train["input_ids"]} == {8}
    with pytest.raises(ValueError, match=r"tokens must leave room for the text .* got 4"):
        squad_task("squad", corpus(tmp_path, tokens=4), tokenizer)


def test_squads_own_files_hold_the_same_examples(tmp_path, tokenizer):
    flat, nested = tmp_path / "flat", tmp_path / "nested"
    flat.mkdir()
    nested.mkdir()
    expected = squad_task("squad", write(flat), tokenizer)
    for name, chosen in (("train-v1.1", SENTENCES[:6]), ("dev-v1.1", SENTENCES[6:12])):
        paragraphs = []
        for number, sentence in enumerate(chosen):
            row = example(number, sentence)
            (text,), (start,) = row["answers"].values()
            asked = {"id": row["id"], "question": row["question"],
                     "answers": [{"text": text, "answer_start": start}]}  # fmt: skip
            paragraphs.append({"context": row["context"], "qas": [asked]})
        content = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
        (nested / f"{name}.json").write_text(json.dumps(content))
    found = squad_task("squad", corpus(nested), tokenizer)
    assert found.train.to_dict() == expected.train.to_dict()
    assert score_of_perfect_predictions(found)["score"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "'question', must be a text; it is nothing"),
        ({"context": None}, "'context', must be a text"),
        ({"question": 5}, "'question', holds a value of another kind than the rows above"),
        ({"answers": None}, "'answers', must hold texts, and as many numbers"),
        ({"answers": {"text": ["fish"], "answer_start": []}}, "'answers', must hold texts, and as"),
        (
            {"answers": {"text": ["fish"], "answer_start": [1]}},
            "'fish' at character 1 of context, where it",
        ),
        ({"answers": {"text": ["fish"], "answer_start": [-1]}}, "characters from 0; got 'fish'"),
    ],
)
def test_an_example_that_is_damaged_is_named(change, message, tmp_path, tokenizer):
    given = write(tmp_path, lambda number, row: row | (change if number == 3 else {}))
    with pytest.raises(ValueError, match=rf"train-0\.jsonl: line 4, column .*{message}"):
        squad_task("squad", given, tokenizer)

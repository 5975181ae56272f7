"""Answering questions by a span of a text: SQuAD 1.1 and 2.0."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from torchmetrics.functional.text import squad

from probes.finetuning.task import (
    Corpus,
    FinetuneTask,
    draw_training,
    read_split,
    require_columns,
    take_held_out,
)

#: Name and config on the hub.
HUB_NAMES = {"squad": ("rajpurkar/squad", "plain_text"),
             "squad_v2": ("rajpurkar/squad_v2", "squad_v2")}  # fmt: skip
COLUMNS = ("id", "question", "context", "answers")
#: Share of a window that the next window of a long text repeats.
OVERLAP = 1 / 3
#: Longest answer, in tokens, and how many starts and ends are tried with each other.
LONGEST, CANDIDATES = 30, 20


def squad_task(name: str, corpus: Corpus, tokenizer: Any) -> FinetuneTask:
    """Load SQuAD.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250 (1.1); Rajpurkar et al. 2018, arXiv 1806.03822
    (2.0, with questions that have no answer).

    Args:
        name: "squad" or "squad_v2".
        corpus: where the examples are, how many are used, and how many tokens a window has.
        tokenizer: of the model, a fast one.

    Returns:
        Tokenized windows of the texts, which overlap by ``OVERLAP``; ``score`` is F1.

    Raises:
        ValueError: data that is not there or not of that kind, or a tokenizer that does not say
            which token is which part of the text.
    """
    from transformers import default_data_collator

    if not tokenizer.is_fast:
        raise ValueError(f"task {name} needs a fast tokenizer, which knows the place of a token")
    parts = []
    for split, choose in (("train", draw_training), ("validation", take_held_out)):
        table = read_split(*HUB_NAMES[name], split, corpus)
        require_columns(table, COLUMNS, f"split {split} of {name}")
        parts.append(choose(table, corpus))
    windows = [
        table.map(
            partial(_windows, tokenizer=tokenizer, tokens=corpus.tokens),
            batched=True, remove_columns=table.column_names, keep_in_memory=True,
        )
        for table in parts
    ]  # fmt: skip
    examples, held_out = parts[1], windows[1]
    return FinetuneTask(
        windows[0].remove_columns(["example", "offsets"]),
        held_out.remove_columns(["example", "offsets"]),
        model="AutoModelForQuestionAnswering",
        peft_type="QUESTION_ANS",
        collate=default_data_collator,
        label_names=["start_positions", "end_positions"],
        score_name="F1",
        metrics=partial(span_metrics, examples, held_out, tokenizer.cls_token_id),
    )


def span_metrics(examples: Any, windows: Any, cls: int, predictions: Any) -> dict[str, Any]:
    """Measure the predicted answers.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250 (F1 and exact match), by torchmetrics.

    Args:
        examples: questions, contexts and answers.
        windows: tokenized windows of these examples.
        cls: id of the token that a span of no answer consists of.
        predictions: of a trainer: logits of starts and ends, (windows, tokens) each.

    Returns:
        ``score`` (F1) and ``exact_match``, means over examples, in [0, 1].
    """
    starts, ends = predictions.predictions[:2]
    answers = {key: text for key, text in _answers(examples, windows, starts, ends, cls)}
    made, given = [], []
    for example in examples:
        # An answer that is none is the empty text, which matches itself.
        texts = example["answers"]["text"] or [""]
        made.append({"id": example["id"], "prediction_text": answers[example["id"]]})
        given.append({"id": example["id"],
                      "answers": {"text": texts, "answer_start": [0] * len(texts)}})  # fmt: skip
    found = squad(made, given)
    return {"score": float(found["f1"]) / 100, "exact_match": float(found["exact_match"]) / 100}


def _windows(rows: dict[str, list[Any]], tokenizer: Any, tokens: int) -> dict[str, Any]:
    """Cut question and context into windows, and find the tokens of the first answer."""
    made = tokenizer(
        rows["question"], rows["context"], truncation="only_second", max_length=tokens,
        stride=int(tokens * OVERLAP), return_overflowing_tokens=True, return_offsets_mapping=True,
        padding="max_length",
    )  # fmt: skip
    source = made.pop("overflow_to_sample_mapping")
    offsets = made.pop("offset_mapping")
    result: dict[str, Any] = dict(made)
    spans = []
    for window, example in enumerate(source):
        cls = made["input_ids"][window].index(tokenizer.cls_token_id)
        of_context = [part == 1 for part in made.sequence_ids(window)]
        places = [
            list(place) if inside else [-1, -1]
            for place, inside in zip(offsets[window], of_context, strict=True)
        ]
        offsets[window] = places
        answer = rows["answers"][example]
        spans.append(_span(places, answer["answer_start"], answer["text"], cls))
    start, end = zip(*spans, strict=True)
    result |= {"start_positions": list(start), "end_positions": list(end)}
    return result | {"example": [rows["id"][number] for number in source], "offsets": offsets}


def _span(
    places: list[list[int]], starts: list[int], texts: list[str], cls: int
) -> tuple[int, int]:
    """First and last token of the answer; the token ``cls`` twice where it is not in the window."""
    if not starts:
        return cls, cls
    first, last = starts[0], starts[0] + len(texts[0])
    inside = [
        token for token, (begin, end) in enumerate(places) if begin < last and end > first >= 0
    ]
    if not inside or places[inside[0]][0] > first or places[inside[-1]][1] < last:
        return cls, cls
    return inside[0], inside[-1]


def _answers(
    examples: Any, windows: Any, starts: Any, ends: Any, cls: int
) -> Iterator[tuple[str, str]]:
    """The best span of all windows of each example, or no answer where that scores more."""
    by_example: dict[str, list[int]] = {}
    for number, key in enumerate(windows["example"]):
        by_example.setdefault(key, []).append(number)
    can_be_none = any(not answer["text"] for answer in examples["answers"])
    for example in examples:
        best, text = -np.inf, ""
        none = np.inf
        for number in by_example[example["id"]]:
            window = windows[number]
            place = window["input_ids"].index(cls)
            none = min(none, starts[number][place] + ends[number][place])
            for score, begin, end in _spans(window["offsets"], starts[number], ends[number]):
                if score > best:
                    best, text = score, example["context"][begin:end]
        yield example["id"], "" if can_be_none and none > best else text


def _spans(places: Any, starts: Any, ends: Any) -> Iterator[tuple[float, int, int]]:
    """Score and characters of every span of the most probable starts and ends."""
    for first in np.argsort(starts)[-CANDIDATES:]:
        for last in np.argsort(ends)[-CANDIDATES:]:
            inside = places[first][0] >= 0 and places[last][0] >= 0
            if inside and first <= last < first + LONGEST:
                yield float(starts[first] + ends[last]), places[first][0], places[last][1]

"""Answering questions by a span of a text: SQuAD 1.1 and 2.0."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from torchmetrics.functional.text import squad

from probes.finetuning.splits import (
    Split,
    read_split,
    require_columns,
    require_texts,
    rows_with,
)
from probes.finetuning.task import (
    Corpus,
    FinetuneTask,
    default_tokens,
    draw_training,
    pool_of,
    take_held_out,
)
from probes.jobs.amounts import how_many
from probes.tasks.labelled_texts import rows_used, say_once
from probes.tasks.text_file import bare

#: Name and config on the hub.
HUB_NAMES = {"squad": ("rajpurkar/squad", "plain_text"),
             "squad_v2": ("rajpurkar/squad_v2", "squad_v2")}  # fmt: skip
TEXTS = ("question", "context")
#: What is known of a window and is not read by the model.
BESIDE = ["example", "offsets", "none", "cut"]
#: Share of a window that the next window of a long text repeats.
OVERLAP = 1 / 3
#: Longest question, in tokens, as in the programs of Devlin et al. 2019, arXiv 1810.04805; and at
#: most a share of the window.
QUESTION, QUESTION_SHARE = 64, 1 / 3
#: Longest answer, in tokens, and how many starts and ends are tried with each other.
LONGEST, CANDIDATES = 30, 20


def squad_task(name: str, corpus: Corpus, tokenizer: Any) -> FinetuneTask:
    """Load SQuAD.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250 (1.1); Rajpurkar et al. 2018, arXiv 1806.03822
    (2.0, with questions that have no answer).

    Args:
        name: "squad" or "squad_v2".
        corpus: where the examples are, how many are used, and how many tokens a window has. Files
            are laid out as on the hub, or as SQuAD's own.
        tokenizer: of the model, a fast one.

    Returns:
        Tokenized windows of the texts, which overlap by ``OVERLAP``, with questions of at most
        ``QUESTION`` tokens and ``QUESTION_SHARE`` of a window; ``score`` is F1.

    Raises:
        ValueError: data that is not there or not of that kind, or a tokenizer that does not say
            which token is which part of the text.
    """
    from transformers import default_data_collator

    if not tokenizer.is_fast:
        raise ValueError(f"task {name} needs a fast tokenizer, which knows the place of a token")
    tables = [
        _checked(read_split(*HUB_NAMES[name], split, corpus)) for split in ("train", "validation")
    ]
    parts = [draw_training(tables[0], corpus), take_held_out(tables[1], corpus)]
    windows = [
        table.map(
            partial(_windows, tokenizer=tokenizer, tokens=corpus.tokens or default_tokens(name)),
            batched=True, with_indices=True, remove_columns=table.column_names,
            keep_in_memory=True,
        )
        for table in parts
    ]  # fmt: skip
    _say_what_is_cut(name, windows)
    examples, held_out = parts[1], windows[1]
    return FinetuneTask(
        windows[0].remove_columns(BESIDE),
        held_out.remove_columns(BESIDE),
        model="AutoModelForQuestionAnswering",
        peft_type="QUESTION_ANS",
        collate=default_data_collator,
        label_names=["start_positions", "end_positions"],
        score_name="F1",
        metrics=partial(span_metrics, examples, held_out),
        outputs=2,
        pool=pool_of(tables[0], corpus),
        examples=len(parts[0]),
    )


def _say_what_is_cut(name: str, windows: list[Any]) -> None:
    for which, table in zip(("training", "held-out"), windows, strict=True):
        pairs = zip(table["example"], table["cut"], strict=True)
        cut = {example for example, is_cut in pairs if is_cut}
        said = f"{name}, {which}: {how_many(len(table), 'window')}"
        say_once(f"{said}; questions that are cut: {len(cut)}" if cut else said)


def _checked(split: Split) -> Any:
    """Check every example, and give all answers one layout: texts, and where each begins.

    Rows without a question or a context are left out, which is said.
    """
    require_texts(split, TEXTS)
    require_columns(split, ["answers"])
    table = split.table
    answers = [
        _answer(answer, context, f"{split.where(row)}, column 'answers',")
        for row, (answer, context) in enumerate(
            zip(table["answers"], table["context"], strict=True)
        )
    ]
    kept, left_out = rows_with(split, TEXTS)
    table = table.select_columns(list(TEXTS)).add_column("answers", answers).select(kept)
    none = sum(not answers[row]["text"] for row in kept)
    say_once(
        f"{split.source}: {rows_used(len(answers), len(kept), left_out)}; {none} without an answer"
    )
    return table


def _answer(answer: Any, context: str, where: str) -> dict[str, list[Any]]:
    """The texts of an answer and the characters that they begin at, in the hub's layout."""
    if isinstance(answer, list):  # SQuAD's own layout
        kinds = ("text", "answer_start")
        answer = {kind: [one.get(kind) for one in answer] for kind in kinds} if all(
            isinstance(one, dict) for one in answer
        ) else None  # fmt: skip
    try:
        texts, starts = list(answer["text"]), list(answer["answer_start"])
        pairs = list(zip(texts, starts, strict=True))
    except (TypeError, KeyError, ValueError):
        raise ValueError(
            f"{where} must hold texts, and as many numbers of answer_start; it is {answer}"
        ) from None
    for text, start in pairs:
        if not isinstance(text, str) or not isinstance(start, int) or start < 0:
            raise ValueError(
                f"{where} must hold texts and characters from 0; got {text!r}, {start!r}"
            )
        if context[start : start + len(text)] != text:
            raise ValueError(
                f"{where} says {text!r} at character {start} of context, where it is not"
            )
    given = [(text, start) for text, start in pairs if bare(text)]
    return {"text": [text for text, _ in given], "answer_start": [start for _, start in given]}


def span_metrics(examples: Any, windows: Any, predictions: Any) -> dict[str, Any]:
    """Measure the predicted answers.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250 (F1 and exact match), by torchmetrics.

    Args:
        examples: contexts and answers.
        windows: tokenized windows of these examples, each with the number of its example.
        predictions: of a trainer: logits of starts and ends, (windows, tokens) each.

    Returns:
        ``score`` (F1) and ``exact_match``, means over examples, in [0, 1]. Of a model whose logits
        are NaN or infinite both are NaN; -inf is a token that the model rules out.
    """
    starts, ends = predictions.predictions[:2]
    if not all((one < np.inf).all() for one in (starts, ends)):
        return {"score": float("nan"), "exact_match": float("nan")}
    made: list[Any] = []
    given: list[Any] = []
    for number, answer in enumerate(_answers(examples, windows, starts, ends)):
        # An answer that is none is the empty text, which matches itself.
        texts = examples[number]["answers"]["text"] or [""]
        made.append({"id": str(number), "prediction_text": answer})
        given.append({"id": str(number),
                      "answers": {"text": texts, "answer_start": [0] * len(texts)}})  # fmt: skip
    found = squad(made, given)
    return {"score": float(found["f1"]) / 100, "exact_match": float(found["exact_match"]) / 100}


def _windows(
    rows: dict[str, list[Any]], numbers: list[int], tokenizer: Any, tokens: int
) -> dict[str, Any]:
    """Cut question and context into windows, and find the tokens of the first answer."""
    longest = min(QUESTION, int(tokens * QUESTION_SHARE))
    room = tokens - longest - tokenizer.num_special_tokens_to_add(pair=True)
    if room < 2:
        raise ValueError(f"tokens must leave room for the text beside the question; got {tokens}")
    questions, cut = _cut(rows["question"], tokenizer, longest)
    made = tokenizer(
        questions, rows["context"], truncation="only_second", max_length=tokens,
        stride=min(int(tokens * OVERLAP), room - 1), return_overflowing_tokens=True,
        return_offsets_mapping=True, padding="max_length",
    )  # fmt: skip
    source = made.pop("overflow_to_sample_mapping")
    offsets = made.pop("offset_mapping")
    result: dict[str, Any] = dict(made)
    nones = []
    for window, ids in enumerate(made["input_ids"]):
        nones.append(_place_of_none(ids, tokenizer))
        of_context = [part == 1 for part in made.sequence_ids(window)]
        offsets[window] = [
            list(place) if inside else [-1, -1]
            for place, inside in zip(offsets[window], of_context, strict=True)
        ]
    spans = _spans_of_answers(offsets, source, rows["answers"], nones)
    start, end = zip(*spans, strict=True)
    result |= {"start_positions": list(start), "end_positions": list(end), "none": nones}
    return result | {"example": [numbers[place] for place in source], "offsets": offsets,
                     "cut": [cut[place] for place in source]}  # fmt: skip


def _cut(questions: list[str], tokenizer: Any, longest: int) -> tuple[list[str], list[bool]]:
    """Cut questions after a number of tokens, and take the spaces from their beginning.

    Returns:
        The questions, and whether each was cut.
    """
    questions = [question.lstrip() for question in questions]
    counts = map(len, tokenizer(questions, add_special_tokens=False)["input_ids"])
    cut = [count > longest for count in counts]
    made = [
        _first_tokens(question, tokenizer, longest) if is_cut else question
        for question, is_cut in zip(questions, cut, strict=True)
    ]
    return made, cut


def _first_tokens(text: str, tokenizer: Any, most: int) -> str:
    """Cut a text after as many tokens, or fewer where the cut makes more of its last word."""
    while True:
        coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        places = coded["offset_mapping"]
        if len(places) <= most:
            return text
        # A character may be several tokens, which all end behind it.
        text = text[: max((end for _, end in places[:most] if end < len(text)), default=0)]


def _place_of_none(ids: list[int], tokenizer: Any) -> int:
    """Place of the token that a span of no answer consists of: the first special one there is."""
    for token in (tokenizer.cls_token_id, tokenizer.bos_token_id):
        if token is not None and token in ids:
            return ids.index(token)
    return 0


def _spans_of_answers(
    offsets: list[list[list[int]]], source: list[int], answers: list[Any], nones: list[int]
) -> list[tuple[int, int]]:
    """First and last token of the first answer in each window.

    Twice the place of none where the window lacks one of the answer's tokens. There may be none of
    what an answer begins or ends with, such as a blank: no window lacks that. A token is known by
    where it ends, as where it begins may depend on the window.
    """
    found, whole = [], [set[int]() for _ in answers]
    for places, example in zip(offsets, source, strict=True):
        tokens = _tokens_of(answers[example], places)
        pieces = {places[token][1] for token in tokens}
        whole[example] |= pieces
        found.append((tokens, pieces))
    return [
        (tokens[0], tokens[-1]) if tokens and pieces == whole[example] else (none, none)
        for (tokens, pieces), example, none in zip(found, source, nones, strict=True)
    ]


def _tokens_of(answer: Any, places: list[list[int]]) -> list[int]:
    """Tokens of a window in which there is something of the first answer."""
    if not answer["text"]:
        return []
    first = answer["answer_start"][0]
    last = first + len(answer["text"][0])
    return [token for token, (begin, end) in enumerate(places) if begin < last and end > first >= 0]


def _answers(examples: Any, windows: Any, starts: Any, ends: Any) -> Iterator[str]:
    """The best span of all windows of each example, or no answer where that scores more."""
    by_example: dict[int, list[int]] = {}
    for window, example in enumerate(windows["example"]):
        by_example.setdefault(example, []).append(window)
    can_be_none = any(not answer["text"] for answer in examples["answers"])
    for number, context in enumerate(examples["context"]):
        best, text = -np.inf, ""
        none = np.inf
        for index in by_example[number]:
            window = windows[index]
            none = min(none, starts[index][window["none"]] + ends[index][window["none"]])
            for score, begin, end in _spans(window["offsets"], starts[index], ends[index]):
                if score > best:
                    best, text = score, context[begin:end]
        yield "" if can_be_none and none > best else text


def _spans(places: Any, starts: Any, ends: Any) -> Iterator[tuple[float, int, int]]:
    """Score and characters of every span of the most probable starts and ends."""
    for first in np.argsort(starts)[-CANDIDATES:]:
        for last in np.argsort(ends)[-CANDIDATES:]:
            inside = places[first][0] >= 0 and places[last][0] >= 0
            if inside and first <= last < first + LONGEST:
                yield float(starts[first] + ends[last]), places[first][0], places[last][1]

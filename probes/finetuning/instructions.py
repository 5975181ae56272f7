"""Following instructions by a causal language model: the format of Alpaca."""

from dataclasses import replace
from typing import Any

from probes.finetuning.splits import (
    Split,
    read_split,
    require_columns,
    require_texts,
    rows_with,
)
from probes.finetuning.task import (
    HELD_OUT_SEED,
    Corpus,
    FinetuneTask,
    default_tokens,
    draw_training,
    pool_of,
)
from probes.jobs.amounts import how_many
from probes.models.pretrained import LANGUAGE_MODEL
from probes.tasks.labelled_texts import rows_used, say_once

HUB_NAME = "tatsu-lab/alpaca"
COLUMNS = ("instruction", "input", "output")
#: Of these, what every example has.
REQUIRED = ("instruction", "output")
#: The data has no split that is held out: this many examples are, or a tenth if that is less.
HELD_OUT = 1000
#: What is left out as there is nothing to learn.
OF_QUESTION = "whose question fills all tokens"
#: Ours, and not the wording that Alpaca's models were trained with.
PROMPT = "### Instruction:\n{instruction}\n\n{context}### Response:\n"
CONTEXT = "### Input:\n{input}\n\n"


def instruction_task(corpus: Corpus, tokenizer: Any) -> FinetuneTask:
    """Load instructions and their answers; the loss is over the tokens of the answers.

    Source: the data and their format are those of Taori et al. 2023, "Stanford Alpaca".

    Args:
        corpus: where the examples are, how many are used, and after how many tokens questions and
            answers together are cut.
        tokenizer: of the model, with tokens for padding and for the end of an answer.

    Returns:
        Tokenized examples, each once, without those that lack a question or an answer or whose
        question fills all tokens.

    Raises:
        ValueError: data that is not there or not of that kind.
    """
    from transformers import DataCollatorForSeq2Seq

    table = _examples(read_split(HUB_NAME, None, "train", corpus))
    held_out = min(corpus.held_out or HELD_OUT, len(table) // 10)
    if held_out < 1:
        raise ValueError(f"at least 10 examples are needed; there are {len(table)}")
    parts = table.train_test_split(held_out, seed=HELD_OUT_SEED)
    tokens, end = corpus.tokens or default_tokens("alpaca"), tokenizer.eos_token_id
    if end is None:
        raise ValueError("task alpaca needs a tokenizer with a token for the end of an answer")

    def tokenize(row: dict[str, Any]) -> dict[str, Any]:
        context = CONTEXT.format(input=row["input"]) if row["input"] else ""
        prompt = tokenizer(PROMPT.format(instruction=row["instruction"], context=context))
        answer = tokenizer(row["output"], add_special_tokens=False)["input_ids"]
        asked = prompt["input_ids"]
        answer = [*answer, end]
        return {
            "input_ids": (asked + answer)[:tokens],
            "attention_mask": [1] * min(len(asked + answer), tokens),
            "labels": ([-100] * len(asked) + answer)[:tokens],
            "cut": len(asked + answer) > tokens,
        }

    def prepare(table: Any, which: str) -> Any:
        made = table.map(tokenize, remove_columns=table.column_names, keep_in_memory=True)
        # Where the question alone fills the window there is nothing to learn.
        kept = made.filter(lambda row: any(label >= 0 for label in row["labels"][1:]))
        none, cut = len(made) - len(kept), sum(kept["cut"])
        say_once(
            f"alpaca, {which}: {rows_used(len(made), len(kept), {OF_QUESTION: none})}"
            + (f"; answers that are cut after {how_many(tokens, 'token')}: {cut}" if cut else "")
        )
        return kept.remove_columns("cut")

    train = prepare(draw_training(parts["train"], corpus), "training")
    kept = prepare(parts["test"], "held-out")
    if not len(train) or not len(kept):
        raise ValueError(f"no answer begins within {how_many(tokens, 'token')}: give more --tokens")
    return FinetuneTask(
        train,
        kept,
        model=LANGUAGE_MODEL,
        peft_type="CAUSAL_LM",
        collate=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
        label_names=["labels"],
        pool=pool_of(parts["train"], corpus),
    )


def _examples(split: Split) -> Any:
    """The examples with a question and an answer, each once; an input may be missing."""
    require_columns(split, REQUIRED)
    table = split.table
    if "input" not in table.column_names:
        table = table.add_column("input", [""] * len(table))
    context = ["" if text is None else text for text in table["input"]]
    split = replace(split, table=table.remove_columns("input").add_column("input", context))
    require_texts(split, COLUMNS)
    table = split.table.select_columns(list(COLUMNS))
    whole, left_out = rows_with(split, REQUIRED)
    texts = list(zip(*(table[name] for name in COLUMNS), strict=True))
    kept = list({texts[row]: row for row in reversed(whole)}.values())[::-1]
    left_out["duplicates"] = len(whole) - len(kept)
    say_once(f"{split.source}: {rows_used(len(table), len(kept), left_out)}")
    return table.select(kept)

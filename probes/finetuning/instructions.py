"""Following instructions by a causal language model: the format of Alpaca."""

from typing import Any

from probes.finetuning.task import (
    HELD_OUT_SEED,
    Corpus,
    FinetuneTask,
    draw_training,
    read_split,
    require_columns,
)

HUB_NAME = "tatsu-lab/alpaca"
COLUMNS = ("instruction", "input", "output")
#: The data has no split that is held out: this many examples are, or a tenth if that is less.
HELD_OUT = 1000
#: Ours, and not the wording that Alpaca's models were trained with.
PROMPT = "### Instruction:\n{instruction}\n\n{context}### Response:\n"
CONTEXT = "### Input:\n{input}\n\n"


def instruction_task(corpus: Corpus, tokenizer: Any) -> FinetuneTask:
    """Load instructions and their answers; the loss is over the tokens of the answers.

    Source: the data and their format are those of Taori et al. 2023, "Stanford Alpaca".

    Args:
        corpus: where the examples are, how many are used, and how many tokens of each.
        tokenizer: of the model; it gets a token for padding if it has none.

    Returns:
        Tokenized examples, without those whose question fills all tokens.

    Raises:
        ValueError: data that is not there or not of that kind.
    """
    from transformers import DataCollatorForSeq2Seq

    table = read_split(HUB_NAME, None, "train", corpus)
    require_columns(table, COLUMNS, "the data")
    held_out = min(corpus.held_out or HELD_OUT, len(table) // 10)
    if held_out < 1:
        raise ValueError(f"at least 10 examples are needed; there are {len(table)}")
    parts = table.train_test_split(held_out, seed=HELD_OUT_SEED)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    def tokenize(row: dict[str, Any]) -> dict[str, Any]:
        context = CONTEXT.format(input=row["input"]) if row["input"] else ""
        prompt = tokenizer(PROMPT.format(instruction=row["instruction"], context=context))
        answer = tokenizer(row["output"], add_special_tokens=False)["input_ids"]
        asked = prompt["input_ids"]
        answer = [*answer, tokenizer.eos_token_id]
        return {
            "input_ids": (asked + answer)[: corpus.tokens],
            "attention_mask": [1] * min(len(asked + answer), corpus.tokens),
            "labels": ([-100] * len(asked) + answer)[: corpus.tokens],
        }

    def prepare(table: Any) -> Any:
        made = table.map(tokenize, remove_columns=table.column_names, keep_in_memory=True)
        # Where the question alone fills the window there is nothing to learn.
        return made.filter(lambda row: any(label >= 0 for label in row["labels"][1:]))

    train, kept = prepare(draw_training(parts["train"], corpus)), prepare(parts["test"])
    if not len(train) or not len(kept):
        raise ValueError(f"no answer begins within {corpus.tokens} tokens: give more --tokens")
    return FinetuneTask(
        train,
        kept,
        model="AutoModelForCausalLM",
        peft_type="CAUSAL_LM",
        collate=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
        label_names=["labels"],
    )

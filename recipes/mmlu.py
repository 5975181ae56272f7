"""MMLU without examples in the prompt, for the adapters of runs and for their base model.

python -m recipes.mmlu --runs runs/paper/alpaca/p* --model meta-llama/Llama-2-7b-hf --bf16
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import tyro
from numpy.typing import NDArray

from probes.cli.command_line import check_no_words, run_command_line
from probes.finetuning.splits import read_split, require_columns, require_texts
from probes.finetuning.task import Corpus
from probes.jobs.atomic_files import make_folder, write_whole
from probes.jobs.validation import require
from probes.models.pretrained import LANGUAGE_MODEL, load_pretrained
from recipes.runs import read_runs

HUB_NAME, CONFIG, SPLIT = "cais/mmlu", "all", "test"
LETTERS = ("A", "B", "C", "D")
#: The wording of lm-evaluation-harness, task "mmlu".
PROMPT = (
    "The following are multiple choice questions (with answers) about {subject}.\n\n"
    "{question}\nA. {choices[0]}\nB. {choices[1]}\nC. {choices[2]}\nD. {choices[3]}\nAnswer:"
)


@dataclass(frozen=True)
class MmluSettings:
    """Answer MMLU by the most probable of the four letters."""

    runs: tuple[Path, ...]
    """Folders of runs of probes.finetune on alpaca, with their adapters."""

    model: str
    """The base model: its name on the hub, or a folder."""

    data: str | None = None
    """Folder with the hub's layout of cais/mmlu, in place of the hub."""

    ensemble: int = 4
    """N at test time for adapters with dropout; 0 for the expected weight alone."""

    limit: int | None = None
    """Number of questions, the same for all. Default: all."""

    batch: int = 8
    """Questions a pass."""

    bf16: bool = False
    """Compute in bfloat16."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/paper/mmlu")
    """Folder for rows.parquet."""

    def check(self) -> None:
        """Check every number.

        Raises:
            ValueError: one is out of range.
        """
        require(self.ensemble >= 0, "ensemble", "at least 0", self.ensemble)
        require(self.batch >= 1, "batch", "at least 1", self.batch)
        require(self.limit is None or self.limit >= 1, "limit", "at least 1", self.limit)


def answer_tokens(tokenizer: Any) -> list[int]:
    """Find the tokens of the four answers, as they follow "Answer:".

    Raises:
        ValueError: a letter is not one token of its own.
    """
    whole = [tokenizer(f"Answer: {letter}", add_special_tokens=False) for letter in LETTERS]
    ids = [one["input_ids"] for one in whole]
    begin = tokenizer("Answer:", add_special_tokens=False)["input_ids"]
    if any(one[:-1] != begin for one in ids) or len({one[-1] for one in ids}) < len(LETTERS):
        raise ValueError("the model's tokenizer must make one token of each of A, B, C and D")
    return [one[-1] for one in ids]


def answer_logits(
    forward: Any, prompts: Sequence[str], tokenizer: Any, batch: int, longest: int
) -> NDArray[np.float64]:
    """Compute the logits of the four answers behind each prompt.

    Args:
        forward: takes token ids and attention mask, (batch, tokens), by name; returns logits,
            (batch, tokens, vocabulary).
        prompts: texts.
        tokenizer: of the model.
        batch: prompts a pass.
        longest: tokens; of a longer prompt the last are read.

    Returns:
        Logits, (prompts, 4).
    """
    tokens = answer_tokens(tokenizer)
    ids = [tokenizer(prompt)["input_ids"][-longest:] for prompt in prompts]
    found = np.empty((len(ids), len(LETTERS)))
    # Prompts of like length together, so that little is padded.
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        lengths = torch.tensor([len(ids[number]) for number in chosen])
        padded = torch.zeros(len(chosen), int(lengths.max()), dtype=torch.long)
        for row, number in enumerate(chosen):
            padded[row, : lengths[row]] = torch.tensor(ids[number])
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        logits = forward(input_ids=padded, attention_mask=mask.long())
        last = logits[torch.arange(len(chosen)), lengths.to(logits.device) - 1]
        found[chosen] = last[:, tokens].double().cpu().numpy()
    return found


def accuracy_of(logits: NDArray[np.float64], answers: NDArray[np.int64]) -> float:
    """Share of questions whose most probable answer is right.

    Args:
        logits: of the four answers, (questions, 4).
        answers: the right ones, from 0 to 3, (questions,).

    Returns:
        In [0, 1]; NaN of a model that has diverged, whose answers would all be A.
    """
    return float((logits.argmax(1) == answers).mean()) if np.isfinite(logits).all() else np.nan


def measure_mmlu(settings: MmluSettings) -> pd.DataFrame:
    """Answer the questions with the base model and with every adapter of the runs.

    Args:
        settings: of the command line.

    Returns:
        One row a run and inference: ``task`` ("mmlu"), ``method``, ``p``, ``samples``, ``draw``,
        ``inference``, ``ensemble``, ``accuracy`` over all questions, and their number. The base
        model has a row for every draw of the adapters, as it is compared with each.

    Raises:
        ValueError: a value out of range, runs without adapters, or a model or data that cannot be
            used.
    """
    import lora_dropout.peft  # noqa: F401  (PEFT then loads its adapters as such)

    settings.check()
    for folder in settings.runs:
        read_runs([folder])  # What is no run is refused before anything is loaded.
    questions = _questions(settings)
    prompts = [
        PROMPT.format(**row | {"subject": row["subject"].replace("_", " "),
                               "question": row["question"].strip()})
        for row in questions
    ]  # fmt: skip
    answers = np.array([row["answer"] for row in questions])
    tokenizer = load_pretrained("AutoTokenizer", settings.model)
    dtype = torch.bfloat16 if settings.bf16 else torch.float32
    base = load_pretrained(LANGUAGE_MODEL, settings.model, dtype=dtype).eval()
    base.to("cuda" if torch.cuda.is_available() else "cpu")
    longest = base.config.max_position_embeddings
    records = []
    for run, modes in _runs(settings, base):
        for inference, forward in modes.items():
            logits = answer_logits(forward, prompts, tokenizer, settings.batch, longest)
            right = accuracy_of(logits, answers)
            records.append(run | {"inference": inference, "accuracy": right})
            who = f"{run['method']}, p = {run['p']:g}, seed {run['draw']}, {inference}"
            print(f"{who}: {right:.4f}", file=sys.stderr)
    rows = pd.DataFrame(records).assign(task="mmlu", ensemble=settings.ensemble,
                                        questions=len(answers))  # fmt: skip
    bare = rows["method"] == "base model"
    copies = [rows[bare].assign(draw=draw) for draw in rows.loc[~bare, "draw"].unique()]
    return pd.concat([rows[~bare], *copies], ignore_index=True)


def _questions(settings: MmluSettings) -> list[dict[str, Any]]:
    corpus = Corpus(settings.data, "", "", None, None, 0, 0)
    split = read_split(HUB_NAME, CONFIG, SPLIT, corpus)
    require_texts(split, ("question", "subject"))
    require_columns(split, ("choices", "answer"))
    table = split.table
    rows = [dict(row) for row in table.select(range(min(settings.limit or len(table), len(table))))]
    for number, row in enumerate(rows):
        choices = row["choices"]
        four = isinstance(choices, list) and len(choices) == len(LETTERS)
        if not four or not all(isinstance(one, str) for one in choices):
            raise ValueError(
                f"{split.where(number)}, column 'choices', must be 4 texts; got {choices!r}"
            )
        if row["answer"] not in range(len(LETTERS)):
            raise ValueError(
                f"{split.where(number)}, column 'answer', must be from 0 to 3; got "
                f"{row['answer']!r}"
            )
    return rows


def _runs(settings: MmluSettings, base: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The base model, and one adapter after the other, each with its ways of inference."""
    from peft import PeftModel

    from lora_dropout import Ensemble

    def run(model: Any) -> Any:
        @torch.no_grad()
        def forward(**inputs: torch.Tensor) -> torch.Tensor:
            found = model(**{name: value.to(base.device) for name, value in inputs.items()})
            return getattr(found, "logits", found)

        return forward

    nobody = {"method": "base model", "p": 0.0, "samples": 1, "draw": 0}
    yield nobody, {"no adapter": run(base)}
    for folder in settings.runs:
        rows = read_runs([folder])
        for adapter, own in rows.groupby("adapter", sort=False):
            place = folder / "adapters" / str(adapter)
            require(place.is_dir(), "runs", "folders with their adapters", folder)
            model = PeftModel.from_pretrained(base, str(place)).eval()
            drops = own["p"].iloc[0] > 0
            modes = {"expected weight" if drops else "no masks": run(model)}
            if drops and settings.ensemble:
                modes["ensemble"] = run(Ensemble(model, settings.ensemble, lambda one: one.logits))
            # The tables' own names are made when the rows are read.
            names = ("p", "samples", "draw")
            method = own["method"].iloc[0].removesuffix(" Dropout").lower()
            yield {"method": method} | {name: own[name].iloc[0] for name in names}, modes
            base = model.unload()


def main() -> None:
    """Measure, keep the rows, and print the mean accuracies."""

    def answer(settings: MmluSettings, words: list[str]) -> int:
        check_no_words(MmluSettings, words)
        rows = measure_mmlu(settings)
        make_folder(settings.out)
        write_whole(settings.out / "rows.parquet", lambda path: rows.to_parquet(path, index=False))
        keys = ["method", "p", "inference"]
        print(rows.groupby(keys, sort=False)["accuracy"].agg(["mean", "count"]).to_string())
        return 0

    run_command_line(MmluSettings, answer, program="recipes.mmlu")


if __name__ == "__main__":
    main()

"""Instruction tuning by TRL's SFTTrainer, without and with LoRA Dropout.

python -m recipes.sft --model meta-llama/Llama-2-7b-hf --data FOLDER --per_device_train_batch_size 4

Flags that are not listed by --help are those of TRL's SFTConfig.
"""

import json
import math
from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tyro

from probes.cli.command_line import run_command_line
from probes.finetuning.arguments import OWN
from probes.finetuning.instructions import instruction_task
from probes.finetuning.library_errors import one_line_of_libraries
from probes.finetuning.padding import set_padding
from probes.finetuning.task import Corpus
from probes.jobs.atomic_files import make_folder, write_whole
from probes.jobs.validation import check_count, require
from probes.metrics.confidence_intervals import mean_interval
from probes.models.pretrained import LANGUAGE_MODEL, load_pretrained, weights_dtype
from probes.results.answer_words import interval_in_words
from probes.results.text_tables import TextTable, print_table

#: Of TRL's SFTConfig, where its flags say nothing else: those of values.csv for Alpaca.
DEFAULTS = {
    "learning_rate": 2e-4, "num_train_epochs": 3, "warmup_steps": 0.03, "save_strategy": "epoch",
    "report_to": [], "seed": 1,
}  # fmt: skip

#: Settings that the checkpoints of a rate and a seed do not depend on.
NOT_TRAINED = ("out", "p", "ensemble", "draws", "seed")
#: What is printed under the table.
NOTE = "held-out loss in nats a token of an answer; difference: from p = 0 with the same seed; {}"


@dataclass(frozen=True)
class SftSettings:
    """Tune a model on instructions by TRL, at each p, and evaluate it on held-out ones."""

    model: str
    """The base model: its name on the hub, or a folder."""

    data: str | None = None
    """Folder with Alpaca's layout, in place of the hub."""

    p: tuple[float, ...] = (0.0, 0.5)
    """Dropout rates that are compared."""

    samples: int = 4
    """N in training, at p > 0."""

    ensemble: int = 4
    """N at test time, at p > 0; 0 for the expected weight alone."""

    grouped: bool = False
    """One pass over the batch repeated N times: faster than N passes, for N times the memory."""

    rank: int = 16
    """Rank of the update."""

    alpha: float = 32.0
    """Scaling numerator of the update."""

    target: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the layers that are adapted."""

    tokens: int = 512
    """Question and answer are cut after that many tokens."""

    n: int | None = None
    """Training examples, drawn anew for every seed. Default: all."""

    draws: int = 1
    """Runs with seeds 0, 1, ... beyond --seed, which is 1 if left out: draws of the examples, of
    the initial factors and of the masks."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/paper/sft")
    """Folder for checkpoints, adapters and rows.parquet; the same command goes on from there."""

    def check(self) -> None:
        """Check every number.

        Raises:
            ValueError: one is out of range.
        """
        require(len(self.p) > 0, "p", "at least one", "none")
        for p in self.p:
            require(0 <= p < 1, "p", "in [0, 1)", p)
        require(self.samples >= 1, "samples", "at least 1", self.samples)
        require(self.ensemble >= 0, "ensemble", "at least 0", self.ensemble)
        require(self.rank >= 1, "rank", "at least 1", self.rank)
        require(self.alpha > 0, "alpha", "above 0", self.alpha)
        require(self.tokens >= 2, "tokens", "at least 2", self.tokens)
        require(self.n is None or self.n >= 1, "n", "at least 1", self.n)
        check_count("draws", self.draws)


def measure_sft(settings: SftSettings, words: Sequence[str] = ()) -> pd.DataFrame:
    """Train at each rate with each seed, or go on where that ended, and evaluate.

    Args:
        settings: of the command line.
        words: flags of TRL's SFTConfig.

    Returns:
        One row a seed, rate and inference: ``draw``, ``p``, ``samples``, ``inference``,
        ``ensemble``, the held-out ``loss`` (nats a token of an answer) and ``accuracy`` (of the
        next token), ``steps``.

    Raises:
        ValueError: a value out of range, an unknown flag, a model or data that cannot be used, or a
            folder of another training.
    """
    settings.check()
    given = _arguments(words)
    _check_folder(settings, given)
    tokenizer = load_pretrained("AutoTokenizer", settings.model)
    set_padding(tokenizer, None)
    first = given.get("seed", DEFAULTS["seed"])
    seeds = range(first, first + settings.draws)
    tasks = {
        seed: instruction_task(
            Corpus(settings.data, "", "", settings.n, None, settings.tokens, seed), tokenizer
        )
        for seed in seeds
    }
    records = []
    for seed, p in product(seeds, dict.fromkeys(settings.p)):
        with one_line_of_libraries("tuning", given):
            trainer = _trained(settings, given | {"seed": seed}, p, tasks[seed], tokenizer)
        ways = [("no masks" if p == 0 else "expected weight", 0)]
        ways += [("ensemble", settings.ensemble)] if p > 0 and settings.ensemble else []
        for inference, trainer.ensemble in ways:
            found = trainer.evaluate()
            records.append({
                "draw": seed, "p": p, "samples": trainer.samples, "inference": inference,
                "ensemble": trainer.ensemble, **loss_and_accuracy(found),
                "steps": trainer.state.global_step,
            })  # fmt: skip
    return pd.DataFrame(records)


def loss_and_accuracy(found: Mapping[str, float]) -> dict[str, float]:
    """Take the held-out loss and the accuracy of the next token out of an evaluation.

    Args:
        found: as TRL's trainer names them.

    Returns:
        ``loss`` and ``accuracy``, which is NaN of a model that has diverged: the largest of its
        logits is the first of them, which is right now and then.
    """
    loss, accuracy = found["eval_loss"], found["eval_mean_token_accuracy"]
    return {"loss": loss, "accuracy": accuracy if math.isfinite(loss) else math.nan}


def _trained(
    settings: SftSettings, given: dict[str, Any], p: float, task: Any, tokenizer: Any
) -> Any:
    """A trainer that has trained at a rate with a seed, in a folder of their own."""
    from transformers import set_seed
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    from lora_dropout.peft import LoraDropoutConfig, LoraDropoutTrainerMixin

    class Tuning(LoraDropoutTrainerMixin, SFTTrainer):
        pass

    folder = settings.out / f"p{p:g}-seed{given['seed']}"
    make_folder(folder)
    arguments = SFTConfig(**DEFAULTS | given | {"output_dir": str(folder)})
    adapter = LoraDropoutConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=list(settings.target),
        task_type="CAUSAL_LM", dropout_rate=p,
    )  # fmt: skip
    set_seed(given["seed"])  # The trainer draws the adapter before it sets its own.
    trainer = Tuning(
        load_pretrained(LANGUAGE_MODEL, settings.model,
                        dtype=weights_dtype(LANGUAGE_MODEL, arguments)), args=arguments,
        train_dataset=task.train, eval_dataset=task.held_out, processing_class=tokenizer,
        peft_config=adapter, samples=settings.samples if p > 0 else 1, grouped=settings.grouped,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    trainer.save_model(str(folder / "adapter"))
    return trainer


def _check_folder(settings: SftSettings, given: dict[str, Any]) -> None:
    """Refuse to go on from checkpoints of other settings; keep those of now."""
    asked = {name: one for name, one in asdict(settings).items() if name not in NOT_TRAINED}
    named = {name: one for name, one in given.items() if name not in NOT_TRAINED}
    text = json.dumps(asked | named, indent=2, sort_keys=True, default=str)
    file = make_folder(settings.out) / "settings.json"
    if not any(settings.out.glob("p*/checkpoint-*")):
        write_whole(file, lambda path: path.write_text(text))
    there, here = json.loads(file.read_text()), json.loads(text)
    differing = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    holds = f"{settings.out}, which holds another ({', '.join(differing)})"
    require(not differing, "out", "a folder of this training alone", holds)


def _arguments(words: Sequence[str]) -> dict[str, Any]:
    """Flags of TRL's SFTConfig, as values by name."""
    from transformers import HfArgumentParser
    from trl import SFTConfig

    parser = HfArgumentParser(SFTConfig, allow_abbrev=False)

    def refuse(message: str) -> None:
        raise ValueError(message)

    parser.error = refuse  # type: ignore[assignment]
    for action in parser._actions:
        action.default = SUPPRESS
    given, rest = parser.parse_known_args(list(words))
    if rest:
        raise ValueError(f"unknown arguments: {' '.join(rest)}")
    known = vars(given)
    for name in ("output_dir", "resume_from_checkpoint"):
        require(name not in known, name, OWN[name], known.get(name))
    return known


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds.

    Args:
        rows: as :func:`measure_sft` gives them.

    Returns:
        One row a rate and inference, as it is printed: means of ``loss`` and ``accuracy``, and
        ``difference``, the loss less that of p = 0 with the same seed, each with the half width of
        its 95 % interval (Student) where there are several seeds. Those that diverged are
        left out, and counted in ``seeds``.
    """
    plain = rows[rows["p"] == 0].set_index("draw")["loss"]
    found = []
    for (p, inference), own in rows.groupby(["p", "inference"], sort=False):
        loss = own.set_index("draw")["loss"]
        lost = int((~np.isfinite(loss)).sum())
        found.append({
            "p": p, "inference": inference,
            "seeds": f"{len(own) - lost}" + (f" ({lost} diverged)" if lost else ""),
            "loss": _mean(loss),
            "difference": _mean((loss - plain).dropna()) if p else "",
            "accuracy": _mean(own["accuracy"]),
        })  # fmt: skip
    return pd.DataFrame(found)


def _mean(values: "pd.Series[float]") -> str:
    mean, low, _ = mean_interval(values)
    return "" if pd.isna(mean) else interval_in_words(mean, low)


def main() -> None:
    """Train, evaluate, keep the rows, and print their means."""

    def answer(settings: SftSettings, words: list[str]) -> int:
        rows = measure_sft(settings, words)
        write_whole(settings.out / "rows.parquet", lambda path: rows.to_parquet(path, index=False))
        said = (
            "intervals: 95 %, Student over seeds"
            if settings.draws > 1
            else "one seed: no intervals"
        )
        print_table(TextTable(summary(rows), "Instruction tuning by TRL", NOTE.format(said), 120))
        return 0

    run_command_line(SftSettings, answer, program="recipes.sft")


if __name__ == "__main__":
    main()

"""Write docs/columns.md: every column of every table, from small runs of every question.

python -m tests.columns
"""

import csv
import dataclasses
import importlib
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tyro

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/columns.md"
SMALL = "--task breast_cancer --n 6 --draws 2 --steps 2"
#: Small runs of every question that needs no file; each has tables that the others have not.
RUNS = {
    "ablation": f"{SMALL} --ensemble 2",
    "attribution": "--task breast_cancer --n 6 --steps 2 --subsets 3",
    "calibration": SMALL,
    "comparison": "--n 20 --draws 2",
    "comparison --model network": "--model network --task breast_cancer --n 8 --draws 2 --steps 2 "
    "--selections 4",
    "cost": "--rounds 1 --width 24 --heads 2 --tokens 4 --batch 2 --samples 1 --ensemble 1",
    "coverage": "--task breast_cancer --n 10 --draws 2 --steps 2",
    "curves": SMALL,
    "ensemble": SMALL,
    "ensemble --rivals": f"{SMALL} --p 0.3 --sizes 1 --rivals 2 --bags 64",
    "generalization": SMALL,
    "generalization --matched": f"{SMALL} --matched --p 0.3",
    "information": f"{SMALL} --selections 4",
    "information --matched": f"{SMALL} --selections 4 --matched --p 0.3",
    "rivals": "--task breast_cancer --n 8 --draws 2 --tuning-draws 1 --steps 2 --trainings 1 "
    "--method 'weight decay'",
    "sensitivity": SMALL,
    "stability": f"{SMALL} --ensemble 2",
    "stability --matrix": f"{SMALL} --matrix",
    "stability --method influence": f"{SMALL} --method influence --validate 2",
    "verify": "--statement sparsity",
}
#: Columns of a question of which no run is small: how much it measures depends on the time.
TIMED = {"behind": ["recommend"], "chosen": ["recommend"], "layers": ["recommend"]}
#: Columns of fine-tuning at full scale, which needs a model; it also keeps the settings of
#: transformers' trainer, as ``training_...``.
FULL_SCALE = (
    "accuracy_mismatched", "adapter", "best", "epoch", "exact_match", "half_accuracy", "half_loss",
    "model", "own_masks", "peak_mib", "regularizer", "training_...",
)  # fmt: skip
#: A column a noise: the number is left out.
NUMBERED = re.compile(r"_at_[\d.]+$")
#: What is appended to the name of a column.
SUFFIXES = {
    "low": "lower end of the 95 % interval of the mean over draws",
    "high": "its upper end",
    "draws": "number of draws in which it is finite, over which the mean is taken",
    "holm": "p-value of the test against 0, corrected for the table (Holm)",
    "how": "how the value was obtained",
    "dropout": "with dropout (at equal fit)",
    "control": "of the network without dropout, at the same fit",
    "difference": "paired over draws: control less dropout, or method less tuned LoRA",
    "less": "of another ensemble, less that of the mask ensemble, paired over draws",
    "at": "with noise of this standard deviation on the parameters (`train_loss_at_0.02`, ...)",
}
#: Tables that a result has beside those that it keeps.
SHOWN = (
    "table", "summary", "bounds", "bound_summary", "audit", "validation", "rivals", "matched",
    "ensemble_summary", "kind_differences", "noise_parts", "frontier",
)  # fmt: skip


def words() -> dict[str, str]:
    """Read what every column holds."""
    with (ROOT / "docs/columns.csv").open(encoding="utf-8", newline="") as file:
        return {row["column"]: row["words"] for row in csv.DictReader(file)}


def columns() -> dict[str, list[str]]:
    """Measure a little: the questions in whose tables a column stands, by its name."""
    found = {name: list(questions) for name, questions in TIMED.items()}
    found |= {name: ["finetune"] for name in FULL_SCALE}
    for question, flags in RUNS.items():
        tables = _tables(question.split()[0], flags)
        names = {NUMBERED.sub("_at", str(name)) for table in tables for name in table.columns}
        for name in sorted(names):
            found.setdefault(name, []).append(question)
    return found


def _tables(question: str, flags: str) -> list[Any]:
    probe = importlib.import_module(f"probes.{question}").PROBE
    settings = tyro.cli(probe.settings, args=shlex.split(flags))
    result = probe.run_with(dataclasses.replace(settings, out=None))
    beside = (getattr(result, name, None) for name in SHOWN)
    kept = [*result.tables().values(), *result.spreadsheets().values()]
    return kept + [table for table in beside if hasattr(table, "columns")]


def plain(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Leave out what is another column with a suffix."""
    return {
        name: questions
        for name, questions in found.items()
        if not any(
            name.endswith(f"_{suffix}") and name.removesuffix(f"_{suffix}") in found
            for suffix in SUFFIXES
        )
    }


def without_words(names: Iterable[str]) -> set[str]:
    """Columns that the page does not have, with or without a suffix.

    Args:
        names: of columns.
    """
    known = words()
    ends = "|".join(SUFFIXES)
    plain_names = {name: re.sub(f"(_({ends}))*$", "", NUMBERED.sub("", name)) for name in names}
    return {
        name
        for name, plain_name in plain_names.items()
        if not ({name, plain_name} & known.keys() or name.startswith("training_"))
    }


def _questions(where: list[str]) -> str:
    """Name the questions; one with flags alone keeps them."""
    plain = [name for name in where if " " not in name]
    with_flags = [name for name in where if " " in name and name.split()[0] not in plain]
    return "all" if len(plain) > 9 else ", ".join([*plain, *(f"`{name}`" for name in with_flags)])


def page(found: dict[str, list[str]]) -> str:
    """The page.

    Args:
        found: of :func:`columns`.

    Raises:
        KeyError: a column has no words in ``columns.csv``.
    """
    known = words()
    rows = [
        f"| `{name}` | {known[name]} | {_questions(where)} |"
        for name, where in sorted(plain(found).items(), key=lambda item: item[0].lower())
    ]
    ends = [f"| `..._{suffix}` | {meaning} |" for suffix, meaning in SUFFIXES.items()]
    return "\n".join([
        GLOSSARY, "## Columns", "",
        "Written by `python -m tests.columns` from the tables of small runs. A test says whether",
        "every column of theirs stands here. Losses are in units of the task's loss.", "",
        "| appended to a name | what it holds |", "|---|---|", *ends, "",
        "| column | what it holds | tables of |", "|---|---|---|", *rows, "",
    ])  # fmt: skip


GLOSSARY = """# Glossary and columns

## Glossary

S
: the training set of n examples; S^i is S without example i.

θ(S)
: what training on S gives; θ(S^i) what training without example i gives.

p
: the dropout rate of A's input columns and of B's output rows. An entry of the update is dropped
  with probability 2p − p².

N
: the number of masks: a step in training (`samples`), or members at test time (`ensemble`).

β
: pointwise hypothesis stability, the mean absolute change of an example's loss when it is left out.

gap
: the loss on new examples less the loss on S.

η
: the Lipschitz constant of the loss in the parameters; here the largest gradient that was met.

Λ_min
: the smallest eigenvalue of the Hessian of the train loss at θ(S).

λ
: the strength of the paper's penalty λ(2p − p²)‖ΔW‖². Training with masks has none.

C
: the largest possible loss.

vacuous
: of a bound: at least C, so that it says nothing.

expected-weight network
: the network without masks, its update times (1 − p)². One pass.

replica
: a network trained on S, or on S without one example. All replicas of an S start alike and see
  the same masks.

cell
: one S at one p, with all its replicas: what is run, kept and resumed as a whole.

supersample
: n pairs of examples. A selection takes one of each pair to train on; K networks train on K
  selections.

ECE
: expected calibration error: how far predicted probabilities are from the share that is right.

draw
: one training set S. Intervals are over draws.

interval
: 95 %, Student's: mean ± t·s/√D over the D draws that have a finite value, s their standard
  deviation (divided by D − 1), t the 97.5 % quantile with D − 1 degrees of freedom. Where S holds
  the share ρ = `n` / `pool` of the data, and that is a fifth or more, draws share examples, and
  √(1/D + ρ/(1 − ρ)) takes the place of 1/√D.

regime
: a learning rate at which the network without dropout overfits, or one at which it does not.

not told apart
: no difference was detected. This does not mean equal.
"""


if __name__ == "__main__":
    PAGE.write_text(page(columns()), encoding="utf-8")

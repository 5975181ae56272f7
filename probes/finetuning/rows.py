"""Rows of a fine-tuning run, from the trainer's log."""

import resource
import sys
from typing import Any

import numpy as np
import pandas as pd
import torch

from probes.finetuning.cell import FinetuneCell
from probes.finetuning.task import FinetuneTask
from probes.jobs.job import TableKind, Tables

#: What is measured at an evaluation, as it is called in rows.
MEASURED = {
    "loss": "test_loss", "score": "test_score", "accuracy": "accuracy", "confidence": "confidence",
    "ece": "ece", "ece_floor": "ece_floor", "ece_debiased": "ece_debiased",
    "validation_loss": "validation_loss", "half_loss": "half_loss",
    "half_accuracy": "half_accuracy", "spearman": "spearman", "exact_match": "exact_match",
    "bins": "bins",
}  # fmt: skip

#: What names in the trainer's log begin with: of held-out examples, as in every trainer of
#: transformers, of training examples, and of a second set of held-out examples.
HELD_OUT, SEEN, BESIDE = "eval", "eval_train", "eval_beside"
#: What is measured on MNLI's second set of held-out examples, as it is called in rows.
SECOND_ACCURACY = "accuracy_mismatched"


def measured_name(inference: str, *what: str, prefix: str = HELD_OUT) -> str:
    """Name what is measured by an inference, as in the trainer's log.

    Args:
        inference: such as "expected weight".
        *what: the quantity; nothing for the beginning that all quantities share.
        prefix: ``HELD_OUT``, ``SEEN`` or ``BESIDE``.

    Returns:
        Such as "eval_expected_weight_loss".
    """
    return "_".join([prefix, inference.replace(" ", "_"), *what])


def tables_of(cell: FinetuneCell, task: FinetuneTask, trainer: Any, seconds: float) -> Tables:
    """Make rows of the trainer's log, which a resumed run has from before.

    Args:
        cell: the run.
        task: its examples.
        trainer: after training, a :class:`probes.finetuning.evaluation.FinetuneTrainer`.
        seconds: wall time of the run.

    Returns:
        ``rows`` and ``diagram``: see :func:`probes.finetuning.training.run_finetune`.
    """
    entries: dict[int, dict[str, Any]] = {}
    for entry in trainer.state.log_history:
        entries.setdefault(entry["step"], {}).update(entry)
    records = []
    for step, entry in sorted(entries.items()):
        for mode in trainer.modes:
            if measured_name(mode, "loss") not in entry:
                continue
            found = {to: entry.get(measured_name(mode, name)) for name, to in MEASURED.items()}
            found[SECOND_ACCURACY] = entry.get(measured_name(mode, "accuracy", prefix=BESIDE))
            train_loss = entry[measured_name(mode, "loss", prefix=SEEN)]
            records.append(
                {"step": step, "epoch": entry.get("epoch"), "inference": mode}
                | {name: value for name, value in found.items() if value is not None}
                | {"train_loss": train_loss, "gap": found["test_loss"] - train_loss}
            )
    settings = {
        "task": cell.task, "n": task.n, "draw": cell.corpus.seed, "method": cell.label,
        "regularizer": cell.regularizer, "strength": cell.strength,
        "p": cell.p, "samples": cell.samples, "own_masks": cell.own_masks, "rank": cell.rank,
        "alpha": cell.alpha, "ensemble": cell.ensemble, "model": cell.model,
        "steps": trainer.state.max_steps, "score_name": task.score_name or "none",
        "baseline": float("nan"), "seconds": seconds, "peak_mib": peak_mib(),
        "device": str(trainer.args.device),
        **({"pool": task.pool} if task.pool else {}),
        **{f"training_{name}": str(value) for name, value in cell.training},
    }  # fmt: skip
    rows = pd.DataFrame(records).assign(**settings)
    return {
        TableKind.ROWS: rows.drop(columns="bins", errors="ignore"),
        TableKind.DIAGRAM: _diagram(rows),
    }


def _diagram(rows: pd.DataFrame) -> pd.DataFrame:
    """Reliability at each inference's evaluation with the least finite validation loss."""
    keys = ["p", "method", "draw", "inference"]
    if "bins" not in rows:
        names = [*keys, "confidence", "accuracy"]
        return pd.DataFrame({name: pd.Series(dtype=float) for name in names})
    finite = rows[np.isfinite(rows["validation_loss"])]
    best = finite.loc[finite.groupby("inference")["validation_loss"].idxmin()]
    found = best[[*keys, "bins"]].explode("bins", ignore_index=True).dropna(subset="bins")
    pairs = np.array(found.pop("bins").tolist(), np.float64).reshape(-1, 2)
    return found.assign(confidence=pairs[:, 0], accuracy=pairs[:, 1])


def peak_mib() -> float:
    """Largest memory so far, of the GPU where there is one, otherwise of the process, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

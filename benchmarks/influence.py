"""How good the estimates of ``--method influence`` are, by damping: all of S is retrained as well.

For every rate and damping: rank correlation of estimated and retrained effects, bias of beta, and
the error of beta when only some of S are checked. *Corrected* is ``beta_corrected`` of the
probe; *alone* is the mean over the checked examples. Errors are relative, root mean square over the
draws of S and over 200 choices of the checked examples.

Then the coverage of the interval of ``beta_corrected``: the draws of S are taken for all there are,
so that the truth is known, their mean beta by retraining; a few of them are drawn with replacement,
and which are checked at random, 1000 times. *Printed* is the share in which there is an interval,
*covers* that of the intervals that hold the truth, *without the rule* that of Student's interval
printed whatever the tail.

    python -m benchmarks.influence --task digits --damping 0.01 0.05 0.2
    python -m benchmarks.influence --task breast_cancer --lr 3e-2 --draws 128
    python -m benchmarks.influence --task tweets --n 32 --draws 6 --checked 8   # extra: text
    python -m benchmarks.influence --task tweets --n 32 --draws 6 --checked 8 --lr 2e-3 --steps 150
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from probes.cli.command_line import run_functions
from probes.jobs.validation import require
from probes.results.estimate_agreement import agreement, corrected_beta
from probes.stability import measure

CHOICES, TRIALS = 200, 1000
#: Numbers of draws for which coverage is reported.
DRAWS = (4, 8, 16)
#: Of an example in S: its loss by the network of S, and without it estimated and retrained.
LOSSES = ["loss_kept", "loss_left_out", "loss_retrained"]


def main(
    task: str = "digits",
    n: int = 64,
    draws: int = 16,
    p: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5),
    damping: tuple[float, ...] = (0.05,),
    solver: str = "cg",
    checked: int = 16,
    lr: float | None = None,
    steps: int | None = None,
) -> None:
    """Print the tables.

    Args:
        task: as for the probe.
        n: size of S.
        draws: of S.
        p: dropout rates.
        damping: of the Newton step.
        solver: cg or ekfac.
        checked: examples of S that are retrained to correct beta.
        lr: learning rate; the task's if None.
        steps: of training; the task's if None.
    """
    require(0 < checked <= n, "checked", f"from 1 to n = {n}", checked)
    records, covered = [], []
    for value in damping:
        result = measure(
            task=task, n=n, draws=draws, p=list(p), damping=value, solver=solver,
            method="influence", validate=n, lr=lr, steps=steps,
        )  # fmt: skip
        estimates = result.validation.set_index("p")
        for rate, rows in result.rows[result.rows["ensemble"] == 0].groupby("p"):
            corrected, alone = errors(rows, checked)
            records.append(
                {
                    "damping": value,
                    "p": rate,
                    "rank correlation": estimates.loc[rate, "spearman"],
                    "bias": f"{estimates.loc[rate, 'bias']:+.0%}",
                    "corrected": f"{corrected:.0%}",
                    "alone": f"{alone:.0%}",
                }
            )
            covered += [
                {"damping": value, "p": rate} | coverage(rows, size, checked) for size in DRAWS
            ]
    rate = f"learning rate {result.rows['lr'].iloc[0]:g}"
    print(f"{task}, n = {n}, {rate}, {draws} draws, {solver}; errors with {checked} of {n} checked")
    print(pd.DataFrame(records).to_string(index=False, float_format="{:.2f}".format))
    print(f"\ncoverage of the 95 % interval of beta corrected, {checked} of {n} checked a draw")
    print(pd.DataFrame(covered).to_string(index=False, float_format="{:.3f}".format, na_rep="–"))


def errors(rows: pd.DataFrame, checked: int) -> tuple[float, float]:
    """Errors of beta when few examples are checked, over draws and choices of the checked.

    Args:
        rows: of the probe, of one rate and inference, every example of every draw retrained; what
            diverged is left out.
        checked: examples of each draw that keep their retrained loss.

    Returns:
        Root mean square relative errors: of ``beta_corrected`` of one draw, and of the mean over
        the checked examples alone.
    """
    generator = np.random.default_rng(0)
    found = []
    for _, draw in rows.groupby("draw"):
        kept, estimated, retrained = draw[LOSSES].to_numpy(np.float64).T
        sizes = np.abs([estimated - kept, retrained - kept])
        estimated, retrained = sizes[:, np.isfinite(sizes).all(axis=0)]
        for _ in range(CHOICES):
            some = generator.permutation(len(estimated))[:checked]
            alone = retrained[some].mean()
            corrected = estimated.mean() * alone / estimated[some].mean()
            found.append(np.array([corrected, alone]) / retrained.mean() - 1)
    corrected, alone = np.sqrt(np.square(found).mean(axis=0))
    return float(corrected), float(alone)


def coverage(
    rows: pd.DataFrame, draws: int, checked: int, trials: int = TRIALS
) -> dict[str, float]:
    """How often the interval of the corrected beta is printed, and how often it holds the truth.

    Args:
        rows: of the probe, of one rate and inference, every example of every draw retrained; its
            draws are taken for all there are.
        draws: of these, taken with replacement.
        checked: examples of each that keep their retrained loss, at random.
        trials: repetitions.

    Returns:
        ``draws``; ``printed``, share of trials with an interval; ``covers``, share of these
        intervals that hold the mean beta of all draws, NaN if there are none; ``without the rule``,
        the same of Student's interval where it is not withheld.
    """
    truth = np.mean([agreement(draw)["beta_retrained"] for _, draw in rows.groupby("draw")])
    found = pd.DataFrame(
        [corrected_beta(some) for some in few_checked(rows, draws, checked, trials)]
    )
    printed = found["checks"] >= found["checks_needed"]
    holds = (found["beta_corrected_low"] <= truth) & (truth <= found["beta_corrected_high"])
    return {
        "draws": draws,
        "printed": float(printed.mean()),
        "covers": float(holds[printed].mean()),
        "without the rule": float(holds.mean()),
    }


def few_checked(
    rows: pd.DataFrame, draws: int, checked: int, trials: int
) -> Iterator[pd.DataFrame]:
    """Rows of some draws, taken with replacement, of which few examples are checked.

    Args:
        rows: one a draw and example, with the columns ``LOSSES``, all examples checked.
        draws: that are taken.
        checked: examples of a draw that stay checked.
        trials: tables that are made.

    Yields:
        Rows with ``draw`` and ``LOSSES``; the retrained loss is NaN where it is not checked.
    """
    generator = np.random.default_rng(0)
    losses = np.stack([draw[LOSSES].to_numpy(np.float64) for _, draw in rows.groupby("draw")])
    population, n, _ = losses.shape
    for _ in range(trials):
        some = losses[generator.integers(population, size=draws)].copy()
        order = generator.random((draws, n)).argsort(axis=1)
        np.put_along_axis(some[:, :, 2], order[:, checked:], np.nan, axis=1)
        table = pd.DataFrame(some.reshape(-1, 3), columns=LOSSES)
        yield table.assign(draw=np.repeat(np.arange(draws), n))


if __name__ == "__main__":
    run_functions(main)

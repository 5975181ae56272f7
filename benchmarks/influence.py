"""How good the estimates of ``--method influence`` are, by damping: all of S is retrained as well.

For every rate and damping: rank correlation of estimated and retrained effects, bias of beta, and
the error of beta when only some of S are checked. *Corrected* is ``beta_corrected`` of the
probe; *alone* is the mean over the checked examples. Errors are relative, root mean square over the
draws of S and over 200 choices of the checked examples.

    python -m benchmarks.influence --task digits --damping 0.01 0.05 0.2
    python -m benchmarks.influence --task tweets --n 32 --draws 6 --checked 8   # extra: text
"""

import numpy as np
import pandas as pd
import tyro
from numpy.typing import NDArray

from probes.stability import measure

CHOICES = 200


def main(
    task: str = "digits",
    n: int = 64,
    draws: int = 16,
    p: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5),
    damping: tuple[float, ...] = (0.05,),
    solver: str = "cg",
    checked: int = 16,
) -> None:
    """Print the table.

    Args:
        task: as for the probe.
        n: size of S.
        draws: of S.
        p: dropout rates.
        damping: of the Newton step.
        solver: cg or ekfac.
        checked: examples of S that are retrained to correct beta.
    """
    records = []
    for value in damping:
        result = measure(
            task=task, n=n, draws=draws, p=list(p), damping=value, solver=solver,
            method="influence", validate=n,
        )  # fmt: skip
        agreement = result.validation.set_index("p")
        for rate, rows in result.rows[result.rows["ensemble"] == 0].groupby("p"):
            corrected, alone = errors(rows, checked)
            records.append(
                {
                    "damping": value,
                    "p": rate,
                    "rank correlation": agreement.loc[rate, "spearman"],
                    "bias": f"{agreement.loc[rate, 'bias']:+.0%}",
                    "corrected": f"{corrected:.0%}",
                    "alone": f"{alone:.0%}",
                }
            )
    print(f"{task}, n = {n}, {draws} draws, {solver}; errors with {checked} of {n} checked")
    print(pd.DataFrame(records).to_string(index=False, float_format="{:.2f}".format))


def errors(rows: pd.DataFrame, checked: int) -> tuple[float, float]:
    """Errors of beta, corrected and of the checked examples alone, over draws and choices."""
    generator = np.random.default_rng(0)
    found = []
    for _, draw in rows.groupby("draw"):
        estimated = (draw["loss_left_out"] - draw["loss_kept"]).abs().to_numpy()
        retrained = (draw["loss_retrained"] - draw["loss_kept"]).abs().to_numpy()
        for _ in range(CHOICES):
            chosen = generator.permutation(len(draw))[:checked]
            found.append(_two_errors(estimated, retrained, chosen))
    corrected, alone = np.sqrt(np.square(found).mean(axis=0))
    return float(corrected), float(alone)


def _two_errors(
    estimated: NDArray[np.float64], retrained: NDArray[np.float64], chosen: NDArray[np.int64]
) -> tuple[float, float]:
    ratio = retrained[chosen].mean() / estimated[chosen].mean()
    truth = retrained.mean()
    return ratio * estimated.mean() / truth - 1, retrained[chosen].mean() / truth - 1


if __name__ == "__main__":
    tyro.cli(main)

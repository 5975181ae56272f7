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

from probes.cli.command_line import leave
from probes.jobs.validation import require
from probes.results.estimate_agreement import agreement
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
    require(0 < checked <= n, "checked", f"from 1 to n = {n}", checked)
    records = []
    for value in damping:
        result = measure(
            task=task, n=n, draws=draws, p=list(p), damping=value, solver=solver,
            method="influence", validate=n,
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
    print(f"{task}, n = {n}, {draws} draws, {solver}; errors with {checked} of {n} checked")
    print(pd.DataFrame(records).to_string(index=False, float_format="{:.2f}".format))


def errors(rows: pd.DataFrame, checked: int) -> tuple[float, float]:
    """Errors of beta, corrected and of the checked examples alone, over draws and choices."""
    generator = np.random.default_rng(0)
    found = []
    for _, draw in rows.groupby("draw"):
        truth = agreement(draw)["beta_retrained"]
        for _ in range(CHOICES):
            chosen = draw.index[generator.permutation(len(draw))[:checked]]
            known = draw["loss_retrained"].where(draw.index.isin(chosen))
            some = agreement(draw.assign(loss_retrained=known))
            found.append([some[name] / truth - 1 for name in ("beta_corrected", "beta_retrained")])
    corrected, alone = np.sqrt(np.square(found).mean(axis=0))
    return float(corrected), float(alone)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except ValueError as error:
        leave(f"error: {error}", 2)

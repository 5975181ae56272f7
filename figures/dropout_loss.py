"""What dropping rows and columns adds to the loss, beside the paper's penalty."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style
from theory import expected_penalty, sparsity
from theory.exact import dropout_loss_terms, effective_strength

#: Rates at which the curves are drawn.
RATES = np.linspace(0.025, 0.95, 38)


def draw(features: Mapping[str, ArrayLike], update: ArrayLike) -> Drawing:
    """Draw the added terms for several feature sets, and the effective lambda.

    Args:
        features: by name, (m, d_in) each, of second moments to be compared.
        update: (d_out, d_in).

    Returns:
        A figure of two panels: left the terms that rescaled masks add to the mean squared loss,
        with the paper's penalty at lambda = 1, which stays finite; right the lambda at which the
        paper's penalty is what they add for white features.
    """
    delta = np.asarray(update, np.float64)
    with style():
        figure = Drawing(figsize=(9, 4))
        left, right = figure.subplots(1, 2)
        for (name, x), colour, marker in zip(
            features.items(), curve_colours(len(features)), MARKERS, strict=False
        ):
            rows = np.asarray(x, np.float64)
            added = [_added(rows, delta, p) for p in RATES]
            left.plot(RATES, added, marker=marker, markevery=6, color=colour, label=name)
        left.plot(
            RATES, expected_penalty(delta, RATES), linestyle=DASHES[0], color="0.3",
            label="(2p − p²)‖Δ‖², λ = 1",
        )  # fmt: skip
        left.set(xlabel="dropout rate p", ylabel="added to the loss", yscale="log",
                 title="Rows and columns dropped, rescaled masks")  # fmt: skip
        left.legend(framealpha=0.9)
        right.plot(RATES, effective_strength(1.0, RATES), color=curve_colours(1)[0])
        right.plot(RATES, np.ones_like(RATES), linestyle=DASHES[0], color="0.3")
        right.annotate("the paper's λ is one number", (0.45, 1.1), fontsize="small")
        right.set(xlabel="dropout rate p", ylabel="effective λ = σ² / (1 − p)², σ = 1",
                  yscale="log", title="The λ that dropout amounts to")  # fmt: skip
        ends = [f"{float(effective_strength(1.0, p)):.3g} at p = {p:g}" for p in RATES[[0, -1]]]
        figure.titled(f"For white features the λ that dropout amounts to is {' and '.join(ends)}.")
        figure.described(
            f"linear model, squared loss, update {delta.shape[0]} x {delta.shape[1]}; sparsity at "
            f"the right end {float(np.asarray(sparsity(RATES[-1]))):.4f}"
        )
    return figure


def _added(features: np.ndarray, update: np.ndarray, p: float) -> float:
    if not np.isfinite(features).all():  # of a model that diverged
        return float("nan")
    zero = np.zeros((len(features), len(update)))
    terms = dropout_loss_terms(zero, features, update, p, rescale=True)
    return float((terms["rows"] + terms["columns"]).mean())

"""Every bound on the gap of one trained setting: from supersamples, and from leaving one out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.cells.bounded_loss import BoundedLoss
from probes.cells.supersample import Integers, Reals
from theory import haghifam2022, rammal2022, sparsity, sparsity_gap_bound, stability_gap_bound
from theory.harutyunyan2021 import prediction_information_gap_bound
from theory.hellstrom2022 import binary_kl_gap_bound
from theory.information import (
    leave_one_out_information,
    plug_in_bias,
    plug_in_information,
)
from theory.steinke2020 import evaluated_information_gap_bound
from theory.wang2023 import (
    fast_rate_gap_bound,
    interpolating_gap_bound,
    loss_difference_gap_bound,
)

#: Values of lambda of Theorem 4.4, of which the least bound is taken; dropout has none.
STRENGTHS = (0.01, 0.1, 1.0)
#: The bounds, with their references.
BOUNDS = {
    "Theorem 4.4": "arXiv 2404.09610",
    "Lemma 4.3": "arXiv 2404.09610, at the measured β",
    "leave-one-out CMI": "Rammal et al. 2022, arXiv 2207.00581",
    "leave-one-out, no error": "Haghifam et al. 2022, arXiv 2206.14800",
    "f-CMI": "Harutyunyan et al. 2021, arXiv 2110.01584",
    "e-CMI": "Steinke & Zakynthinou 2020, arXiv 2001.09122",
    "ld-CMI": "Wang & Mao 2023, arXiv 2302.02432",
    "binary kl": "Hellström & Durisi 2022, arXiv 2210.06422",
    "fast rate": "Wang & Mao 2023, arXiv 2302.02432",
    "no error": "Wang & Mao 2023, arXiv 2302.02432",
}
#: Those that are stated for the selections of a supersample.
FROM_SELECTIONS = ("f-CMI", "e-CMI", "ld-CMI", "binary kl", "fast rate", "no error")
#: Those that compare means over the replicas that were trained: no chance can exceed them.
WITHOUT_CHANCE = (*FROM_SELECTIONS, "leave-one-out CMI", "leave-one-out, no error")


@dataclass(frozen=True)
class Found:
    """A bound at plug-in information.

    Attributes:
        bound: in units of the loss; NaN where it does not apply.
        information: mean over pairs, nats; what it is of differs from bound to bound.
        bias: mean of its upward bias to first order, nats.
    """

    bound: float
    information: float
    bias: float


def supersample_records(loss: BoundedLoss, classes: Integers | None) -> Iterator[dict[str, Any]]:
    """State every bound from the selections of one draw.

    Args:
        loss: of K replicas on the pairs.
        classes: predicted for the pairs' examples, (K, 2, n), where the loss depends on nothing
            else; None otherwise, which leaves f-CMI out.

    Yields:
        One record a bound: ``name``, ``bound`` and, from the first K/2 selections, ``bound_half``
        (units of the loss, what rounding may add included; NaN where it does not apply),
        ``information`` and ``information_bias`` (means over pairs, nats), and ``gap``, ``gap_test``
        (with held-out examples), ``train_loss``, ``test_loss``, ``rounding``.
    """
    half = len(loss.selections) // 2
    whole = bounds_of(loss, classes)
    part = bounds_of(loss.first(half), None if classes is None else classes[:half])
    nothing = Found(float("nan"), float("nan"), float("nan"))
    for name in FROM_SELECTIONS:
        found = whole.get(name, nothing)
        yield {
            "name": name, "bound": found.bound, "bound_half": part.get(name, nothing).bound,
            "information": found.information, "information_bias": found.bias,
            "gap": loss.gap, "gap_test": loss.gap_test, "train_loss": loss.train_loss,
            "test_loss": loss.new_loss, "rounding": loss.rounding,
        }  # fmt: skip


def bounds_of(loss: BoundedLoss, classes: Integers | None) -> dict[str, Found]:
    """State the bounds from supersamples at plug-in information.

    Args:
        loss, classes: as for :func:`supersample_records`.

    Returns:
        By name, as in ``BOUNDS``.
    """
    selections, ceiling = loss.selections, loss.loss_bound
    train_loss, rounding = loss.rounded_train_loss, loss.rounding
    pair, difference = loss.pair_codes, loss.difference_codes

    def found(codes: Integers, bound: Any) -> Found:
        information = plug_in_information(selections, codes)
        bias = plug_in_bias(selections, codes)
        value = float(bound(information)) + rounding
        return Found(value, float(information.mean()), float(bias.mean()))

    known: dict[str, Any] = {"loss_bound": ceiling}
    fitted = known | {"train_loss": train_loss}
    stated = {}
    if classes is not None:
        codes = classes[:, 0] * (classes.max() + 1) + classes[:, 1]
        stated["f-CMI"] = found(
            codes, lambda i: prediction_information_gap_bound(information=i, **known)
        )
    stated |= {
        "e-CMI": found(pair, lambda i: evaluated_information_gap_bound(information=i, **known)),
        "ld-CMI": found(difference, lambda i: loss_difference_gap_bound(information=i, **known)),
        "binary kl": found(pair, lambda i: binary_kl_gap_bound(information=i, **fitted)),
        "fast rate": found(pair, lambda i: fast_rate_gap_bound(information=i, **fitted)),
    }
    if train_loss == 0:
        stated["no error"] = found(
            difference, lambda i: interpolating_gap_bound(information=i, **fitted)
        )
    return stated


@dataclass(frozen=True)
class LeftOut:
    """Losses in [0, C] of the n + 1 replicas of S and all S^i, with what the theorems ask for.

    Attributes:
        losses: on S, (n + 1, n), units of the loss.
        codes: numbers of the losses rounded to few values, (n + 1, n).
        rounding: by how much rounding may change a gap, units of the loss.
        test_loss: mean of the first replica on the held-out examples.
        loss_bound: C.
        lipschitz: eta of the task's loss, as far as training met it.
        curvature: Lambda_min of the task's mean loss.
    """

    losses: Reals
    codes: Integers
    rounding: float
    test_loss: float
    loss_bound: float
    lipschitz: float
    curvature: float


def leave_one_out_records(left: LeftOut, p: float, delta: float) -> Iterator[dict[str, Any]]:
    r"""State the bounds that follow from the leave-one-out replicas of one draw.

    Theorem 4.4 asks for a Lipschitz loss, which the 0-1 loss is not. It is evaluated at the task's
    eta and Lambda_min and at the C of the loss in question: a value to compare with, not a theorem
    for the 0-1 loss. Of the values of lambda in ``STRENGTHS`` the least bound counts.

    Args:
        left: the losses.
        p: dropout rate.
        delta: failure probability of Theorem 4.4 and Lemma 4.3.

    Yields:
        Records as of :func:`supersample_records`. Theorem 4.4 and Lemma 4.3 speak of the network
        trained on S, whose gap is taken with the held-out examples; the beta of the latter is that
        of this S, where the lemma means its expectation. The leave-one-out bound speaks of the S^i,
        whose gap is the mean loss on the example left out less that on the others.
    """
    n = left.losses.shape[1]
    train_loss = float(left.losses[0].mean())
    beta = float(np.abs(left.losses[1:].diagonal() - left.losses[0]).mean())
    own = {
        "gap": left.test_loss - train_loss, "gap_test": left.test_loss - train_loss,
        "train_loss": train_loss, "test_loss": left.test_loss,
    }  # fmt: skip
    known = {"loss_bound": left.loss_bound, "n": n, "delta": delta}
    yield _record("Theorem 4.4", _least_theorem(left, p, known), own)
    yield _record("Lemma 4.3", float(stability_gap_bound(beta=beta, **known)), own)
    out = float(left.losses[1:].diagonal().mean())
    rest = float(left.losses[1:][~np.eye(n, dtype=bool)].mean())
    gap = {"gap": out - rest, "gap_test": out - rest, "train_loss": rest, "test_loss": out}
    # The S^i are trained on one example less than S.
    more = {"information": leave_one_out_information(left.codes[1:]), "rounding": left.rounding}
    stated: dict[str, Any] = {
        "information": more["information"], "loss_bound": left.loss_bound, "n": n - 1,
    }  # fmt: skip
    bound = float(rammal2022.leave_one_out_gap_bound(**stated)) + left.rounding
    yield _record("leave-one-out CMI", bound, gap | more)
    bound = float("nan")
    # The information is that of the rounded losses, which must tell whether a loss is 0: the proof
    # needs no more, as a loss is at most C where it is not. It says nothing of the network of S.
    losses, codes = left.losses[1:], left.codes[1:]
    mixed = np.isin(codes[losses > 0], codes[losses == 0])
    if rest == 0 and not mixed.any():
        bound = float(haghifam2022.leave_one_out_gap_bound(train_loss=0.0, **stated))
    yield _record("leave-one-out, no error", bound, gap | more)


def _least_theorem(left: LeftOut, p: float, known: Mapping[str, Any]) -> float:
    convex = [one for one in STRENGTHS if left.curvature + 2 * one * sparsity(p) >= 0]
    if not convex:
        return float("nan")
    return min(
        float(
            sparsity_gap_bound(
                lipschitz=left.lipschitz, curvature=left.curvature, strength=one, p=p, **known
            )
        )
        for one in convex
    )


def _record(name: str, bound: float, measured: Mapping[str, float]) -> dict[str, Any]:
    nothing = float("nan")
    return {
        "name": name, "bound": bound, "bound_half": nothing, "information": nothing,
        "information_bias": nothing, "rounding": 0.0,
    } | dict(measured)  # fmt: skip

"""Theorem 4.5 and the 1/N law: sampled members against their average."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lora_dropout.masks import ENSEMBLE_STEP
from probes.cells.cell import Cell
from probes.cells.leave_one_out import train_part
from probes.cells.prepare import prepare
from probes.statements.case import Case
from probes.statements.dropout_loss_cases import masked_outputs, rarity
from probes.statements.exact_minimisers import load_problem
from probes.statements.linear_losses import Array
from probes.tasks import load_task
from probes.training.ensemble_members import member_outputs
from theory import (
    ensemble_cross_entropy,
    ensemble_cross_entropy_of_probabilities,
    ensemble_risk,
)
from theory.exact import dropout_loss_terms

#: Members of the trained network: enough for the limit R_inf, and for groups of N among them.
MEMBERS = 1024
#: Sizes at which the second-order predictions are checked, and the relative error granted to them
#: times N: the next order is smaller by a factor of order 1/N.
SIZES, NEXT_ORDER = (8, 16, 32), 3.0
#: Standard errors granted to sampled risks (one failure in 10^6).
STANDARD_ERRORS = 5.0
#: Sides of the update whose masks are all enumerated, for pairs of members.
D_OUT, D_IN = 2, 3
#: Inputs and outputs of the data sets whose masks are drawn.
WINE_IN, WINE_OUT, DIGITS_IN, DIGITS_OUT = 13, 3, 64, 10


def jensen_cases(p: float, seed: int) -> Iterator[Case]:
    """Theorem 4.5 for every test example of a trained network, and for the 0-1 loss.

    The loss of the averaged logits against the average loss of 16 members: the number of examples
    for which the first is larger.

    Source: arXiv 2404.09610, Theorem 4.5 (Jensen's inequality).

    Args:
        p: dropout rate, in [0, 1).
        seed: of everything random.

    Yields:
        One case a loss.
    """
    logits, labels = _member_logits(p, seed)
    logits = logits[:16]
    truth = torch.nn.functional.one_hot(labels, logits.shape[-1]).double()
    losses = {
        "cross-entropy": lambda z: torch.logsumexp(z, -1) - (z * truth).sum(-1),
        "squared": lambda z: (z - truth).square().sum(-1),
        "0-1": lambda z: (z.argmax(-1) != labels).double(),
    }
    for name, loss in losses.items():
        averaged, average = loss(logits.mean(0)), loss(logits).mean(0)
        worse = int((averaged > average + 1e-12).sum())
        yield Case(
            "Theorem 4.5",
            f"{name} loss, examples above the bound of {len(labels)}",
            f"digits network, p = {p:g}, N = 16",
            float(worse),
            0.0,
            equal=True,
            assumptions="logits averaged; convex in them" if name != "0-1" else "logits averaged",
            failed="the 0-1 loss is not convex in the activation" if name == "0-1" else "",
            command=f"--statement 4.5 --p {p:g} --seed {seed}",
        )


def squared_cases(p: float, seed: int) -> Iterator[Case]:
    """The 1/N law of the squared loss: all pairs of masks, drawn masks, and the limit below.

    Source: the law is derived in ``theory.ensemble``.

    Args:
        p: dropout rate, in [0, 1).
        seed: of everything random.

    Yields:
        Cases of N = 2 over all pairs, of several N over drawn masks, and of the limit.
    """
    problem, update = load_problem("wine"), _update(seed, WINE_OUT, WINE_IN)
    terms = dropout_loss_terms(problem.targets, problem.features, update, p)
    limit = float(terms["mean"].mean())
    single = float(sum(term.mean() for term in terms.values()))
    yield _pairs_case(p, seed)
    outputs = masked_outputs(
        update, problem.features, p, seed=seed, step=ENSEMBLE_STEP, samples=MEMBERS
    )
    for size in (1, 4, 16):
        groups = outputs.reshape(-1, size, *outputs.shape[1:]).mean(1)
        risks = np.square(groups - problem.targets).sum(-1).mean(1)
        error = STANDARD_ERRORS * risks.std(ddof=1) / np.sqrt(len(risks))
        yield _law(p, seed, f"N = {size}, masks of the layer", "wine", risks.mean(),
                   ensemble_risk(single, limit, size), error,
                   rarity(p, WINE_IN, WINE_OUT, MEMBERS))  # fmt: skip
    yield Case(
        "1/N law",
        "expected-weight network at most R_16, one linear layer",
        f"wine, p = {p:g}",
        limit,
        float(ensemble_risk(single, limit, 16)),
        assumptions="linear model, squared loss",
        command=f"--statement 1/N --p {p:g} --seed {seed}",
    )


def cross_entropy_cases(p: float, seed: int) -> Iterator[Case]:
    """Second-order predictions of the cross-entropy, for averaged logits and probabilities.

    What is compared is R_N - R_inf, with R_inf from all members.

    Source: the predictions are derived in ``theory.ensemble``.

    Args:
        p: dropout rate, in [0, 1).
        seed: of everything random.

    Yields:
        One case a size N and what is averaged.
    """
    logits, labels = _member_logits(p, seed)
    index = torch.arange(len(labels))
    for what, members, loss in (
        ("logits", logits, lambda z: torch.logsumexp(z, -1) - z[..., index, labels]),
        ("probabilities", logits.softmax(-1), lambda q: -q[..., index, labels].log()),
    ):
        mean = members.mean(0)
        limit, slope = float(loss(mean).mean()), _slope(loss, mean)
        prediction = _logit_prediction if what == "logits" else _probability_prediction
        for size in SIZES:
            groups = members.reshape(-1, size, *members.shape[1:]).mean(1)
            risks = loss(groups).mean(1)
            # To first order the groups' deviations cancel exactly, as together they are all
            # members: what is left of their spread is the error of the mean.
            first_order = (slope * (groups - mean)).sum(-1).mean(1)
            # The limit is itself the risk of an ensemble of all members.
            excess = prediction(members, mean, labels, size) - prediction(
                members, mean, labels, len(members)
            )
            error = STANDARD_ERRORS * float((risks - first_order).std()) / len(risks) ** 0.5
            yield Case(
                "1/N law",
                f"cross-entropy, averaged {what}, R_N - R_∞ to second order, N = {size}",
                f"digits network, p = {p:g}",
                float(risks.mean()) - limit,
                excess,
                equal=True,
                tolerance=NEXT_ORDER / size * excess + error + 1e-14,
                assumptions=f"{len(risks)} ensembles; {NEXT_ORDER / size:.0%} and 5 SE granted",
                failed=rarity(p, DIGITS_IN, DIGITS_OUT, MEMBERS),
                command=f"--statement 1/N --p {p:g} --seed {seed}",
            )


def _slope(loss: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    variable = point.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(variable).sum(), variable)
    return slope


def _logit_prediction(members: Tensor, mean: Tensor, labels: Tensor, size: int) -> float:
    probability, centred = mean.softmax(-1), members - mean
    first = (probability * centred.square().mean(0)).sum(-1)
    second = (probability * centred).sum(-1).square().mean(0)
    return float(ensemble_cross_entropy(0.0, float((first - second).mean()), size))


def _probability_prediction(members: Tensor, mean: Tensor, labels: Tensor, size: int) -> float:
    index = torch.arange(len(labels))
    own, centre = members[:, index, labels], mean[index, labels]
    relative = (own - centre).square().mean(0) / centre.square()
    return float(ensemble_cross_entropy_of_probabilities(0.0, float(relative.mean()), size))


def _pairs_case(p: float, seed: int) -> Case:
    """R_2 over all pairs of mask pairs of a tiny update."""
    problem, update = load_problem("wine"), _update(seed, D_OUT, D_IN)
    x, t = problem.features[:10, :D_IN], problem.targets[:10, :D_OUT]
    weights, outputs = [], []
    for bits in product((0.0, 1.0), repeat=D_OUT + D_IN):
        mask = np.outer(bits[:D_OUT], bits[D_OUT:])
        weights.append(np.prod([1 - p if bit else p for bit in bits]))
        outputs.append(x @ (mask * update).T)
    all_outputs, probability = np.array(outputs), np.array(weights)
    pairs = (all_outputs[:, None] + all_outputs[None]) / 2
    risks = np.square(pairs - t).sum(-1).mean(-1)
    terms = dropout_loss_terms(t, x, update, p)
    limit, single = terms["mean"].mean(), sum(term.mean() for term in terms.values())
    measured = probability @ risks @ probability
    return _law(p, seed, "N = 2, all pairs of masks", "tiny wine", measured,
                ensemble_risk(single, limit, 2), 1e-12)  # fmt: skip


def _law(
    p: float, seed: int, reading: str, where: str, measured: float, exact: ArrayLike, slack: float,
    failed: str = "",
) -> Case:  # fmt: skip
    return Case(
        "1/N law",
        f"squared loss, {reading}",
        f"{where}, p = {p:g}",
        float(measured),
        float(np.asarray(exact)),
        equal=True,
        tolerance=float(slack),
        assumptions="independent masks, outputs averaged",
        failed=failed,
        command=f"--statement 1/N --p {p:g} --seed {seed}",
    )


def _update(seed: int, d_out: int, d_in: int) -> Array:
    return np.random.default_rng(seed).standard_normal((d_out, d_in)) / d_in


@cache
def _member_logits(p: float, seed: int) -> tuple[Tensor, Tensor]:
    """Logits of sampled members of a network trained on digits, on its test set, and the labels."""
    task = load_task("digits")
    cell = Cell(
        task=task.name, n=64, p=p, draw=0, objective="dropout", strength=None, rank=task.rank,
        alpha=float(task.rank), steps=task.steps, lr=task.lr, optimizer="adam", batch=None,
        samples=1, rescale=False, warm_start=False, ensemble=(), loss_bound=None, seed=seed,
        device="cpu", dtype="float64",
    )  # fmt: skip
    ready = prepare(cell)
    # The replica of S alone: those of the S^i have no part in this.
    full = train_part(cell, ready, [slice(0, 1)]).factors
    *_, mask_seed = cell.seeds()
    test = ready.test.take(torch.arange(200))
    members = member_outputs(ready.network, full, test, MEMBERS, p=p, seed=mask_seed)
    return torch.stack([one[0].mT for one in members]), test.targets.argmax(0)

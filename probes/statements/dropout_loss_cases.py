"""The sparsity identity and the exact expected loss: all masks, drawn masks, training."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch

from lora_dropout import LoRADropoutLinear, grouped_samples
from lora_dropout.masks import LayerShape, stack_masks
from probes.statements.case import Case
from probes.statements.exact_minimisers import Problem, load_problem
from probes.statements.linear_losses import Array
from theory import expected_penalty
from theory.exact import (
    dropout_loss_terms,
    effective_strength,
    elementwise_difference,
    expected_dropout_loss,
    optimal_update,
)

#: Sides of the updates whose masks are all enumerated: 2^5 row and column masks, 2^6 of entries.
D_OUT, D_IN = 2, 3
#: Masks drawn for Monte Carlo, and standard errors that are granted to it (one failure in 10^6).
MONTE_CARLO, STANDARD_ERRORS = 4000, 5.0
#: Masks that drop, and masks that keep, anything: with fewer the spread of a sample says nothing.
ENOUGH_MASKS = 100
#: What is said of a sample with fewer.
TOO_RARE = "too few of the sampled masks drop, or keep, anything"
#: Training of the update with masks: steps, mask pairs a step, learning rate at the start.
STEPS, SAMPLES, RATE = 1200, 8, 0.05
#: Relative excess over the closed-form optimum that is granted to stochastic training.
TRAINED_EXCESS = 0.02


def sparsity_cases(p: float, seed: int) -> Iterator[Case]:
    """E||d * Delta||^2 = (2p - p^2) ||Delta||^2 for rows and columns and for entries.

    Source: arXiv 2404.09610, Section 4; all masks are enumerated here.

    Args:
        p: dropout rate, in [0, 1).
        seed: of everything random.

    Yields:
        One case a kind of mask.
    """
    update = np.random.default_rng(seed).standard_normal((D_OUT, D_IN))
    for reading, survivors in (
        ("rows and columns, all masks", _row_column_masks(p)),
        ("independent entries, all masks", _entry_masks(p)),
    ):
        dropped = sum(weight * np.square((1 - mask) * update).sum() for weight, mask in survivors)
        yield Case(
            "sparsity identity",
            reading,
            f"random update, {D_OUT} x {D_IN}, p = {p:g}",
            float(dropped),
            float(expected_penalty(update, p)),
            equal=True,
            tolerance=1e-12,
            command=f"--statement sparsity --p {p:g} --seed {seed}",
        )


def expected_loss_cases(p: float, seed: int) -> Iterator[Case]:
    """The expected loss of a linear model under masks, in closed form and otherwise.

    Source: the closed form is derived in ``theory.exact``.

    Args:
        p: dropout rate, in [0, 1).
        seed: of everything random.

    Yields:
        Cases over all masks, over drawn masks, and of the terms that the masks add to the loss.
    """
    generator = np.random.default_rng(seed)
    problem, update = _tiny(seed), generator.standard_normal((D_OUT, D_IN))
    residual, features = problem.targets, problem.features
    for rescale in (False, True):
        scale = (1 - p) ** -2 if rescale else 1.0
        enumerated = sum(
            weight * np.square(residual - scale * features @ (mask * update).T).sum(1)
            for weight, mask in _row_column_masks(p)
        )
        exact = expected_dropout_loss(residual, features, update, p, rescale)
        yield _case(
            p, seed, f"all masks, {_name(rescale)}", "tiny wine", float(np.mean(enumerated)),
            float(exact.mean()), 1e-12,
        )  # fmt: skip
        yield _monte_carlo_case(p, seed, rescale)
    yield from _penalty_cases(p, seed, problem, update)


def optimum_cases(p: float, seed: int) -> Iterator[Case]:
    """Training with masks finds the closed-form optimum of rank r.

    Source: the optimum is derived in ``theory.exact``.

    Args:
        p: dropout rate, in [0, 1).
        seed: of everything random.

    Yields:
        One case, of rank 1.
    """
    problem = load_problem("wine")
    residual, features = problem.targets - problem.targets.mean(0), problem.features
    best = optimal_update(residual, features, p, rank=1)
    trained = _train(residual, features, p, seed)
    lowest = expected_dropout_loss(residual, features, best, p).mean()
    reached = expected_dropout_loss(residual, features, trained, p).mean()
    yield Case(
        "exact expected loss",
        "masked training against the rank-1 optimum",
        f"wine, p = {p:g}",
        float(reached),
        float(lowest),
        equal=True,
        tolerance=TRAINED_EXCESS * float(lowest),
        assumptions=f"{STEPS} Adam steps of {SAMPLES} masks; {TRAINED_EXCESS:.0%} granted",
        command=f"--statement loss --p {p:g} --seed {seed}",
    )


def _penalty_cases(p: float, seed: int, problem: Problem, update: Array) -> Iterator[Case]:
    """How the added terms differ from the elementwise penalty, by covariance."""
    features = problem.features
    covariance = features.T @ features / len(features)
    root = np.linalg.inv(np.linalg.cholesky(covariance)).T
    for name, x in (("real covariance", features), ("whitened", features @ root)):
        sigma = x.T @ x / len(x)
        terms = dropout_loss_terms(problem.targets, x, update, p, rescale=True)
        added = float((terms["rows"] + terms["columns"]).mean())
        independent = sum(
            weight * np.square(problem.targets - x @ (mask * update).T / (1 - p) ** 2).sum(1)
            for weight, mask in _entry_masks(p)
        )
        difference = added - float((independent - terms["mean"]).mean())
        expected = elementwise_difference(sigma, update, p)
        # The difference of two numbers has the rounding of the larger.
        slack = 1e-10 + 1e-13 * abs(added)
        yield _case(p, seed, "rows and columns less entries", name, difference, expected, slack)
    white = float(effective_strength(1.0, p) * expected_penalty(update, p))
    yield _case(p, seed, "λ(2p-p²)‖Δ‖² at effective λ", "whitened", added, white, 1e-10)


def _monte_carlo_case(p: float, seed: int, rescale: bool) -> Case:
    problem = load_problem("wine")
    residual, features = problem.targets[:20], problem.features[:20]
    d_out, d_in = residual.shape[1], features.shape[1]
    update = np.random.default_rng(seed).standard_normal((d_out, d_in)) / d_in
    outputs = masked_outputs(
        update, features, p, seed=seed, step=0, samples=MONTE_CARLO, rescale=rescale
    )
    losses = np.square(residual - outputs).sum(-1).mean(1)
    error = losses.std(ddof=1) / np.sqrt(MONTE_CARLO)
    exact = expected_dropout_loss(residual, features, update, p, rescale).mean()
    return _case(
        p, seed, f"{MONTE_CARLO} masks of the layer, {_name(rescale)}", "wine",
        float(losses.mean()), float(exact), float(STANDARD_ERRORS * error),
        rarity(p, d_in, d_out, MONTE_CARLO),
    )  # fmt: skip


def masked_outputs(
    update: Array, features: Array, p: float, *, seed: int, step: int, samples: int,
    rescale: bool = False,
) -> Array:  # fmt: skip
    """Outputs of a linear layer under masks that are drawn as a layer draws them.

    Args:
        update: (d_out, d_in).
        features: (examples, d_in).
        p: dropout rate, in [0, 1).
        seed, step, samples: say which masks, as for :func:`lora_dropout.masks.stack_masks`.
        rescale: whether masks are divided by 1 - p.

    Returns:
        (samples, examples, d_out).
    """
    d_out, d_in = update.shape
    mask_in, mask_out = stack_masks(
        LayerShape(d_in, d_out, p, p), seed=seed, steps=[step], layer=0, samples=range(samples),
        rescale=rescale,
    )  # fmt: skip
    rows, columns = mask_out[0].double().numpy(), mask_in[0].double().numpy()
    return np.einsum("mk,kj,mj,nj->mnk", rows, update, columns, features, optimize=True)


def rarity(p: float, d_in: int, d_out: int, masks: int) -> str:
    """Say whether a sample of masks is too small for its spread to say how far off its mean is.

    Args:
        p: dropout rate, in [0, 1].
        d_in: columns.
        d_out: rows.
        masks: size of the sample.

    Returns:
        ``TOO_RARE`` if fewer than ``ENOUGH_MASKS`` are expected to drop anything, or to keep
        anything; "" otherwise.

    >>> [bool(rarity(p, 13, 3, 4000)) for p in (1e-4, 0.05, 0.9, 0.99)]
    [True, False, False, True]
    """
    dropping = 1 - (1 - p) ** (d_in + d_out)
    keeping = (1 - p**d_in) * (1 - p**d_out)
    return "" if masks * min(dropping, keeping) >= ENOUGH_MASKS else TOO_RARE


def _case(
    p: float, seed: int, reading: str, where: str, measured: float, exact: float, slack: float,
    failed: str = "",
) -> Case:  # fmt: skip
    return Case(
        "exact expected loss",
        reading,
        f"{where}, p = {p:g}",
        measured,
        exact,
        equal=True,
        tolerance=slack,
        assumptions="linear model, squared loss",
        failed=failed,
        command=f"--statement loss --p {p:g} --seed {seed}",
    )


def _train(residual: Array, features: Array, p: float, seed: int) -> Array:
    """Train a rank-1 update of a zero layer with real masks; return the update."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.nn.Linear(features.shape[1], residual.shape[1], bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(base.weight)
    layer = LoRADropoutLinear(base, rank=1, p=p, generator=generator)
    optimizer = torch.optim.Adam([layer.lora_A, layer.lora_B], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    x = torch.from_numpy(features).repeat(SAMPLES, 1)
    t = torch.from_numpy(residual).repeat(SAMPLES, 1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with grouped_samples(layer, SAMPLES):
            (layer(x) - t).square().sum(1).mean().backward()
        optimizer.step()
        schedule.step()
    return (layer.scaling * layer.lora_B @ layer.lora_A).detach().numpy()


def _tiny(seed: int) -> Problem:
    """Some examples of wine with few features and outputs, so that all masks can be enumerated."""
    problem = load_problem("wine")
    index = np.random.default_rng(seed).choice(len(problem), 12, replace=False)
    return Problem(problem.features[index, :D_IN], problem.targets[index, :D_OUT], problem.loss)


def _row_column_masks(p: float) -> list[tuple[float, Array]]:
    """Every mask of rows and columns with its probability."""
    masks = []
    for bits in product((0.0, 1.0), repeat=D_OUT + D_IN):
        rows, columns = np.array(bits[:D_OUT]), np.array(bits[D_OUT:])
        masks.append((_probability(bits, 1 - p), np.outer(rows, columns)))
    return masks


def _entry_masks(p: float) -> list[tuple[float, Array]]:
    """Every mask of entries that survive independently with probability (1-p)^2."""
    return [
        (_probability(bits, (1 - p) ** 2), np.array(bits).reshape(D_OUT, D_IN))
        for bits in product((0.0, 1.0), repeat=D_OUT * D_IN)
    ]


def _probability(bits: tuple[float, ...], keep: float) -> float:
    return float(np.prod([keep if bit else 1 - keep for bit in bits]))


def _name(rescale: bool) -> str:
    return "rescaled" if rescale else "not rescaled"

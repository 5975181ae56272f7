"""Leave-one-out parameters without retraining: one Newton step from theta(S).

With theta all factors, F_w the loss weighted by w and penalized as in training, and w_i the weights
of S^i, the step is

    theta(S^i) - theta(S) = -(G_i + damping I)^-1 (grad F_{w_i} - grad F_{w_S})(theta(S)),

G_i the generalized Gauss-Newton matrix of F_{w_i}. Only the *difference* of the two gradients
counts, so that theta(S) need not be a minimiser. Where it is one and the model is linear, this is
the one-step approximation of Beirami et al. 2017 and Giordano et al. 2019; with damping it is the
influence function of Koh & Liang 2017 as it is used for networks (Martens 2020 for the matrix).
Training that stops early is far from a minimiser along flat directions, which damping holds back.

The systems are solved by conjugate gradients, from products with G_i alone, or with the EK-FAC
approximation of the matrix of S (``probes.landscape.ekfac``). All G_i have the Jacobian of the
outputs in theta(S) in common; it is computed once where it is small enough to be held, otherwise
products go through the network.

The loss is that of the deterministic network: what the masks do in training is not in it.
"""

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.func import jvp, vjp, vmap

from probes.jobs.job import Progress, silent
from probes.landscape.ekfac import ekfac_inverse
from probes.landscape.newton_plan import (
    EXPECTED_PRODUCTS,
    MEMORY_BUDGET,
    Solver,
    bytes_of_a_product,
)
from probes.models.encoder import Encoder, Tokens
from probes.models.network import Factors, Inputs, Network

#: Relative residual at which conjugate gradients stop, and products with the matrix at most.
TOLERANCE, MOST_PRODUCTS = 1e-6, 1000


def newton_step(
    network: Network,
    inputs: Inputs,
    factors: Factors,
    weights: Tensor,
    *,
    update_scale: float,
    penalty_weight: float,
    damping: float,
    solver: Solver = "cg",
    seed: int = 0,
    memory_budget: int = MEMORY_BUDGET,
    progress: Progress = silent,
) -> tuple[Factors, str]:
    """Estimate the factors of every replica that leaves an example out.

    See the top of this module for the formula.

    Source: Beirami et al. 2017, "On optimal generalizability in parametric learning" (one Newton
    step for leave-one-out); Giordano et al. 2019, arXiv 1806.00550 (the same to first order in the
    weights, with the matrix of S); Koh & Liang 2017, arXiv 1703.04730 (for networks, with damping);
    Martens 2020, arXiv 1412.1193 (the Gauss-Newton matrix in the place of the Hessian).

    Args:
        network: the frozen network.
        inputs: the n examples of S.
        factors: trained on S, of one replica, A (1, r, d_in) and B (1, d_out, r).
        weights: of the examples, for S and then every S^i, (n + 1, n); a row sums to 1.
        update_scale: factor of the update in the deterministic network.
        penalty_weight: of ||update||^2 in the objective, 0 for none.
        damping: positive, in units of the loss per squared unit of a factor.
        solver: "cg", or "ekfac" for an encoder without a penalty: the matrix of S in place of those
            of all S^i, and approximated (:mod:`probes.landscape.ekfac`).
        seed: of the labels that EK-FAC draws.
        memory_budget: bytes that products may hold; fewer of them are then taken at once.
        progress: told n for each of ``EXPECTED_PRODUCTS``, however many it takes.

    Returns:
        The factors of the n replicas, A (n, r, d_in) and B (n, d_out, r), in the dtype and on the
        device of ``factors``; and how they were obtained, in words, which also say where conjugate
        gradients did not converge.

    Raises:
        ValueError: solver "ekfac", and kronfluence is not installed.
    """
    exact = torch.empty((), dtype=torch.float64)
    placed = _Point(
        network.place(exact),
        inputs.place(exact),
        factors,
        update_scale,
        penalty_weight,
        memory_budget,
    )
    wanted = weights[1:].double()
    change = placed.gradients(wanted) - placed.gradients(weights[:1].double())
    if solver == "cg":
        steps, how = _conjugate_gradients(placed, change, wanted, damping, progress)
        return placed.moved(steps), how
    assert isinstance(network, Encoder)
    assert isinstance(inputs, Tokens)
    inverse = ekfac_inverse(
        network, inputs, factors, update_scale=update_scale, damping=damping, seed=seed
    )
    progress(len(inputs) * EXPECTED_PRODUCTS)
    return placed.moved(-inverse(change)), f"one step by EK-FAC, damping {damping:g}"


def _conjugate_gradients(
    placed: "_Point", change: Tensor, wanted: Tensor, damping: float, progress: Progress
) -> tuple[Tensor, str]:
    """Solve (G_i + damping I) step_i = -change_i for all n examples i at once.

    The systems are the blocks of one block-diagonal system, so that their products are computed
    together; they share the steps of conjugate gradients, and the residual is that of all.

    Source: Koh & Liang 2017, arXiv 1703.04730 (conjugate gradients from matrix-vector products);
    Martens 2020, arXiv 1412.1193 (Gauss-Newton products).

    Args:
        placed: the objective around theta(S).
        change: right-hand sides with the opposite sign, (n, size).
        wanted: example weights of every S^i, (n, n).
        damping: positive.
        progress: told n for each of ``EXPECTED_PRODUCTS`` products.

    Returns:
        Steps, (n, size), float64, and how they were obtained.
    """
    products = 0

    def multiply(steps: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        if products <= EXPECTED_PRODUCTS:
            progress(len(change))
        given = torch.from_numpy(np.ascontiguousarray(steps)).view_as(change)
        return placed.curvature(given, wanted).add_(given, alpha=damping).flatten().numpy()

    size = change.numel()
    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    # SciPy's threads, after each of its sums, would hold up those of the products.
    with threadpool_limits(1, user_api="blas"):
        found, failed = cg(
            operator, -change.flatten().numpy(), rtol=TOLERANCE, maxiter=MOST_PRODUCTS
        )
    progress(len(change) * max(0, EXPECTED_PRODUCTS - products))
    how = f"one Newton step, damping {damping:g}, {products} products"
    return torch.from_numpy(found).view_as(change), how + (
        ", which did not converge" if failed else ""
    )


class _Point:
    """The objective around trained factors, in float64, as a function of one flat vector."""

    def __init__(
        self, network: Network, inputs: Inputs, factors: Factors, update_scale: float,
        penalty_weight: float, memory_budget: int,
    ) -> None:  # fmt: skip
        self.network, self.inputs, self.update_scale = network, inputs, update_scale
        self.like, self.penalty_weight = factors, penalty_weight
        self.at = torch.cat([factor.flatten() for pair in factors for factor in pair]).double()
        self.at = self.at.cpu()
        self.value = self.outputs(self.at)
        self.output_hessian = self._output_hessian()
        self.jacobian: Tensor | None = None
        if 8 * self.value.numel() * len(self.at) <= memory_budget // 2:
            self.jacobian = self._jacobian()
        else:
            self.back = vjp(self.outputs, self.at)[1]
        each = bytes_of_a_product(network, len(inputs), by_jacobian=self.jacobian is not None)
        self.together = max(1, memory_budget // 2 // each)

    def factors(self, flat: Tensor) -> Factors:
        """Factors of R replicas from (R, size), or of one from (size,)."""
        pieces = iter(
            flat.view(-1, len(self.at)).split(
                [factor[0].numel() for pair in self.like for factor in pair], dim=1
            )
        )
        return [
            tuple(next(pieces).reshape(-1, *factor.shape[1:]) for factor in pair)
            for pair in self.like
        ]

    def outputs(self, flat: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Outputs of the deterministic network, (k, n), or on other inputs."""
        inputs = self.inputs if inputs is None else inputs
        return self.network.replica_outputs(
            self.factors(flat), inputs, update_scale=self.update_scale
        )[0]

    def _output_hessian(self) -> Tensor:
        """Second derivatives of every example's loss in its outputs, (k, k, n)."""

        def column(output: Tensor) -> Tensor:
            moved = output[:, None].expand_as(self.value)
            return jvp(self.output_gradient, (self.value,), (moved,))[1]

        with warnings.catch_warnings():
            # PyTorch's own forward-mode derivatives, when they are first used.
            warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
            return vmap(column, out_dims=1)(torch.eye(len(self.value), dtype=torch.float64))

    def _jacobian(self) -> Tensor:
        """Of the outputs, (k n, size), example by example."""
        one_hot = torch.eye(len(self.value), dtype=torch.float64)[:, :, None]
        rows = self.at.new_empty(*self.value.shape, len(self.at))
        for number in range(len(self.inputs)):
            example = self.inputs.take(torch.tensor([number]))
            back = vjp(partial(self.outputs, inputs=example), self.at)[1]
            (rows[:, number],) = vmap(back)(one_hot)
        return rows.flatten(0, 1)

    def push(self, steps: Tensor) -> Tensor:
        """Changes of the outputs with steps (R, size), to first order: (R, k, n)."""
        if self.jacobian is not None:
            return (steps @ self.jacobian.T).unflatten(1, self.value.shape)

        def product(step: Tensor) -> Tensor:
            return jvp(self.outputs, (self.at,), (step,))[1]

        return vmap(product)(steps)

    def pull(self, slopes: Tensor) -> Tensor:
        """Gradients (R, size) of what has the slopes (R, k, n) in the outputs."""
        if self.jacobian is not None:
            return slopes.flatten(1) @ self.jacobian
        return vmap(lambda slope: self.back(slope)[0])(slopes)

    def updates(self, flat: Tensor) -> Tensor:
        """All updates of the weights, one flat vector; their squared norm is penalized."""
        scaling = self.network.scaling
        return torch.cat([(scaling * B @ A).flatten() for A, B in self.factors(flat)])

    def output_gradient(self, outputs: Tensor) -> Tensor:
        """Gradient of every example's loss in its outputs, (k, n)."""
        return self.network.loss.gradient(outputs, self.inputs.targets, None)

    def gradients(self, weights: Tensor) -> Tensor:
        """Gradient of the loss under each row of weights, without the penalty, (R, size)."""
        slope = self.output_gradient(self.value)
        return self._in_batches(len(weights), lambda rows: self.pull(slope * weights[rows, None]))

    def curvature(self, steps: Tensor, weights: Tensor) -> Tensor:
        """Products of the Gauss-Newton matrices under each row of weights with each step."""
        return self._in_batches(
            len(steps), lambda rows: self._curvature(steps[rows], weights[rows])
        )

    def _in_batches(self, count: int, vectors: Callable[[slice], Tensor]) -> Tensor:
        """Rows made batch by batch, in place: joined at the end, they would fragment the memory."""
        found = self.at.new_empty(count, len(self.at))
        for start in range(0, count, self.together):
            rows = slice(start, start + self.together)
            found[rows] = vectors(rows)
        return found

    def _curvature(self, steps: Tensor, weights: Tensor) -> Tensor:
        def penalty(step: Tensor) -> Tensor:
            moved = jvp(self.updates, (self.at,), (step,))[1]
            return vjp(self.updates, self.at)[1](moved)[0]

        weighted = torch.einsum("jkn,rkn->rjn", self.output_hessian, self.push(steps))
        products = self.pull(weighted * weights[:, None])
        if self.penalty_weight:
            products = products + 2 * self.penalty_weight * vmap(penalty)(steps)
        return products

    def moved(self, steps: Tensor) -> Factors:
        """Factors after each of the steps, as the given ones are held."""
        return [
            (A.to(kept_A), B.to(kept_B))
            for (A, B), (kept_A, kept_B) in zip(
                self.factors(self.at + steps), self.like, strict=True
            )
        ]

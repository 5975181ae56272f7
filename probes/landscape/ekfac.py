"""The curvature of a transformer by EK-FAC, through the package kronfluence (extra ``ekfac``).

Eigenvalue-corrected Kronecker-factored approximate curvature (George et al. 2018) takes a linear
map's Gauss-Newton matrix for a Kronecker product, so that its inverse costs a few small products,
once for all examples. Influence functions of large models rest on it (Grosse et al. 2023). Here the
linear maps are the factors A and B themselves.
"""

import warnings
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from probes.models.encoder import Encoder, Tokens
from probes.models.low_rank_maps import AdaptedMap
from probes.models.network import Factors
from probes.models.pretrained import require_package

#: Examples that the curvature is fitted on at a time.
BATCH = 32


class FactorMap(AdaptedMap):
    """The map of one replica whose factors are linear modules, as kronfluence needs them.

    Args:
        weight: W0, (d_out, d_in).
        A: linear module whose weight is (r, d_in).
        B: linear module whose weight is (d_out, r).
        scale: factor of the update B A.
    """

    def __init__(self, weight: Tensor, A: nn.Module, B: nn.Module, scale: float) -> None:
        self.weight, self.A, self.B, self.scale = weight, A, B, scale

    def __call__(self, x: Tensor) -> Tensor:
        """Map (1, m, tokens, d_in) to (1, m, tokens, d_out)."""
        update = self.B(self.A(x[0])).unsqueeze(0)
        return torch.add(nn.functional.linear(x, self.weight), update, alpha=self.scale)

    def averaged(self, attention: Tensor, x: Tensor) -> Tensor:
        """Map all tokens, then average them, as in :meth:`AdaptedMap.averaged`.

        The modules must see every token.
        """
        values = self(x).unflatten(-1, (attention.shape[2], -1))
        return torch.einsum("rmht,rmthe->rmhe", attention, values)


class Replica(nn.Module):
    """One replica of an encoder, its factors as linear modules.

    Args:
        network: the frozen network.
        factors: of one replica, A (1, r, d_in) and B (1, d_out, r).
        update_scale: factor of the update in the deterministic network.
    """

    def __init__(self, network: Encoder, factors: Factors, update_scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, network.scaling * update_scale
        self.factors = nn.ModuleList(_linear(factor[0]) for pair in factors for factor in pair)

    def forward(self, inputs: Tokens) -> Tensor:
        """Outputs, (k, m)."""
        modules = list(self.factors)
        layers = zip(self.network.weights, modules[::2], modules[1::2], strict=True)
        return self.network.mapped_outputs(
            [FactorMap(weight, A, B, self.scale) for weight, A, B in layers], inputs
        )[0]


def ekfac_inverse(
    network: Encoder,
    inputs: Tokens,
    factors: Factors,
    *,
    update_scale: float,
    damping: float,
    seed: int,
) -> "EkfacInverse":
    """Fit the curvature of the mean loss on S at one replica's factors.

    Source: George et al. 2018, arXiv 1806.03884 (EK-FAC); Grosse et al. 2023, arXiv 2308.03296
    (EK-FAC with damping for influence functions; kronfluence implements it).

    Args:
        network: the frozen network; its loss is cross-entropy.
        inputs: the n examples of S.
        factors: of one replica, A (1, r, d_in) and B (1, d_out, r).
        update_scale: factor of the update in the deterministic network.
        damping: added to every eigenvalue; positive, in units of the loss per squared unit of a
            factor.
        seed: of the labels drawn from the network's own predictions, whose gradients make the
            Fisher matrix, which for cross-entropy is the Gauss-Newton matrix.

    Returns:
        What multiplies gradients by the inverse of the damped curvature. It computes in float32 on
        the CPU.

    Raises:
        ValueError: kronfluence is not installed.
    """
    require_package("kronfluence", extra="ekfac")
    from kronfluence.arguments import ScoreArguments
    from kronfluence.factor.config import FactorConfig, FactorStrategy

    fitted = _fit(network, inputs, factors, update_scale, seed)
    config = FactorConfig.CONFIGS[FactorStrategy.EKFAC]
    held = []
    for name in _names(factors):
        storage = {kind: tensors[name] for kind, tensors in fitted.items()}
        config.prepare(storage, ScoreArguments(damping_factor=damping), torch.device("cpu"))
        held.append(storage)
    return EkfacInverse(config, held, factors)


def _fit(
    network: Encoder, inputs: Tokens, factors: Factors, update_scale: float, seed: int
) -> dict[str, dict[str, Tensor]]:
    """What kronfluence fits: of every kind, a tensor a module."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments

    # On the CPU: on other devices kronfluence takes the first GPU that there is, and keeps it.
    here = torch.empty((), dtype=inputs.hidden.dtype)
    network, inputs = network.place(here), inputs.place(here)
    task = _task(network, _names(factors), seed)
    model = prepare_model(
        Replica(network, [(A.to(here), B.to(here)) for A, B in factors], update_scale), task
    )
    data = TensorDataset(
        inputs.hidden, inputs.mask, inputs.keys, inputs.queries, inputs.values, inputs.targets.mT
    )
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.cuda.amp.GradScaler", FutureWarning)
        analyzer = Analyzer("replica", model, task, cpu=True, disable_tqdm=True, output_dir=folder)
        analyzer.fit_all_factors(
            "ekfac", data, per_device_batch_size=BATCH, factor_args=FactorArguments()
        )
        return analyzer.load_all_factors("ekfac")


def _task(network: Encoder, names: list[str], seed: int) -> Any:
    """What kronfluence asks of a task: losses, modules and masks."""
    from kronfluence.task import Task

    generator = torch.Generator().manual_seed(seed)

    class Classification(Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            tokens = _tokens(batch)
            outputs = model(tokens)
            if not sample:
                return network.loss.value(outputs, tokens.targets).sum()
            chances = outputs.detach().mT.softmax(-1)
            drawn = torch.multinomial(chances, 1, generator=generator)[:, 0]
            return nn.functional.cross_entropy(outputs.mT, drawn, reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

        def get_influence_tracked_modules(self) -> list[str]:
            return names

        def get_attention_mask(self, batch: Any) -> Tensor:
            return _tokens(batch).mask

    return Classification()


def _names(factors: Factors) -> list[str]:
    """Names of a replica's modules, in the order of the factors."""
    return [f"factors.{number}" for number in range(2 * len(factors))]


class EkfacInverse:
    """The inverse of the damped curvature, block by block, one block a factor.

    Source: George et al. 2018, arXiv 1806.03884.

    Args:
        config: kronfluence's configuration of EK-FAC, which has the product with a gradient.
        held: eigenvectors and reciprocals of the damped eigenvalues of every factor, as ``config``
            prepared them.
        like: factors of one replica, for their shapes.
    """

    def __init__(self, config: Any, held: list[dict[str, Tensor]], like: Factors) -> None:
        self.config, self.held = config, held
        self.shapes = [factor.shape[1:] for pair in like for factor in pair]

    def __call__(self, gradients: Tensor) -> Tensor:
        """Multiply gradients in all factors, (R, size), by the inverse: (R, size)."""
        parts = gradients.split([shape.numel() for shape in self.shapes], dim=1)
        solved = [
            self.config.precondition_gradient(part.reshape(-1, *shape).float(), storage)
            for part, shape, storage in zip(parts, self.shapes, self.held, strict=True)
        ]
        return torch.cat([part.flatten(1) for part in solved], dim=1).to(gradients)


def _linear(weight: Tensor) -> nn.Linear:
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    module.weight = nn.Parameter(weight.detach().clone())
    return module


def _tokens(batch: Any) -> Tokens:
    hidden, mask, keys, queries, values, targets = batch
    return Tokens(hidden, mask, keys, queries, values, targets.mT.contiguous())

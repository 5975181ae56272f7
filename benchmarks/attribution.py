"""Time of the ground truth of data attribution: together, and one network after the other.

Networks without one example each and without random halves of S, with their losses on the held-out
examples, as ``python -m probes.attribution`` makes them for digits. The peer is the serial loop of
attribution tools: a training function called once a subset with a ``DataLoader`` over a ``Subset``,
the model saved each time, then its held-out losses. It trains this package's own layer, with the
same start and the same masks, so that the losses can be compared.

    python -m benchmarks.attribution --repetitions 3
"""

from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

from benchmarks.interleaved_timing import Variant, compare
from lora_dropout import inject
from probes.attribution import AttributionSettings
from probes.cells.cell import Cell, objective_of
from probes.cells.evaluation import deterministic_losses
from probes.cells.prepare import Prepared, prepare
from probes.cli.command_line import run_functions
from probes.models.feedforward import Columns, FeedForward
from probes.training.example_weights import leave_k_out
from probes.training.retrain import retrain

TOGETHER = "this project"


def train_together(cell: Cell, ready: Prepared, weights: Tensor) -> Tensor:
    """All networks by :func:`probes.training.retrain.retrain`.

    Args:
        cell: what is trained.
        ready: its examples, its network and its start.
        weights: of the examples, one network a row, (R, n).

    Returns:
        Losses on the test examples, (R, m), float64.
    """
    with torch.no_grad():
        factors = retrain(
            ready.network, ready.train, weights, ready.start, ready.training, objective_of(cell)
        )
    return deterministic_losses(cell, ready.network, factors, ready.test)


def train_serially(cell: Cell, ready: Prepared, weights: Tensor) -> Tensor:
    """One network after the other; arguments as of :func:`train_together`."""
    assert isinstance(ready.test, Columns)
    X, labels = ready.test.features.mT, ready.test.targets.argmax(0)
    untrained, losses = modules(cell, ready), []
    with TemporaryDirectory() as folder:
        for number, weight in enumerate(weights):
            model = train_one(deepcopy(untrained), ready, Subset(examples(ready), kept(weight)))
            save_model(model, str(Path(folder) / f"{number}.safetensors"))
            with torch.no_grad():
                losses.append(F.cross_entropy(model(X), labels, reduction="none"))
    return torch.stack(losses).double()


def train_one(model: nn.Module, ready: Prepared, data: Subset) -> nn.Module:
    """What a user gives to an attribution tool.

    Args:
        model: that is trained, in place.
        ready: says the learning rate and the steps.
        data: examples that it sees.

    Returns:
        The model in ``eval()``.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=ready.training.lr)
    for _ in range(ready.training.steps):
        for features, labels in DataLoader(data, batch_size=len(data)):
            optimizer.zero_grad()
            F.cross_entropy(model(features), labels).backward()
            optimizer.step()
    return model.eval()


def modules(cell: Cell, ready: Prepared) -> nn.Module:
    """The network before training, as modules with this package's layer.

    Args:
        cell: says rank, alpha and p.
        ready: its network and its start.

    Returns:
        The model in ``train()``.
    """
    network = ready.network
    assert isinstance(network, FeedForward)
    layers: list[nn.Module] = []
    for weight, bias in zip(network.weights, network.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data.copy_(weight)
        linear.bias.data.copy_(bias[:, 0])
        layers += [linear, nn.ReLU()]
    model = inject(
        nn.Sequential(*layers[:-1]), rank=cell.rank, alpha=cell.alpha, p=cell.p,
        seed=ready.training.seed,
    )  # fmt: skip
    adapted = [module for module in model.modules() if hasattr(module, "lora_A")]
    with torch.no_grad():
        for layer, factors in zip(adapted, ready.start, strict=True):
            for factor, start in zip((layer.lora_A, layer.lora_B), factors, strict=True):
                factor.copy_(start[0])
    return model.train()


def examples(ready: Prepared) -> TensorDataset:
    """The examples of S as a data set of PyTorch: features, (n, d), and labels, (n,)."""
    assert isinstance(ready.train, Columns)
    return TensorDataset(ready.train.features.mT.contiguous(), ready.train.targets.argmax(0))


def kept(weight: Tensor) -> list[int]:
    """Positions of the examples with a weight."""
    return weight.nonzero()[:, 0].tolist()


def main(n: int = 64, subsets: int = 100, serial: int = 4, repetitions: int = 3) -> None:
    """Print the table.

    Args:
        n: size of S.
        subsets: networks that leave out half of it.
        serial: networks that the serial loop trains for its estimate.
        repetitions: interleaved repetitions; medians are shown.
    """
    settings = AttributionSettings(n=n, subsets=subsets)
    (found,) = settings.cells()
    cell = found.base
    ready = prepare(cell)
    generator = torch.Generator().manual_seed(0)
    halves = leave_k_out(n, found.left, subsets, generator)
    weights = torch.cat([ready.weights, halves])
    variants = [
        Variant(TOGETHER, lambda: train_together(cell, ready, weights), len(weights)),
        Variant("serial loop", lambda: train_serially(cell, ready, weights[:serial]), serial),
    ]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"digits, n = {n}, p = {cell.p}, {cell.steps} steps, {len(weights)} networks")
    compare(variants, repetitions, [TOGETHER])


if __name__ == "__main__":
    run_functions(main)

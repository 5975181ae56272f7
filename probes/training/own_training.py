"""Training a model of one's own by the methods of ``probes.training.rivals``, one by one."""

import copy
import math
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lora_dropout import backward_over_samples, mask_schedule
from lora_dropout.injection import masked_updates
from lora_dropout.layer import initial_factor
from probes.jobs.validation import require
from probes.tasks.own_model import OwnModel, of_users_code
from probes.tasks.own_model_layers import adapt_linear, say_layers, update_rank
from probes.tasks.own_model_traits import Traits, kept_generators, traits_of
from probes.training.averaged_outputs import averaged_outputs, why_not_averaged
from probes.training.rivals import RIVALS, Rival

#: Tells the seed of a model's own random numbers from those of its masks.
NOISE = 1
#: Rules that this module trains by.
RULES = ("LoRA", "LoRA Dropout", "weight decay", "smaller rank")
#: Called with the number of a step and the model after it, in ``eval()``.
OwnCheckpoint = Callable[[int, nn.Module], object]


@dataclass(frozen=True, eq=False)
class OwnSample:
    """What a replica is trained on.

    Attributes:
        train: places of the examples of S, (n,).
        weights: of these in the loss, (n,); 0 for what is left out.
        seeds: of the split, the initial factors and the masks.
        coupled: whether what is left out has to be taken from the batch: see ``traits_of``.
    """

    train: Tensor
    weights: Tensor
    seeds: tuple[int, int, int]
    coupled: bool = False


def train_own(
    own: OwnModel,
    rival: Rival,
    sample: OwnSample,
    stops: Collection[int] = (),
    checkpoint: OwnCheckpoint = lambda step, model: None,
) -> nn.Module:
    """Train one replica.

    Args:
        own: the model, its data, its learning rate and its steps.
        rival: a method for which :func:`own_obstacle` is empty, and its strength.
        sample: what it is trained on.
        stops: numbers of steps, from 1, after which ``checkpoint`` is called.
        checkpoint: may evaluate the model; it leaves it as it is.

    Returns:
        The trained model in ``eval()``: the expected-weight network.
    """
    train, weights, method = sample.train, sample.weights, rival.method
    if sample.coupled:
        train, weights = train[weights > 0], weights[weights > 0]
    features, targets = own.features[train], own.targets[train]
    with kept_generators(own):
        # The same random numbers for every replica, and others than those of the masks.
        noise = np.random.SeedSequence([*sample.seeds, NOISE]).generate_state(1, np.uint64)
        torch.manual_seed(int(noise[0]))
        model = _start(own, rival, sample.seeds).train()
        decay = rival.strength if method.rule == "weight decay" else 0.0
        optimizer = torch.optim.AdamW(mask_schedule(model).factors(), own.lr, weight_decay=decay)

        def loss() -> Tensor:
            losses = own.loss(model(features), targets)
            return (weights.to(losses) * losses).sum()

        for step in range(1, own.steps + 1):
            optimizer.zero_grad()
            with warnings.catch_warnings():
                # traits_of has already named the layers that take no part.
                warnings.filterwarnings("ignore", ".* took no part in the first training pass")
                if method.samples == 1:
                    loss().backward()
                else:
                    backward_over_samples(model, loss, method.samples)
            optimizer.step()
            if step in stops:
                checkpoint(step, model.eval())
                model.train()
    return model.eval()


@torch.no_grad()
def own_outputs(model: nn.Module, features: Tensor, members: int = 1) -> Any:
    """Predict with a trained model.

    Args:
        model: in ``eval()``.
        features: that it reads.
        members: networks of the ensemble of masks; 1 for the expected weight.

    Returns:
        What the model returns; of an ensemble the average of that over its members.
    """
    return averaged_outputs(model, features, members) if members > 1 else model(features)


def adapted(own: OwnModel, p: float, seeds: tuple[int, int, int]) -> nn.Module:
    """Return a copy of the model with its adapter at the start of training.

    Args:
        own: the model, and how it is adapted.
        p: dropout rate.
        seeds: of the split, the initial factors and the masks.

    Returns:
        The adapted copy, in the mode of the model.

    Raises:
        ValueError: ``own.adapt`` returns something else than the model with layers of LoRA Dropout,
            or none of them has the rate p.
    """
    _, factor_seed, mask_seed = seeds
    with of_users_code("a copy of own.model"):
        model = copy.deepcopy(own.model)
    if own.adapt is None:
        model = adapt_linear(own, model, p, mask_seed)
    else:
        with kept_generators(own):
            torch.manual_seed(factor_seed)
            with of_users_code("own.adapt"):
                model = own.adapt(model, p, mask_seed)
        require(
            isinstance(model, nn.Module) and bool(masked_updates(model)), "own.adapt",
            "a function that returns the model with layers of LoRA Dropout",
            type(model).__name__,
        )  # fmt: skip
        _check_rate(model, p)
    # Initial factors of a seed of their own, as in a cell: masks do not depend on their shapes.
    generator = torch.Generator().manual_seed(factor_seed)
    with torch.no_grad():
        for layer in masked_updates(model):
            first, shape = layer.factors[0], (layer.rank, layer.shape.d_in)
            # Those of a convolution have a kernel, and an embedding begins with A = 0: they stay
            # as the adapter has drawn them, of the same seed.
            if tuple(first.shape) == shape and bool(first.any()):
                first.copy_(initial_factor(*shape, generator))
    return model


def tried(own: OwnModel, rates: Collection[float], seeds: tuple[int, int, int], n: int) -> Traits:
    """Try a model on a batch, check its adapter at every rate, and say what is adapted.

    Args:
        own: the model, its data, and how it is adapted.
        rates: p of all networks.
        seeds: as for :func:`adapted`.
        n: as for :func:`probes.tasks.own_model_traits.traits_of`.

    Returns:
        What the model does in training.

    Raises:
        ValueError: as for both.
    """
    traits = traits_of(own, partial(adapted, own, max(rates), seeds), n)
    if own.adapt is None:
        say_layers(own)
    else:
        for p in rates:
            adapted(own, p, seeds)
    return traits


def _check_rate(model: nn.Module, p: float) -> None:
    """Check that masks have the rate p, in one layer at least: others may have smaller ones."""
    shapes = [layer.shape for layer in masked_updates(model)]
    largest = max(max(shape.p_in, shape.p_out) for shape in shapes)
    require(
        math.isclose(largest, p), "own.adapt",
        f"a function whose layers have the rate p, here {p:g}", f"the rate {largest:g}",
    )  # fmt: skip


def own_obstacle(own: OwnModel, name: str) -> str:
    """Say why a method does not apply to a model of one's own; empty where it does.

    Args:
        own: the model.
        name: of the method, one of ``RIVALS``.

    Returns:
        One sentence.
    """
    method = RIVALS[name]
    if method.classes:
        return f"{name} needs classes, and the loss of your model is a function of your own"
    if method.rule not in RULES:
        return f"{name} needs layers of PEFT, which a model of your own is not adapted by here"
    if method.rule == "smaller rank" and own.adapt is not None:
        return (
            f"{name} needs a model that inject adapts, and yours is adapted by OwnModel(adapt=...)"
        )
    if method.rule == "smaller rank" and update_rank(own) == 1:
        return f"{name} needs a rank of at least 2, and it is 1"
    if method.masked_members > 1:
        refused = why_not_averaged(own_outputs(copy.deepcopy(own.model).eval(), own.features[:2]))
        if refused:
            return f"{name} averages what your model returns, and {refused}"
    return ""


def _start(own: OwnModel, rival: Rival, seeds: tuple[int, int, int]) -> nn.Module:
    """The adapted model of a method, with the components that it leaves out held at zero."""
    rule = rival.method.rule
    model = adapted(own, rival.strength if rule == "LoRA Dropout" else 0.0, seeds)
    if rule == "smaller rank":
        with torch.no_grad():
            kept = rival.rank(update_rank(own))
            # A row of zeros in A has no gradient where B is 0, and B none where A is.
            for layer in masked_updates(model):
                layer.factors[0][kept:] = 0
    return model

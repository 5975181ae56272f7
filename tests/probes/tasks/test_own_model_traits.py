"""What is found out of a model before it is retrained, and what is refused."""

import copy
import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lora_dropout import inject
from probes.tasks.own_model import OwnModel
from probes.tasks.own_model_traits import Traits, traits_of

FEATURES = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
TARGETS = (FEATURES[:, 0] > 0).long()


def cross_entropy(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none")


def own(*middle, **changes):
    model = nn.Sequential(nn.Linear(6, 4), *middle, nn.ReLU(), nn.Linear(4, 2))
    settings = {"features": FEATURES, "targets": TARGETS, "loss": cross_entropy, "rank": 2}
    return OwnModel(**({"model": model} | settings | changes))


def traits(given, n=6):
    def adapted():
        return inject(copy.deepcopy(given.model), rank=given.rank, p=0.3, seed=1)

    return traits_of(given, adapted, n)


def instance_norm(takes_down):
    """Normalizes each example by itself in training; by what it took down of all, in evaluation."""
    norm = nn.InstanceNorm1d(2, track_running_stats=takes_down)
    return [nn.Unflatten(1, (2, 2)), norm, nn.Flatten()]


class Centred(nn.Module):
    """Subtracts the mean over the batch, as no module of PyTorch does."""

    def forward(self, x):
        return x - x.mean(0) if self.training else x


class FunctionalDropout(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, self.training)


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ([], Traits(coupled=False, random=False)),
        ([nn.LayerNorm(4)], Traits(coupled=False, random=False)),
        ([nn.Dropout(0.0)], Traits(coupled=False, random=False)),
        ([nn.BatchNorm1d(4)], Traits(coupled=True, random=False)),
        (instance_norm(False), Traits(coupled=False, random=False)),
        (instance_norm(True), Traits(coupled=True, random=False)),
        ([Centred()], Traits(coupled=True, random=False)),
        ([nn.Dropout(0.1)], Traits(coupled=False, random=True)),
        ([FunctionalDropout()], Traits(coupled=False, random=True)),
        ([nn.RReLU()], Traits(coupled=False, random=True)),
    ],
)
def test_what_couples_examples_or_is_random_is_found(middle, expected, capsys):
    for n in (6, 19):
        assert traits(own(*middle, noise=True), n) == expected
    assert capsys.readouterr().err == ""


def test_what_couples_examples_is_found_behind_a_layer_that_gives_zeros():
    """As the last one of many networks at first; the update makes it give more."""
    given = own(model=nn.Sequential(nn.Linear(6, 4), Centred(), nn.Linear(4, 2)))
    with torch.no_grad():
        given.model[0].weight.zero_()
    assert traits(given).coupled


def test_layers_that_the_loss_does_not_depend_on_are_said(capsys):
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.idle = nn.Linear(6, 2), nn.Linear(6, 2)

        def forward(self, x):
            return self.first(x)

    assert traits(own(model=Idle())) == Traits(coupled=False, random=False)
    said = capsys.readouterr().err
    assert said == "own model: the loss does not depend on idle: not trained\n"


def test_the_generators_are_left_as_they_were():
    given = own(nn.Dropout(0.5), noise=True)
    before = torch.get_rng_state()
    traits(given)
    assert torch.equal(before, torch.get_rng_state())


class AlwaysNoisy(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


class Softmax(nn.Module):
    """Compares an example with the others of the batch, in evaluation as well."""

    def forward(self, x):
        return x.softmax(0)


class Counting(nn.Module):
    """Counts its passes, in evaluation as well."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes += 1
        return x * self.passes


class OwnGenerator(nn.Module):
    """Draws from a generator that is not PyTorch's."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x + torch.randn(x.shape, generator=self.generator)


class InPlace(nn.Sequential):
    """Changes what it reads: training reads it again."""

    def forward(self, x):
        return super().forward(x.mul_(1.5))


def moved(outputs, targets):
    return cross_entropy(outputs, targets.copy_(1 - targets))


def contrastive(outputs, targets):
    return F.cross_entropy(outputs @ outputs.mT, torch.arange(len(outputs)), reduction="none")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (own(nn.Dropout(0.1)), r"without random numbers of its own in training; got 1 \(Dropout\)"),
        (own(FunctionalDropout()), "got its forward pass; set their rates to 0"),
        (own(nn.Dropout(0.1), nn.BatchNorm1d(4), noise=True), "no example can be left out"),
        (own(AlwaysNoisy(), noise=True), r"draws random numbers in eval\(\)"),
        (own(model=nn.Linear(6, 2).half()), "own.model must be adapted in another precision than"),
        (own(Counting()), r"own.model .* got one that gives other losses in its second pass"),
        (own(OwnGenerator(), noise=True), "got one that gives other losses in its second pass"),
        (own(model=InPlace(nn.Linear(6, 2))), "own.model must be .* leaves the features as they"),
        (own(loss=moved), "own.loss must be a function that leaves the targets as they are"),
        (own(Softmax()), "own.loss must be of each example by itself; .* with the other ex"),
        (own(loss=contrastive), "own.loss must be of each example by itself; .* with the other ex"),
        (own(loss=lambda z, y: cross_entropy(z, y) / len(y)), "own.loss .* number of examples"),
        (own(loss=F.cross_entropy), r"own.loss must be a loss an example, .* \(reduction='none'"),
        (own(loss=lambda z, y: (z - y[:, None].float()) ** 2), r"of shape \(6,\); got \(6, 2\)"),
        (own(loss=lambda z, y: z[:, :1] - y), r"of shape \(6,\); got \(6, 6\)"),
        (own(loss=lambda z, y: F.mse_loss(z[:, :1], y + 0.5, reduction="none")), r"got \(6, 6\)"),
        (own(loss=lambda z, y: z.argmax(1) - y), "own.loss must be of floating point"),
        (own(score=lambda z, y: (z.argmax(1) == y).double().mean()), "own.score must be a score"),
        (own(targets=TARGETS[:-1]), "own.targets must be as many as the features, 20; got 19"),
        (own(features=FEATURES.numpy()), "own.features must be a tensor"),
        (own(targets=TARGETS.tolist()), "own.targets must be a tensor, one row an example; got li"),
        (own(targets=torch.tensor(1)), "own.targets must be a tensor, one row an example"),
        (own(loss=lambda z, y: 3.0), r"own.loss must be a loss an example, .* got float"),
        (own(nn.Dropout(0.0), nn.Dropout(0.1)), r"in training; got 2 \(Dropout\);"),
        (own(features=FEATURES[:, :5]), "own.model on 20 examples, .* fails: .*mat1 and mat2"),
        (own(features=FEATURES.log()), "own.loss must be finite before training; got nan for exa"),
        (own(loss=lambda z, y: cross_entropy(z, y).detach()), "own.loss must be a function of wh"),
        (own(loss=lambda z, y: 1 / 0), r"own.loss .* fails: ZeroDivisionError: .* \(test_own"),
        (own(score=lambda z, y: z.foo), "own.score on 6 examples fails: AttributeError"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message) as refused:
        traits(given)
    assert len(str(refused.value).splitlines()) == 1


def test_a_rough_precision_is_said_once(capsys):
    given = own(features=FEATURES.bfloat16())
    given.model.bfloat16()
    assert traits(given) == Traits(coupled=False, random=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert "losses are of torch.bfloat16, two to three digits: β has no more" in line


def test_a_batch_of_one_is_tried_as_well():
    with pytest.raises(ValueError, match=r"own.model on 1 example, .* fails: Expected more than 1"):
        traits(own(nn.BatchNorm1d(4)), n=2)


def test_random_numbers_from_elsewhere_are_found():
    class Elsewhere(nn.Module):
        def forward(self, x):
            return x * random.random()

    with pytest.raises(ValueError, match=r"own\.model must be repeatable from PyTorch's seed"):
        traits(own(Elsewhere(), noise=True))

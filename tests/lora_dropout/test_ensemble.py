"""Ensembles: averages of logits and of probabilities, and the members that are averaged."""

import copy
import io
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lora_dropout import Ensemble, inference_mode, inject, mask_schedule, members
from lora_dropout.ensemble import RunningAverage
from tests.lora_dropout.test_schedule import X, make_model

SIZE = 5
LABELS = torch.arange(5) % 4


def logits_of_members(model):
    return torch.stack([model(X).detach() for _ in members(model, SIZE)])


def test_member_outputs_are_what_is_averaged():
    model = make_model()
    outputs = logits_of_members(model)
    ensemble = Ensemble(model, SIZE)
    torch.testing.assert_close(ensemble.member_outputs(X).detach(), outputs, rtol=0, atol=0)
    assert ensemble.member_outputs(X).shape == (SIZE, 5, 4)
    torch.testing.assert_close(ensemble(X).detach(), outputs.mean(0))
    turned = Ensemble(model, SIZE, output=lambda output: 1j * output)(X).detach()
    torch.testing.assert_close(turned, 1j * outputs.mean(0))
    assert model.training


def test_averaged_probabilities_are_returned_as_their_logarithm():
    model = make_model()
    expected = logits_of_members(model).softmax(-1).mean(0)
    found = Ensemble(model, SIZE, average="probabilities")(X).detach()
    torch.testing.assert_close(found, expected.log())
    # So that what takes logits takes them: their softmax is themselves.
    torch.testing.assert_close(found.softmax(-1), expected)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_cross_entropy_is_at_most_the_mean_of_the_members(average):
    """Theorem 4.5 by the convexity of the loss, example by example; neither mean always wins."""
    model = make_model()
    outputs = logits_of_members(model)
    losses = torch.stack([cross_entropy(one, LABELS, reduction="none") for one in outputs])
    found = cross_entropy(Ensemble(model, SIZE, average=average)(X), LABELS, reduction="none")
    assert (found < losses.mean(0)).all()


def test_the_two_averages_are_the_arithmetic_and_the_geometric_mean():
    """Two members of odds 1 and 9: 0.7 and 0.75 for the first class, computed by hand."""
    logits = torch.tensor([[0.0, 0.0], [math.log(9), 0.0]], dtype=torch.float64)

    class Member(nn.Module):
        def __init__(self):
            super().__init__()
            self.adapted, self.number = make_model(), -1

        def forward(self):
            self.number = (self.number + 1) % 2
            return logits[self.number]

    found = [
        float(Ensemble(Member(), 2, average=average)().softmax(-1)[0])
        for average in ("probabilities", "logits")
    ]
    assert found == pytest.approx([0.7, 0.75], abs=1e-12)


def test_one_member_is_the_same_in_both():
    model = make_model()
    found = [Ensemble(model, 1, average=one)(X) for one in ("logits", "probabilities")]
    torch.testing.assert_close(found[0].log_softmax(-1), found[1])


@pytest.mark.parametrize(
    ("picked", "shape"), [(lambda one: one[:, :1], r"\(5, 1\)"), (torch.sum, r"\(\)")]
)
def test_probabilities_need_classes(picked, shape):
    ensemble = Ensemble(make_model(), 2, output=picked, average="probabilities")
    with pytest.raises(ValueError, match=f"two classes; its shape is {shape}"):
        ensemble(X)


@pytest.mark.parametrize(
    ("wrapped", "kind"), [(lambda one: {"logits": one}, "dict"), (lambda one: (one,), "tuple")]
)
def test_what_is_no_tensor_is_refused_and_the_model_left_as_it_was(wrapped, kind):
    model = make_model()
    ensemble = Ensemble(model, 2, output=wrapped)
    for call in (ensemble, ensemble.member_outputs):
        with pytest.raises(ValueError, match=f"averages tensors, not a {kind}"):
            call(X)
        assert model.training


def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match="'logits', 'probabilities'"):
        Ensemble(make_model(), 2, average="votes")


def test_parts_keep_the_modes_that_they_had():
    """A normalization that is frozen in training would otherwise come to life."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model = inject(model, rank=1, p=0.5).train()
    model[1].eval()
    before = model[1].running_mean.clone()
    Ensemble(model, 2)(torch.ones(3, 4))
    assert [part.training for part in model] == [True, False, True]
    model(torch.ones(3, 4))
    assert torch.equal(model[1].running_mean, before)


def in_another_thread(model):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(copy.deepcopy, model).result()


COPIES = (
    copy.deepcopy, pickle.dumps, lambda model: torch.save(model, io.BytesIO()), in_another_thread,
)  # fmt: skip


@pytest.mark.parametrize("copied", COPIES)
def test_a_model_is_not_copied_as_a_member_that_it_would_stay_for_ever(copied):
    model = make_model()
    for _ in members(model, 2):
        with pytest.raises(ValueError, match="do it outside the block"):
            copied(model)
    with (
        inference_mode(model, "no masks"),
        pytest.raises(ValueError, match="do it outside the block"),
    ):
        copied(model)
    copied(model)
    twin = copy.deepcopy(model)
    torch.testing.assert_close(logits_of_members(twin), logits_of_members(model), rtol=0, atol=0)


def test_nothing_is_adapted_trained_or_kept_as_of_a_member():
    model = make_model()
    before = model[0].lora_B.detach().clone()
    optimizer = torch.optim.SGD([model[0].lora_B], lr=0.1)
    for _ in members(model, 2):
        model(X).sum().backward()
        for call in (optimizer.step, mask_schedule(model).state_dict):
            with pytest.raises(ValueError, match="belong to no step of a training"):
                call()
        with pytest.raises(ValueError, match="adapt them before"):
            inject(nn.Sequential(model, nn.Linear(4, 2)), rank=1, p=0.5)
    assert torch.equal(model[0].lora_B, before)
    optimizer.step()
    assert mask_schedule(model).state_dict() == {"step": 0, "seed": 0}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_a_large_ensemble_of_half_precision_is_as_exact_as_one_output(average, dtype):
    """Sums of half precision stop growing, and those of float16 end at 65504."""
    logits = (torch.randn(300, 50, generator=torch.Generator().manual_seed(0)) + 300).to(dtype)
    found = RunningAverage(average)
    for one in logits:
        found.add(one)
    exact = logits.double()
    if average == "probabilities":
        exact = exact.log_softmax(-1)
        exact = exact.logsumexp(0) - math.log(300)
    else:
        exact = exact.mean(0)
    assert found.value().dtype == dtype
    torch.testing.assert_close(
        found.value().double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
@pytest.mark.parametrize("size", [1, 3, 300])
def test_votes_are_counted_and_not_joined(size, dtype):
    """Sums of yes and no are yes, and those of 8 bits begin again at 256."""
    model = make_model()
    votes = [(model(X) > 0).detach() for _ in members(model, size)]
    found = Ensemble(model, size, lambda output: (output > 0).to(dtype))(X)
    torch.testing.assert_close(found, torch.stack(votes).float().mean(0))

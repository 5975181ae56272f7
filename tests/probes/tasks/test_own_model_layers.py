"""A model of one's own: what is adapted at which rank, and what is refused, by name."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lora_dropout import describe
from lora_dropout.injection import adapted_layers
from probes.tasks.own_model import OwnModel
from probes.tasks.own_model_layers import adapt_linear, layer_ranks, say_layers


def own(model, **settings):
    return OwnModel(model, torch.zeros(4, 8), torch.zeros(4), lambda outputs, targets: outputs,
                    **settings)  # fmt: skip


class Doubled(nn.Linear):
    """A layer that does more than to multiply by its weight."""

    def forward(self, x):
        return 2 * super().forward(x)


def mixed():
    return nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.Linear(6, 3)), nn.Linear(3, 2))


def test_a_rank_too_large_for_a_layer_is_cut_there_and_nowhere_else(capsys):
    brought = own(mixed(), rank=4, alpha=8.0)
    assert [(one.name, one.rank) for one in layer_ranks(brought)] == [
        ("0", 4), ("1.0", 3), ("2", 2),
    ]  # fmt: skip
    adapted = describe(adapt_linear(brought, mixed(), 0.5, 0))
    # "0" is the end of "1.0" as well: it is adapted once, and the update's scale is the same.
    assert {one.layer: one.rank for one in adapted} == {"0": 4, "1.0": 3, "2": 2}
    assert {one.alpha / one.rank for one in adapted} == {2.0}
    say_layers(brought)
    assert capsys.readouterr().err == "own model: rank 4 is cut to 3 in layer 1.0, 2 in layer 2\n"


@pytest.mark.parametrize("model", [mixed(), nn.Linear(8, 2)], ids=["several", "one"])
def test_without_alpha_an_update_is_multiplied_by_one_at_any_rank(model):
    adapted = describe(adapt_linear(own(model, rank=4), copy.deepcopy(model), 0.5, 0))
    assert 2 in {one.rank for one in adapted}
    assert {one.alpha / one.rank for one in adapted} == {1.0}


@pytest.mark.parametrize("rank", [2, 4])
def test_only_what_is_named_is_adapted_at_any_rank(rank, capsys):
    brought = own(mixed(), rank=rank, target=["1.0", "2"])
    assert [one.layer for one in describe(adapt_linear(brought, mixed(), 0.5, 0))] == ["1.0", "2"]
    say_layers(brought)
    assert "not adapted" not in capsys.readouterr().err


@pytest.mark.parametrize("rank", [2, 4])
def test_masks_are_those_of_the_seed_at_any_rank(rank):
    def outputs(seed):
        torch.manual_seed(0)
        adapted = adapt_linear(own(mixed(), rank=rank), mixed(), 0.5, seed)
        with torch.no_grad():
            for _, layer in adapted_layers(adapted):
                layer.factors[1].fill_(1.0)
            return adapted.train()(torch.ones(1, 8))

    assert torch.equal(outputs(0), outputs(0))
    assert not torch.equal(outputs(0), outputs(1))


def test_a_name_that_is_the_end_of_a_larger_layers_takes_none_of_its_rank():
    model = nn.Sequential(nn.Linear(8, 2), nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 8)),
                          nn.Sequential(nn.Linear(8, 8)))  # fmt: skip
    brought = own(model, rank=4, alpha=8.0)
    expected = {"0": 2, "1.0": 2, "1.1": 4, "2.0": 4}
    assert {one.name: one.rank for one in layer_ranks(brought)} == expected
    adapted = describe(adapt_linear(brought, copy.deepcopy(model), 0.5, 0))
    assert {one.layer: one.rank for one in adapted} == expected
    assert {one.alpha / one.rank for one in adapted} == {2.0}


def test_a_rank_that_fits_everywhere_is_injected_as_it_is(capsys):
    (one, *_) = describe(adapt_linear(own(mixed(), rank=2), mixed(), 0.5, 0))
    assert (one.rank, one.alpha) == (2, 2.0)
    say_layers(own(mixed(), rank=2))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (nn.TransformerEncoderLayer(8, 2, 16), "0.self_attn is a MultiheadAttention and not an"),
        (nn.LSTM(8, 8), "0 is an LSTM and not an"), (nn.Conv1d(8, 8, 1), "0 is a Conv1d and not"),
        (nn.Embedding(8, 8), "0 is an Embedding and not an nn.Linear"),
        (weight_norm(nn.Linear(8, 8)), "0 computes its weight (weight_norm,"),
        (Doubled(8, 8), "0 is a Doubled with a forward pass of its own"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_layers_of_other_kinds_are_said_and_never_warned_of(other, kind, capsys):
    model = nn.Sequential(other, nn.LayerNorm(8), nn.Linear(8, 4))
    adapt_linear(own(model), copy.deepcopy(model), 0.5, 0)
    say_layers(own(model))
    said = capsys.readouterr().err
    assert f"own model: not adapted: {kind}" in said
    assert len(said.splitlines()) == 1
    # Neither what is adapted, nor a scale, nor what lies within what was named.
    assert not any(f" {name} " in said for name in ("1", "2", "0.self_attn.out_proj"))


@pytest.mark.parametrize(
    ("model", "target", "words"),
    [
        (
            nn.Sequential(nn.LSTM(8, 2)),
            None,
            "without OwnModel(adapt=...): 0 is an LSTM and not an nn.Linear",
        ),
        (nn.LSTM(8, 2), None, "without OwnModel(adapt=...): the model is an LSTM and not an"),
        (nn.Sequential(nn.LSTM(8, 2), nn.Linear(2, 2)), "0", r"0 (LSTM) needs OwnModel(adapt=...)"),
        (nn.Sequential(nn.LSTM(8, 2), nn.Linear(2, 2)), ["1", "0"], "0 (LSTM) needs OwnModel("),
        (nn.Sequential(nn.Linear(2, 2)), "nowhere", "target 'nowhere' matches no nn.Linear"),
        (nn.Sequential(nn.ReLU(), nn.Flatten()), None, "parts: torch.nn.modules.activation.ReLU"),
    ],
)
def test_what_cannot_be_adapted_is_refused_by_name(model, target, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        layer_ranks(own(model, target=target))

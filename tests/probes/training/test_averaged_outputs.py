"""Tensors are averaged over the members; what stands beside them is what the last one says."""

import pytest
import torch
from torch import nn

from lora_dropout import Ensemble, inject
from probes.training.averaged_outputs import averaged_outputs, why_not_averaged

X = torch.arange(12.0).reshape(4, 3)


class Structured(nn.Module):
    """Says, in a structure, what a layer makes of its input, and how often it was called."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 2), 0

    def forward(self, x):
        self.calls += 1
        z = self.layer(x)
        beside = self.calls, "name", b"bytes", None, z.argmax(-1)
        return {"logits": z, "more": [z.exp(), *beside]}


@pytest.fixture
def model():
    made = inject(Structured(), rank=2, p=0.5).eval()
    nn.init.normal_(made.layer.lora_B, generator=torch.Generator().manual_seed(0))
    return made


def test_tensors_are_averaged_and_others_are_those_of_the_last_member(model):
    with torch.no_grad():
        found = averaged_outputs(model, X, 3)
        expected = [
            Ensemble(model, 3, output=pick)(X)
            for pick in (lambda out: out["logits"], lambda out: out["more"][0])
        ]
        members = Ensemble(model, 3, output=lambda out: out["logits"]).member_outputs(X)
    torch.testing.assert_close(found["logits"], expected[0])
    torch.testing.assert_close(found["more"][0], expected[1])
    assert found["more"][1:5] == [3, "name", b"bytes", None]
    assert torch.equal(found["more"][5], members[-1].argmax(-1))


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ((X, 1, "a", b"a", None, 1.5), ""),
        ({"a": [X, (X.long(),)]}, ""),
        ([X, {1, 2}], "it returns a set, and not tensors in tuples, lists and dictionaries"),
        ([X.long(), 1], "it returns no tensor of floating point"),
        (None, "it returns no tensor of floating point"),
    ],
    ids=str,
)
def test_what_cannot_be_averaged_is_said(outputs, said):
    assert why_not_averaged(outputs) == said


def test_it_is_refused_where_a_model_returns_it(model):
    model.register_forward_hook(lambda module, inputs, outputs: outputs["more"][1])
    with pytest.raises(ValueError, match=r"own.model must return what can be averaged; it returns"):
        averaged_outputs(model, X, 2)

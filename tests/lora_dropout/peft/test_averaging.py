"""Probabilities averaged where transformers' models compute their loss, as logits are."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from peft import get_peft_model
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss
from transformers import BertForSequenceClassification

from lora_dropout import members
from lora_dropout.peft import LoraDropoutConfig
from lora_dropout.peft.averaging import averaging, close
from tests.lora_dropout.peft.models import (
    SIZES,
    adapted,
    batch,
    bert,
    bert_qa,
    lora,
    mixtral,
    randomize,
)
from tests.lora_dropout.peft.test_trainer import OWN_LOSS, gemma2

SIZE = 4


@pytest.mark.parametrize("kind", OWN_LOSS, ids=lambda kind: kind.__name__)
def test_the_loss_of_averaged_probabilities_is_their_cross_entropy(kind):
    targets, inputs, labels = OWN_LOSS[kind]
    torch.manual_seed(0)
    config = LoraDropoutConfig(r=2, target_modules=targets, dropout_rate=0.5)
    model = randomize(get_peft_model(kind(), config)).eval()
    with torch.no_grad():
        logits = [model(**inputs, labels=labels).logits for _ in members(model, SIZE)]
        with averaging(model, model, SIZE, "probabilities"):
            found = model(**inputs, labels=labels)
    mean = sum(one.softmax(-1) for one in logits) / SIZE
    torch.testing.assert_close(found.logits.softmax(-1), mean)
    if kind is gemma2:
        mean, labels = mean[:, :-1], labels[:, 1:]
    expected = nll_loss(mean.log().flatten(0, -2), labels.flatten())
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-5)


def test_so_are_those_of_a_span():
    model = randomize(get_peft_model(bert_qa(), lora(["query", "value"], "QUESTION_ANS"))).eval()
    inputs = {name: value for name, value in batch().items() if name != "labels"}
    where = {"start_positions": torch.tensor([1, 2, 3, 4]), "end_positions": torch.tensor([2] * 4)}
    with torch.no_grad():
        outputs = [model(**inputs) for _ in members(model, SIZE)]
        with averaging(model, model, SIZE, "probabilities"):
            found = model(**inputs, **where)
    expected = sum(
        nll_loss(
            torch.stack([one[f"{end}_logits"].softmax(-1) for one in outputs]).mean(0).log(),
            where[f"{end}_positions"],
        )
        for end in ("start", "end")
    )
    assert float(found.loss) == pytest.approx(float(expected) / 2, rel=1e-5)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_what_routers_add_to_the_loss_is_averaged(average):
    """It is no function of the logits, and each member has its own."""
    base = mixtral()
    base.config.output_router_logits = True
    settings = lora(["q_proj", "v_proj"], "CAUSAL_LM", p=0.5)
    model = randomize(get_peft_model(base, settings)).eval()
    inputs = batch(causal=True)
    with torch.no_grad():
        outputs = [model(**inputs) for _ in members(model, SIZE)]
        with averaging(model, model, SIZE, average):
            found = model(**inputs)
            # TRL adds it by itself.
            told = model(**inputs, fused_lm_head=True)
    of_routers = torch.stack([one.aux_loss for one in outputs])
    logits = [one.logits[:, :-1] for one in outputs]
    mean = sum(logits) / SIZE
    if average == "probabilities":
        mean = (sum(one.softmax(-1) for one in logits) / SIZE).log()
    expected = cross_entropy(mean.flatten(0, 1), inputs["labels"][:, 1:].flatten())
    expected = expected + base.router_aux_loss_coef * of_routers.mean()
    assert base.router_aux_loss_coef * of_routers.std() > 5e-6 * expected
    for one in (found, told):
        assert float(one.aux_loss) == pytest.approx(float(of_routers.mean()), rel=1e-6)
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-6)


def detector():
    config = transformers.YolosConfig(
        **{name: size for name, size in SIZES.items() if name != "vocab_size"},
        image_size=[8, 8], patch_size=4, num_detection_tokens=3, num_labels=3,
    )  # fmt: skip
    settings = LoraDropoutConfig(r=2, target_modules=["query", "q_proj"], dropout_rate=0.5)
    model = get_peft_model(transformers.YolosForObjectDetection(config), settings)
    return randomize(model).eval()


def test_boxes_are_averaged_beside_the_logits():
    model, pixels = detector(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        boxes = [model(pixel_values=pixels).pred_boxes for _ in members(model, SIZE)]
        with averaging(model, model, SIZE):
            found = model(pixel_values=pixels)
    assert not torch.equal(boxes[0], boxes[1])
    torch.testing.assert_close(found.pred_boxes, sum(boxes) / SIZE)


class Offset(nn.Module):
    """A classifier whose loss depends on more than its logits, and that does not tell what."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(problem_type=None)
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x, labels=None):
        hidden = self.first(x).tanh()
        logits = self.head(hidden)
        loss = cross_entropy(logits, labels) + hidden.square().mean()
        return {"loss": loss, "logits": logits}


def test_a_loss_of_more_than_the_logits_is_refused():
    """That of the last member would stand for all."""
    settings = LoraDropoutConfig(r=2, target_modules=["first"], dropout_rate=0.5)
    model = randomize(get_peft_model(Offset(), settings)).eval()
    with (
        torch.no_grad(),
        averaging(model, model, SIZE),
        pytest.raises(ValueError, match="Offset computes its loss in its own way"),
    ):
        model(torch.randn(5, 4), labels=torch.tensor([0, 1, 2, 0, 1]))


def test_outputs_that_are_not_finite_are_compared_as_well():
    lost = torch.tensor([1.0, float("nan"), float("inf")])
    assert close(lost, lost.clone())
    assert not close(lost, torch.tensor([2.0, float("nan"), float("inf")]))
    assert not close(torch.tensor([1.0, 1.0, 1.0]), lost)


def test_the_two_averages_differ():
    """Otherwise the tests above would hold of averaged logits too."""
    model = adapted("bert", p=0.5).eval()
    inputs = batch()
    losses = []
    with torch.no_grad():
        for average in ("logits", "probabilities"):
            with averaging(model, model, SIZE, average):
                found = model(**inputs)
            losses.append(float(found.loss))
            assert losses[-1] == pytest.approx(float(cross_entropy(found.logits, inputs["labels"])))
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_probabilities_of_what_has_no_classes_are_refused(kind):
    config = bert().config
    config.problem_type = kind
    settings = lora(["query"])
    model = get_peft_model(BertForSequenceClassification(config), settings)
    with (
        pytest.raises(ValueError, match=f"'logits' where the problem_type is '{kind}'"),
        averaging(model, model, SIZE, "probabilities"),
    ):
        pass


def test_a_reference_that_is_asked_first_is_the_frozen_model():
    model, inputs = adapted("bert").eval(), batch()
    with torch.no_grad(), averaging(model, model, SIZE), model.disable_adapter():
        found = model(**inputs).logits
    with torch.no_grad(), model.disable_adapter():
        assert torch.equal(found, model(**inputs).logits)


def test_probabilities_of_labels_that_are_no_classes_are_refused():
    """The config says nothing, and the model finds the kind of the problem by its labels."""
    model, inputs = adapted("bert").eval(), batch()
    inputs["labels"] = torch.nn.functional.one_hot(inputs["labels"], 3).float()
    with (
        averaging(model, model, SIZE, "probabilities"),
        pytest.raises(ValueError, match="'logits'"),
    ):
        model(**inputs)

"""Probabilities averaged where transformers' models compute their loss, as logits are."""

import pytest
import torch
from peft import get_peft_model
from torch.nn.functional import cross_entropy, nll_loss
from transformers import BertForSequenceClassification

from lora_dropout import members
from lora_dropout.peft import LoraDropoutConfig
from lora_dropout.peft.averaging import averaging
from tests.lora_dropout.peft.models import adapted, batch, bert, bert_qa, lora, randomize
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

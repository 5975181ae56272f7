"""What an evaluation changes for its time, it changes back."""

from contextlib import suppress
from types import SimpleNamespace

import torch
from peft import get_peft_model
from torch import nn

from lora_dropout.injection import masked_updates
from lora_dropout.peft import LoraDropoutConfig
from probes.finetuning.evaluation import _every_example, _first, _plain_labels, dropping


def test_masks_of_another_rate_end_with_their_block():
    torch.manual_seed(0)
    frozen = nn.Linear(40, 30)
    config = LoraDropoutConfig(r=2, target_modules=["0"], dropout_rate=0.0)
    model = get_peft_model(nn.Sequential(frozen), config)
    (layer,) = masked_updates(model)
    with torch.no_grad():
        layer.factors[1].fill_(1.0)
    x, before = torch.ones(1, 40), layer.shape
    plain = model.train()(x)
    with suppress(KeyError), dropping(model, 0.5):
        assert (layer.shape.p_in, layer.shape.p_out) == (0.5, 0.5)
        # Rows that are dropped have no update.
        kept = model(x) == frozen(x)
        assert 0 < int(kept.sum()) < 30
        raise KeyError
    assert layer.shape == before
    assert torch.equal(model(x), plain)


def test_the_rest_is_as_it_was_after_an_evaluation_that_fails():
    args = SimpleNamespace(dataloader_drop_last=True)
    trainer = SimpleNamespace(label_smoother="smooth")
    with suppress(KeyError), _every_example(args), _plain_labels(trainer):
        assert (args.dataloader_drop_last, trainer.label_smoother) == (False, None)
        raise KeyError
    assert (args.dataloader_drop_last, trainer.label_smoother) == (True, "smooth")


def test_only_what_is_measured_is_kept_of_a_models_outputs():
    outputs = ("logits", "more", "hidden states")
    assert _first("logits", None, 1) == "logits"
    assert _first(outputs, None, 1) == "logits"
    assert _first(outputs, None, 2) == ("logits", "more")

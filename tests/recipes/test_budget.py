"""The recipes' adapters have as many parameters as LoRA and AdaLoRA in the papers' tables."""

import math
import re
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig

SHARED = (Path(__file__).parents[2] / "recipes/swept.bash").read_text()
TARGET = re.search(r"TARGET:=([\w. ]+)", SHARED)[1].split()
RANK = int(re.search(r"RANK:=(\d+)", SHARED)[1])
#: Of deberta-v3-base, but for its vocabulary, which no adapter touches.
SIZES = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
         "intermediate_size": 3072, "vocab_size": 1000}  # fmt: skip


def parameters(config):
    """Adapter parameters in a network of the sizes of deberta-v3-base, which holds no numbers."""
    with torch.device("meta"):
        model = DebertaV2ForSequenceClassification(DebertaV2Config(**SIZES))
        adapted = get_peft_model(model, config(target_modules=TARGET, task_type="SEQ_CLS"))
    layers = {
        name.partition(".lora_A")[0] for name, _ in adapted.named_parameters() if "lora_A" in name
    }
    count = sum(one.numel() for name, one in adapted.named_parameters() if "lora_" in name)
    return layers, count


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_lora_has_the_papers_1_33_million():
    layers, count = parameters(lambda **kind: LoraDropoutConfig(r=RANK, dropout_rate=0.5, **kind))
    # Six matrices in each of twelve layers, and none of the pooler.
    assert len(layers) == 72
    assert not any("pooler" in name for name in layers)
    assert f"{count / 1e6:.2f}" == "1.33"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adalora_ends_with_the_same_rank_and_begins_with_half_as_much_again():
    first = math.ceil(1.5 * RANK)
    _, count = parameters(
        lambda **kind: AdaLoraDropoutConfig(
            init_r=first, target_r=RANK, total_step=10, dropout_rate=0.5, **kind
        )
    )
    lora = parameters(lambda **kind: LoraDropoutConfig(r=first, dropout_rate=0.5, **kind))[1]
    # As LoRA of that rank, with a singular value a rank and matrix.
    assert count == lora + 72 * first

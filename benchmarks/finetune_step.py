"""Time and memory of a fine-tuning step of whole models: this layer in PEFT against PEFT's LoRA.

    python -m benchmarks.finetune_step
    python -m benchmarks.finetune_step --model llama --tokens 1   # the fixed cost a layer

Models of DeBERTa-v3's and LLaMA's shape, of a size that fits, from their configs. The variants take
turns step by step, and ratios are taken pair by pair; a second copy of PEFT without dropout is the
control that shows how large the noise is. Runs on CUDA where there is one. Extra ``bench``.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import torch
import tyro
from peft import LoraConfig, get_peft_model
from torch import nn

from benchmarks.layer import compare
from lora_dropout import backward_over_samples, grouped_samples
from lora_dropout.peft import LoraDropoutConfig

RATE, RANK, SAMPLES, WORDS = 0.1, 8, 4, 1000
BASE, CONTROL = "PEFT, lora_dropout=0", "the same again (control)"


def make_model(name: str, width: int, layers: int) -> tuple[nn.Module, list[str]]:
    """Return a model with random weights, and its linear layers' names."""
    import transformers

    shape = {
        "vocab_size": WORDS, "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": width // 64, "intermediate_size": 4 * width,
    }  # fmt: skip
    torch.manual_seed(0)
    if name == "deberta":
        config: Any = transformers.DebertaV2Config(
            **shape, relative_attention=True, pos_att_type=["p2c", "c2p"], share_att_key=True,
            position_buckets=256, position_biased_input=False, type_vocab_size=0,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, norm_rel_ebd="layer_norm",
        )  # fmt: skip
        names = ["query_proj", "key_proj", "value_proj", "dense"]
        return transformers.DebertaV2ForSequenceClassification(config), names
    shape["intermediate_size"] = 8 * width // 3 // 64 * 64
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape)), names


def make_steps(
    name: str, width: int, layers: int, batch: int, tokens: int
) -> tuple[dict[str, Callable[[], None]], str]:
    """Return one full training step by every variant, and the device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base, targets = make_model(name, width, layers)
    base.to(device)
    settings = {"r": RANK, "lora_alpha": RANK, "target_modules": targets}
    ids = torch.randint(0, WORDS, (batch, tokens), device=device)
    labels = ids if name == "llama" else torch.zeros(batch, dtype=torch.long, device=device)
    inputs = {"input_ids": ids, "labels": labels}

    def plain(dropout: float) -> Callable[[], None]:
        config = LoraConfig(**settings, lora_dropout=dropout)
        return step(get_peft_model(copy.deepcopy(base), config), 1, grouped=False)

    def ours(samples: int, grouped: bool = False) -> Callable[[], None]:
        config = LoraDropoutConfig(**settings, dropout_rate=RATE)
        return step(get_peft_model(copy.deepcopy(base), config), samples, grouped)

    def step(model: Any, samples: int, grouped: bool) -> Callable[[], None]:
        model.train()
        optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad], fused=True
        )
        count = samples if grouped else 1
        fed = {key: value.repeat(count, *[1] * (value.dim() - 1)) for key, value in inputs.items()}

        def take() -> None:
            optimizer.zero_grad()
            if samples > 1 and not grouped:
                backward_over_samples(model, lambda: model(**fed).loss, samples)
            else:
                with grouped_samples(model, samples) if grouped else nullcontext():
                    model(**fed).loss.backward()
            optimizer.step()

        return take

    variants = {
        BASE: plain(0.0),
        CONTROL: plain(0.0),
        f"PEFT, lora_dropout={RATE}": plain(RATE),
        f"LoRA Dropout, p={RATE}, N=1": ours(1),
        f"LoRA Dropout, p={RATE}, N={SAMPLES}, passes": ours(SAMPLES),
    }
    if name != "deberta":
        # DeBERTa's relative positions have no batch to divide into groups.
        variants[f"LoRA Dropout, p={RATE}, N={SAMPLES}, one group"] = ours(SAMPLES, grouped=True)
    return variants, device


def main(
    model: tuple[Literal["deberta", "llama"], ...] = ("deberta", "llama"),
    width: int = 384,
    layers: int = 4,
    batch: int = 8,
    tokens: int = 128,
    repetitions: int = 20,
) -> None:
    """Print time and memory as ratios to PEFT LoRA without dropout.

    Args:
        model: shapes to measure.
        width: of the models, a multiple of 64.
        layers: of the models.
        batch: sequences a step.
        tokens: a sequence.
        repetitions: interleaved steps of every variant.
    """
    for name in model:
        steps, device = make_steps(name, width, layers, batch, tokens)
        print(
            f"{name}: torch {torch.__version__}, {device}, {layers} layers of width {width}, "
            f"all linear layers, {batch} x {tokens} tokens"
        )
        compare(steps, device, repetitions)


if __name__ == "__main__":
    tyro.cli(main)

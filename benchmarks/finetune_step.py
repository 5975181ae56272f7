"""Time and memory of a fine-tuning step of whole models: this layer in PEFT against PEFT's LoRA.

    python -m benchmarks.finetune_step
    python -m benchmarks.finetune_step --model llama --tokens 1   # the fixed cost a layer

Models of DeBERTa-v3's and LLaMA's shape with random weights, from their configs: of a size that
fits, or whole (``--shape whole``: DeBERTa-v3-base and LLaMA-7B). All variants share the frozen
weights. They take turns step by step, and ratios are taken pair by pair; a second copy of PEFT
without dropout is the control that shows how large the noise is. Runs on CUDA where there is one.
Extra ``bench``.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers.modeling_utils import local_torch_dtype

from benchmarks.layer import compare
from benchmarks.model_shapes import WHOLE, Shape
from benchmarks.table_file import check_place, keep
from lora_dropout import backward_over_samples, grouped_samples
from lora_dropout.peft import LoraDropoutConfig
from probes.cli.command_line import run_functions
from probes.jobs.validation import check_count

RATE, RANK, SAMPLES, WORDS = 0.1, 8, 4, 1000
BASE, CONTROL = "PEFT, lora_dropout=0", "the same again (control)"


def shape_of(name: str, width: int, layers: int) -> Shape:
    """Return the shape of a smaller model, in the proportions of the whole one.

    Args:
        name: "deberta" or "llama".
        width: of the hidden states.
        layers: their number.

    Returns:
        The shape.
    """
    inner = 4 * width if name == "deberta" else 8 * width // 3 // 64 * 64
    return Shape(width, layers, inner)


def make_model(name: str, shape: Shape) -> tuple[nn.Module, list[str]]:
    """Return a model with random weights, and its linear layers' names.

    It is made on the default device, in the default dtype.

    Args:
        name: "deberta" or "llama".
        shape: of the model.

    Returns:
        The model, and the last parts of its linear layers' names.
    """
    import transformers

    sizes = {
        "vocab_size": WORDS, "hidden_size": shape.width, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.width // shape.head, "intermediate_size": shape.inner,
    }  # fmt: skip
    torch.manual_seed(0)
    if name == "deberta":
        config: Any = transformers.DebertaV2Config(
            **sizes, relative_attention=True, pos_att_type=["p2c", "c2p"], share_att_key=True,
            position_buckets=256, position_biased_input=False, type_vocab_size=0,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, norm_rel_ebd="layer_norm",
        )  # fmt: skip
        names = ["query_proj", "key_proj", "value_proj", "dense"]
        return transformers.DebertaV2ForSequenceClassification(config), names
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)), names


def shared(base: nn.Module) -> nn.Module:
    """Copy a model, but for its parameters, which are frozen in every variant."""
    return copy.deepcopy(base, {id(held): held for held in base.parameters()})


def make_steps(
    name: str, shape: Shape, batch: int, tokens: int, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Callable[[], None]], str]:
    """Return one full training step by every variant, and the device.

    Args:
        name: "deberta" or "llama".
        shape: of the model.
        batch: sequences a step.
        tokens: a sequence.
        dtype: of the frozen weights; PEFT keeps adapters in float32.

    Returns:
        Functions that take a step, by the name of the variant, and the device.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device), local_torch_dtype(dtype):
        base, targets = make_model(name, shape)
    settings = {"r": RANK, "lora_alpha": RANK, "target_modules": targets}
    ids = torch.randint(0, WORDS, (batch, tokens), device=device)
    labels = ids if name == "llama" else torch.zeros(batch, dtype=torch.long, device=device)
    inputs = {"input_ids": ids, "labels": labels}

    def plain(dropout: float) -> Callable[[], None]:
        config = LoraConfig(**settings, lora_dropout=dropout)
        return train_step(get_peft_model(shared(base), config), inputs, 1, grouped=False)

    def ours(samples: int, grouped: bool = False) -> Callable[[], None]:
        config = LoraDropoutConfig(**settings, dropout_rate=RATE)
        return train_step(get_peft_model(shared(base), config), inputs, samples, grouped)

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


def train_step(
    model: Any, inputs: dict[str, Tensor], samples: int, grouped: bool
) -> Callable[[], None]:
    """Return one full training step: forward, backward, optimizer.

    Args:
        model: of PEFT; its factors are trained in place.
        inputs: of the model, with labels.
        samples: N, of the objective.
        grouped: whether the N masks are those of N groups of one batch, and not of N passes.

    Returns:
        A function that takes a step.
    """
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
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


def main(
    model: tuple[Literal["deberta", "llama"], ...] = ("deberta", "llama"),
    width: int = 384,
    layers: int = 4,
    batch: int = 8,
    tokens: int = 128,
    repetitions: int = 20,
    shape: Literal["small", "whole"] = "small",
    dtype: Literal["float32", "bfloat16"] = "float32",
    json: Path | None = None,
) -> None:
    """Print time and memory as ratios to PEFT LoRA without dropout.

    Args:
        model: shapes to measure.
        width: of the models, a multiple of 64.
        layers: of the models.
        batch: sequences a step.
        tokens: a sequence.
        repetitions: interleaved steps of every variant.
        shape: small is of that width and depth; whole is DeBERTa-v3-base's and LLaMA-7B's.
        dtype: of the frozen weights.
        json: file for the tables.

    Raises:
        ValueError: a number is out of range, or the file cannot be written.
    """
    check_count("repetitions", repetitions)
    if json is not None:
        check_place(json)
    tables = []
    for name in model:
        sizes = WHOLE[name] if shape == "whole" else shape_of(name, width, layers)
        steps, device = make_steps(name, sizes, batch, tokens, getattr(torch, dtype))
        print(
            f"{name}: torch {torch.__version__}, {device}, {dtype}, {sizes.layers} layers of width "
            f"{sizes.width}, all linear layers, {batch} x {tokens} tokens"
        )
        table = compare(steps, device, repetitions)
        tables.append(table.assign(model=name, dtype=dtype, batch=batch, tokens=tokens))
        del steps
        if json is not None:
            keep(json, pd.concat(tables).to_json(orient="records", indent=1))


if __name__ == "__main__":
    run_functions(main)

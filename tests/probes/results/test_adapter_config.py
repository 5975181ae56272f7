"""The config of every method is what PEFT trains it by, read back from the file."""

import json

import pytest
import torch
from torch import nn

from lora_dropout import describe
from probes.cells.own_rival_cells import layers_of
from probes.finetuning.adapter_config import ARGUMENTS, METHOD
from probes.recommend import METHODS
from probes.results.adapter_config import config_files
from probes.results.recommendation import Candidate
from probes.tasks.own_model import OwnModel
from probes.training.own_training import adapted
from probes.training.rivals import RIVALS

#: What differs from plain LoRA of rank 8 and alpha 16 at a strength of 0.5, by method.
EXPECTED = {
    "LoRA": {},
    "LoRA Dropout": {"dropout_rate": 0.5, "inference": "expected weight"},
    "LoRA Dropout, N = 4": {"dropout_rate": 0.5, "inference": "expected weight"},
    "LoRA Dropout, ensemble of 16": {"dropout_rate": 0.5, "inference": "ensemble"},
    "PEFT lora_dropout": {"lora_dropout": 0.5},
    "weight decay": {},
    "smaller rank": {"r": 4, "lora_alpha": 8.0},
    "label smoothing": {},
}
ARGUED = {"weight decay": "weight_decay", "label smoothing": "label_smoothing_factor"}


def write(folder, *known):
    for name, text in config_files(*known).items():
        (folder / name).write_text(text)


@pytest.mark.parametrize("name", METHODS)
def test_peft_reads_what_was_written(name, tmp_path):
    from lora_dropout.peft import LoraDropoutConfig  # isort: skip
    from peft import LoraConfig

    method = RIVALS[name]
    candidate = Candidate(name, 0.5, 0.01, 30, 30 * method.passes, method.test_passes)
    write(tmp_path, candidate, 8, 16.0, 64)
    config = LoraConfig.from_pretrained(tmp_path)
    assert isinstance(config, LoraDropoutConfig) == name.startswith("LoRA Dropout")
    for field, value in (
        {"r": 8, "lora_alpha": 16.0, "lora_dropout": 0.0} | EXPECTED[name]
    ).items():
        assert getattr(config, field) == value, field
    beside = json.loads((tmp_path / METHOD).read_text())
    assert (beside["method"], beside["samples"]) == (name, method.samples)
    assert max(beside["ensemble"], 1) == method.masked_members
    said = json.loads((tmp_path / ARGUMENTS).read_text())
    assert (said["learning_rate"], said["max_steps"]) == (0.01, 30)
    assert {field: said[field] for field in said if field in ARGUED.values()} == (
        {ARGUED[name]: 0.5} if name in ARGUED else {}
    )


def test_transformers_knows_the_arguments(tmp_path):
    from transformers import TrainingArguments

    write(tmp_path, Candidate("weight decay", 0.5, 0.01, 30, 30, 1), 8, 8.0, 64)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), **json.loads((tmp_path / ARGUMENTS).read_text())
    )
    assert (arguments.weight_decay, arguments.max_steps) == (0.5, 30)


def test_a_layer_that_allows_less_rank_keeps_the_factor_of_the_update(tmp_path):
    import lora_dropout.peft  # noqa: F401  # isort: skip
    from peft import PeftConfig, get_peft_model

    layers = {"0": 4, "2": 3}
    write(tmp_path, Candidate("LoRA Dropout", 0.5, 0.01, 30, 30, 1), 4, 8.0, 64, layers)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    adapted = get_peft_model(model, PeftConfig.from_pretrained(tmp_path))
    for name, rank in layers.items():
        layer = adapted.get_submodule(f"base_model.model.{name}")
        assert (layer.r["default"], layer.scaling["default"]) == (rank, 2.0)


@pytest.mark.parametrize("name", ["LoRA", "LoRA Dropout"])
@pytest.mark.parametrize("inner", [nn.ReLU(), nn.Conv1d(1, 1, 1), nn.Linear(32, 32)])
def test_peft_adapts_the_layers_that_were_measured_and_no_others(name, inner, tmp_path):
    """Their names may be the ends of other modules' names."""
    import lora_dropout.peft  # noqa: F401  # isort: skip
    from peft import PeftConfig, get_peft_model

    model = nn.Sequential(nn.Linear(16, 2), nn.Linear(2, 32),
                          nn.Sequential(inner, nn.Linear(32, 3)))  # fmt: skip
    own = OwnModel(model, torch.zeros(4, 16), torch.zeros(4), lambda z, y: z, rank=4)
    measured = {one.layer: one.rank for one in describe(adapted(own, 0.5, (0, 1, 2)))}
    write(tmp_path, Candidate(name, 0.5, 0.01, 30, 30, 1), 4, 4.0, 64, json.loads(layers_of(own)))
    with_adapters = get_peft_model(model, PeftConfig.from_pretrained(tmp_path)).get_base_model()
    found = {
        name: layer.r["default"]
        for name, layer in with_adapters.named_modules()
        if hasattr(layer, "lora_A")
    }
    assert found == measured


def test_a_smaller_rank_is_a_share_of_what_the_layers_allow(tmp_path):
    """As it was measured: half of 2 and not of 8, which no layer has."""
    candidate = Candidate("smaller rank", 0.5, 0.01, 30, 30, 1)
    for layers, kept in (({"0": 2, "2": 1}, 1), ({"0": 8, "2": 3}, 4), ({}, 4)):
        config = json.loads(config_files(candidate, 8, 16.0, 64, layers)["adapter_config.json"])
        assert (config["r"], config["lora_alpha"]) == (kept, 2.0 * kept)
        assert config["rank_pattern"] == {name: r for name, r in layers.items() if r < kept}

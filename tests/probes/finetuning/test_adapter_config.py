"""What probes.recommend writes is taken as it is, by a fine-tuning run and by PEFT."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from transformers import BertConfig, BertForSequenceClassification

from probes.finetune import FinetuneSettings
from probes.finetuning.adapter_config import ARGUMENTS, CONFIG, METHOD, read_adapter_config
from probes.finetuning.regularizers import regularized
from probes.finetuning.training import adapt
from probes.recommend import METHODS
from probes.results.adapter_config import config_files
from probes.results.recommendation import Candidate
from probes.training.rivals import RIVALS, Rival
from tests.probes.commands import assert_refused

RUN = {"task": "tweets", "n": 16}


def write(folder, name="LoRA Dropout", strength=0.5, layers=None):
    method = RIVALS[name]
    candidate = Candidate(name, strength, 0.01, 30, 30 * method.passes, method.test_passes)
    for file, text in config_files(candidate, 8, 16.0, 16, layers).items():
        (folder / file).write_text(text)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_it_is_the_run_that_the_method_has_by_its_name(name, tmp_path):
    """The two ways to say it differ in nothing."""
    strength = 0.0 if name == "LoRA" else 0.5
    (found,) = FinetuneSettings(**RUN, adapter_config=write(tmp_path, name, strength)).cells()
    arguments = {"learning_rate": 0.01, "max_steps": 30, "per_device_train_batch_size": 16,
                 "lr_scheduler_type": "constant"}  # fmt: skip
    (plain,) = FinetuneSettings(**RUN, p=(0.0,), rank=8, alpha=16.0, training=arguments).cells()
    assert found == regularized(plain, Rival(name, strength))


def test_targets_are_those_of_the_config_unless_others_are_named(tmp_path):
    folder = write(tmp_path, layers={"value": 8, "query": 8})
    for target, expected in (((), ("query", "value")), (("key",), ("key",))):
        (cell,) = FinetuneSettings(**RUN, adapter_config=folder, target=target).cells()
        assert cell.target == expected


def changed(folder, **change):
    config = json.loads((folder / CONFIG).read_text()) | change
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def layers_of(cell):
    """Names of the layers that a cell adapts in a tiny network."""
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 6}
    model = BertForSequenceClassification(BertConfig(**sizes, num_hidden_layers=2))
    adapted = adapt(model, cell, SimpleNamespace(peft_type="SEQ_CLS"), steps=4)
    return {name.removeprefix("base_model.model.bert.encoder.layer.").rpartition(".lora_A")[0]
            for name, _ in adapted.named_modules() if name.endswith("lora_A")}  # fmt: skip


def test_a_pattern_is_matched_with_whole_names_as_peft_does(tmp_path):
    pattern = r".*layer\.1\.attention\.self\.(query|value)"
    folder = changed(write(tmp_path), target_modules=pattern)
    (cell,) = FinetuneSettings(**RUN, adapter_config=folder).cells()
    assert (cell.target, cell.target_pattern) == ((), pattern)
    assert layers_of(cell) == {"1.attention.self.query", "1.attention.self.value"}
    (cell,) = FinetuneSettings(**RUN, adapter_config=folder, target=("key",)).cells()
    assert layers_of(cell) == {f"{layer}.attention.self.key" for layer in range(2)}


def test_a_pattern_that_matches_nothing_is_named(tmp_path):
    folder = changed(write(tmp_path), target_modules="querry")
    (cell,) = FinetuneSettings(**RUN, adapter_config=folder).cells()
    with pytest.raises(ValueError, match="got querry, did you mean query"):
        layers_of(cell)


@pytest.mark.parametrize("written", ["all-linear", "ALL-LINEAR"])
def test_all_linear_is_no_pattern(written, tmp_path):
    folder = changed(write(tmp_path), target_modules=written)
    (cell,) = FinetuneSettings(**RUN, adapter_config=folder).cells()
    assert (cell.target, cell.target_pattern) == (("all-linear",), "")


def test_arguments_of_the_command_line_come_first(tmp_path):
    folder = write(tmp_path)
    (cell,) = FinetuneSettings(
        **RUN, adapter_config=folder, training={"learning_rate": 0.5}
    ).cells()
    training = dict(cell.training)
    assert (training["learning_rate"], training["max_steps"]) == (0.5, 30)


def test_the_config_alone_is_enough(tmp_path):
    folder = write(tmp_path, "LoRA Dropout, N = 4")
    (folder / METHOD).unlink()
    (folder / ARGUMENTS).unlink()
    found = read_adapter_config(folder)
    assert (found.p, found.samples, found.regularizer, found.training) == (0.5, 1, "", {})


@pytest.mark.parametrize(
    ("name", "change", "label"),
    [
        ("PEFT lora_dropout", {}, "lora, PEFT lora_dropout 0.5"),
        ("LoRA Dropout", {"rescale": True}, "lora, rescaled"),
        ("LoRA Dropout", {}, "lora"),
    ],
)
def test_a_config_alone_is_called_by_what_it_has_beside_the_rate(name, change, label, tmp_path):
    folder = changed(write(tmp_path, name), **change)
    (folder / METHOD).unlink()
    (cell,) = FinetuneSettings(**RUN, adapter_config=folder).cells()
    assert cell.label == label


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("weight decay", {"training": {"weight_decay": 0.1}}, "weight_decay must be 0.5, as"),
        ("label smoothing", {"training": {"label_smoothing_factor": 0.1}}, "label_smoothing_fact"),
        ("LoRA Dropout, ensemble of 16", {"ensemble": 4}, "ensemble must be 16, as method.json na"),
        ("LoRA Dropout", {"config": {"dropout_rate": 0.25}}, "names LoRA Dropout 0.5; got 0.25"),
        ("LoRA Dropout", {"config": {"rescale": True}}, "rescale must be False, as method.json"),
        ("PEFT lora_dropout", {"config": {"lora_dropout": 0.25}}, "lora_dropout must be 0.5, as"),
        ("LoRA", {"method": {"method": "weight decay"}}, "weight_decay must be 0.5, as method.js"),
        ("LoRA", {"method": {"strength": -1}}, r"strength of LoRA must lie in \[0, 1\), got -1"),
        ("LoRA Dropout", {"method": {"samples": 4}}, "samples must be 1, as method.json names"),
        ("LoRA", {"method": {"method": "DropLoRA"}}, "rank_dropout must be 0.5, as method.json"),
    ],
)  # fmt: skip
def test_a_run_that_its_name_does_not_fit_is_refused(name, changes, message, tmp_path):
    """Its rows would stand in tables under the name of a method that it was not trained by."""
    folder = changed(write(tmp_path, name), **changes.get("config", {}))
    said = json.loads((folder / METHOD).read_text()) | changes.get("method", {})
    (folder / METHOD).write_text(json.dumps(said))
    settings = {name: one for name, one in changes.items() if name not in ("config", "method")}
    with pytest.raises(ValueError, match=message):
        FinetuneSettings(**RUN, adapter_config=folder, **settings).cells()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p": (0.1,)}, "p must be left out where adapter_config is given"),
        ({"regularizer": ("LoRA",)}, "regularizer must be left out where adapter_config is given"),
        ({"rank": 4}, "rank must be left out where adapter_config is given"),
        ({"strength": (0.5,)}, "strength must be left out where no regularizer is given"),
        ({"samples": 4}, "samples must be left out where adapter_config is given"),
        ({"alpha": 4.0}, "alpha must be left out where adapter_config is given"),
        ({"method": ("adalora",)}, "method must be left out where adapter_config is given"),
    ],
)
def test_what_says_it_twice_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        FinetuneSettings(**RUN, adapter_config=write(tmp_path), **changes).cells()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("LoRA", {"use_dora": True}, "without use_dora"),
        ("LoRA", {"rank_pattern": {"query": 2}}, "without rank_pattern"),
        ("LoRA", {"peft_type": "IA3"}, "adapter_config"),
        ("LoRA", {"peft_type": "ADALORA", "total_step": 9}, "a config of LoRA; got AdaLoraConfig"),
        ("LoRA", {"lora_dropout": -0.5}, r"lora_dropout must be in \[0, 1\); got -0.5"),
        ("LoRA", {"r": "8"}, r"adapter_config.json: r must be a whole number; got '8'"),
        ("LoRA", {"lora_alpha": None}, r"adapter_config.json: lora_alpha must be a number"),
        ("LoRA Dropout", {"dropout_rate_out": 0.1}, "without dropout_rate_out"),
        ("LoRA Dropout", {"dropout_rate": 2}, "cannot be read"),
        ("LoRA Dropout", {"dropout_rate": None}, "cannot be read: dropout_rate must be given"),
        ("LoRA", {"rescale": False}, "cannot be read: dropout_rate must be given"),
        ("LoRA", {"monteclora_config": {"x": 1}}, "cannot be read"),
        ("LoRA", {"target_modules": "(query"}, r"target_modules must be names .* \'\(query\' \("),
        ("LoRA", {"target_modules": ["query", None]}, "target_modules must be names of layers"),
        ("LoRA", {"target_modules": 1}, "target_modules must be names of layers"),
    ],
)
@pytest.mark.filterwarnings("ignore:Unexpected keyword arguments")
def test_what_a_run_cannot_take_is_refused(name, change, message, tmp_path):
    folder = changed(write(tmp_path, name), **change)
    with pytest.raises(ValueError, match=message):
        read_adapter_config(folder)


def test_an_ensemble_of_no_size_is_refused(tmp_path):
    folder = write(tmp_path, "LoRA Dropout, ensemble of 16")
    (folder / METHOD).unlink()
    settings = FinetuneSettings(**RUN, adapter_config=folder)
    with pytest.raises(ValueError, match="ensemble must be given"):
        settings.cells()
    (cell,) = replace(settings, ensemble=4).cells()
    assert cell.ensemble == 4


def test_the_command_line_refuses_in_a_line(tmp_path):
    folder = write(tmp_path)
    arguments = ["--task", "tweets", "--n", "16", "--adapter-config", str(folder), "--p", "0.1"]
    assert_refused("finetune", arguments, ["p must be left out"], tmp_path)

"""Pretrained models: what the files do not hold is never drawn at random without a word."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from probes.models.pretrained import (
    LANGUAGE_MODEL,
    load_model,
    load_pretrained,
    require_package,
    weights_dtype,
)
from tests.probes.finetuning.corpora import save_model

CLASSIFIER = "AutoModelForSequenceClassification"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return Path(save_model("classifier", tmp_path_factory.mktemp("pretrained") / "model"))


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "model"))


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(folder, change):
    weights = change(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gpt2"},
        {"hidden_size": 32},
        {"num_hidden_layers": 2},
        {"max_position_embeddings": 8},
        {"vocab_size": 9},
    ],
)
def test_a_network_that_its_files_do_not_hold_is_refused(changes, folder):
    change_config(folder, **changes)
    with pytest.raises(ValueError, match="must hold the weights of its network"):
        load_model(CLASSIFIER, str(folder))


def test_a_head_is_new_and_so_is_a_pooler_that_is_not_there(folder):
    kept = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    change_weights(
        folder,
        lambda all_of_them: {
            name: one
            for name, one in all_of_them.items()
            if "pooler" not in name and not name.startswith("classifier")
        },
    )
    model, poolers = load_model(CLASSIFIER, str(folder), num_labels=5)
    assert poolers == ["bert.pooler"]
    assert model.classifier.out_features == 5
    torch.testing.assert_close(model.bert.embeddings.word_embeddings.weight.data, kept)
    assert load_pretrained("AutoModel", str(folder)).pooler is not None


def test_a_language_model_has_all_of_its_weights(folder):
    with pytest.raises(ValueError, match=r"BertLMHeadModel.*cls\.predictions"):
        load_model("AutoModelForCausalLM", str(folder))


def test_weights_that_are_not_finite_are_refused(folder):
    change_weights(folder, lambda every: {name: one * float("nan") for name, one in every.items()})
    with pytest.raises(ValueError, match=r"must hold finite weights; bert\..* is not"):
        load_model(CLASSIFIER, str(folder))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "config.json is no JSON: Expecting"),
        ("config.json", "[]", "config.json must be an object, as in {...}; it is a list"),
        ("tokenizer.json", "{", "tokenizer.json is no JSON"),
        ("tokenizer_config.json", "3", "tokenizer_config.json must be an object"),
    ],
)
def test_the_damaged_file_of_a_folder_is_named(name, content, message, folder):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_pretrained("AutoTokenizer", str(folder))


def test_every_line_of_an_error_that_says_something_is_told(folder):
    change_config(folder, hidden_size="big")
    with pytest.raises(ValueError, match=r"'hidden_size': TypeError.* got str") as refused:
        load_pretrained("AutoConfig", str(folder))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["", "/nowhere/at/all", "./nowhere", "~/nowhere"])
def test_a_folder_that_is_not_there_is_no_name_on_the_hub(name):
    with pytest.raises(
        ValueError, match=r"must be a folder, or a name on the hub; .* is not there"
    ):
        load_pretrained("AutoConfig", name)


def test_a_file_is_no_folder(folder):
    with pytest.raises(ValueError, match=r"config\.json' is a file"):
        load_pretrained("AutoConfig", str(folder / "config.json"))


@pytest.mark.parametrize("kind", ["AutoTokenizer", "AutoModel"])
def test_code_that_comes_with_a_model_runs_where_that_is_said_alone(kind, monkeypatch):
    given = []

    class Asked:
        @staticmethod
        def from_pretrained(name, **settings):
            given.append(settings["trust_remote_code"])
            raise OSError("no model")

    monkeypatch.setattr(f"transformers.{kind}", Asked)
    for settings in ({}, {"trust_remote_code": True}):
        with pytest.raises(ValueError, match="cannot be loaded: no model"):
            load_pretrained(kind, "name", **settings)
    assert given == [False, True]


@pytest.mark.parametrize(
    ("kind", "bf16", "fp16", "dtype"),
    [
        (LANGUAGE_MODEL, True, False, torch.bfloat16),
        (LANGUAGE_MODEL, False, True, torch.float16),
        (LANGUAGE_MODEL, False, False, torch.float32),
        ("AutoModelForSequenceClassification", True, False, torch.float32),
        ("AutoModelForQuestionAnswering", False, True, torch.float32),
    ],
)
def test_a_new_head_is_in_single_precision_whatever_is_asked(kind, bf16, fp16, dtype):
    assert weights_dtype(kind, SimpleNamespace(bf16=bf16, fp16=fp16)) == dtype


def test_a_package_that_is_not_installed_is_named_with_what_installs_it():
    require_package("torch")
    with pytest.raises(ValueError, match=r"no_such_one is needed: .*'lora-dropout\[finetune\]'"):
        require_package("no_such_one", extra="finetune")

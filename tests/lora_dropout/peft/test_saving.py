"""Saved adapters come back with their settings, and are right where this package is missing."""

import json
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from peft import (
    AdaLoraConfig,
    ArrowConfig,
    LoraConfig,
    PeftConfig,
    PeftModel,
    create_arrow_model,
    get_peft_model,
    get_peft_model_state_dict,
    inject_adapter_in_model,
)
from peft.tuners.lora.intruders import reduce_intruder_dimension
from peft.utils.hotswap import hotswap_adapter
from safetensors.torch import load_file
from torch import nn

from lora_dropout import describe, mask_schedule
from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig
from lora_dropout.peft.registration import register
from tests.lora_dropout.peft.models import (
    CONFIGS,
    MODELS,
    adalora,
    adapted,
    batch_for,
    bert,
    lora,
    randomize,
)

pytestmark = pytest.mark.slow

both = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def saved(folder, config, name="bert", **changes):
    changes = {"dropout_rate_out": 0.5, "mask_seed": 7} | changes
    model = adapted(name, config, **changes).eval()
    model.save_pretrained(folder)
    return model


def inputs(name="bert"):
    return {key: value for key, value in batch_for(name).items() if key != "labels"}


def logits(model, name="bert"):
    with torch.no_grad():
        return model.eval()(**inputs(name)).logits


@both
def test_an_adapter_that_was_loaded_for_use_has_a_loss(config, tmp_path):
    """PEFT's AdaLoRA asks for the regularizer of a trained adapter, and fails without one."""
    model = saved(tmp_path, config)
    loaded = PeftModel.from_pretrained(bert(), tmp_path).eval()
    with torch.no_grad():
        found, expected = (one(**batch_for("bert")) for one in (loaded, model.get_base_model()))
    torch.testing.assert_close(found.loss, expected.loss)


@both
def test_every_way_of_loading_gives_the_config_back(config, tmp_path):
    model = saved(tmp_path, config)
    kind = type(model.peft_config["default"])
    assert kind in (LoraDropoutConfig, AdaLoraDropoutConfig)
    loaded = PeftModel.from_pretrained(bert(), tmp_path)
    added = adapted("bert", config, p=0.1, inference_mode=True)
    added.load_adapter(tmp_path, "again")
    of_folder = PeftConfig.from_pretrained(tmp_path)
    for found in (loaded.peft_config["default"], added.peft_config["again"], of_folder):
        assert type(found) is kind
        assert (found.dropout_rate, found.dropout_rate_out, found.mask_seed) == (0.3, 0.5, 7)
        assert found.lora_alpha == 8
        assert found.training_alpha is None
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=0)
    assert mask_schedule(loaded).seed == 7


def test_transformers_own_loading_gives_the_config_back(tmp_path):
    model = saved(tmp_path, lora, task_type=None)
    plain = bert()
    plain.load_adapter(str(tmp_path))
    assert type(plain.peft_config["default"]) is LoraDropoutConfig
    torch.testing.assert_close(logits(plain), logits(model), rtol=0, atol=0)
    assert {one.masks for one in describe(plain.train())} == {True}


@both
def test_the_kind_of_the_masks_is_saved_and_comes_back(config, tmp_path):
    model = saved(tmp_path, config, mask_kind="gaussian")
    loaded = PeftModel.from_pretrained(bert(), tmp_path)
    assert {one.kind for one in describe(loaded)} == {"gaussian"}
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=0)
    held = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(held | {"mask_kind": "uniform"}))
    with pytest.raises(ValueError, match="mask_kind must be one of"):
        PeftModel.from_pretrained(bert(), tmp_path)
    del held["mask_kind"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(held))
    assert PeftConfig.from_pretrained(tmp_path).mask_kind == "bernoulli"


def test_patterns_of_alpha_are_saved_and_come_back(tmp_path):
    model = saved(tmp_path, lora, alpha_pattern={"value": 4})
    held = json.loads((tmp_path / "adapter_config.json").read_text())
    assert held["lora_alpha"] == pytest.approx(8 * 0.7 * 0.5)
    assert held["alpha_pattern"] == {"value": pytest.approx(4 * 0.7 * 0.5)}
    loaded = PeftModel.from_pretrained(bert(), tmp_path)
    assert loaded.peft_config["default"].alpha_pattern == {"value": 4}
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=0)
    assert model.peft_config["default"].lora_alpha == 8


@pytest.mark.parametrize(
    ("changes", "factor"), [({"rescale": True}, 1.0), ({"inference": "no masks"}, 1.0), ({}, 0.35)]
)
def test_a_saved_alpha_holds_what_inference_needs(changes, factor, tmp_path):
    saved(tmp_path, lora, **changes)
    held = json.loads((tmp_path / "adapter_config.json").read_text())
    assert held["lora_alpha"] == pytest.approx(8 * factor)


@both
@pytest.mark.parametrize("name", MODELS)
def test_state_dict_keys_are_pefts(config, name, tmp_path):
    model = saved(tmp_path, config, name)
    keys = set(load_file(tmp_path / "adapter_model.safetensors"))
    trained = {key for key, value in model.named_parameters() if value.requires_grad}
    # PEFT leaves out the adapter's name, and the place of a head that is trained as a whole.
    trained = {key.replace(".default", "").replace(".modules_to_save", "") for key in trained}
    assert keys == trained
    assert any(key.endswith("lora_A.weight") or key.endswith("lora_A") for key in keys)


WITHOUT_US = """
import sys, torch
from peft import PeftModel
sys.modules["lora_dropout"] = None
from transformers import BertForSequenceClassification
batch = torch.load("batch.pt", weights_only=True)
for adapter in sys.argv[1:]:
    model = BertForSequenceClassification.from_pretrained("base")
    model = PeftModel.from_pretrained(model, adapter).eval()
    torch.save(model(**batch).logits, adapter + ".pt")
"""


def test_without_this_package_peft_loads_the_expected_weight_network(tmp_path):
    models = {name: saved(tmp_path / name, config) for name, config in CONFIGS.items()}
    bert().save_pretrained(tmp_path / "base")
    torch.save(inputs(), tmp_path / "batch.pt")
    subprocess.run(
        [sys.executable, "-c", WITHOUT_US, *models], check=True, cwd=tmp_path, capture_output=True,
        timeout=300,
    )  # fmt: skip
    for name, model in models.items():
        found = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        torch.testing.assert_close(found, logits(model), rtol=1e-5, atol=1e-5)


def test_plain_adapters_go_on_being_loaded_as_plain_ones(tmp_path):
    plain = get_peft_model(bert(), LoraConfig(r=2, target_modules=["query"], lora_dropout=0.1))
    plain.save_pretrained(tmp_path)
    assert type(PeftModel.from_pretrained(bert(), tmp_path).peft_config["default"]) is LoraConfig
    assert type(PeftConfig.from_pretrained(tmp_path)) is LoraConfig


def test_fields_of_a_later_version_do_not_lose_ours(tmp_path):
    saved(tmp_path, lora)
    place = tmp_path / "adapter_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"of_the_future": 1}))
    with pytest.warns(UserWarning, match="of_the_future"):
        config = PeftConfig.from_pretrained(tmp_path)
    assert type(config) is LoraDropoutConfig
    assert config.lora_alpha == 8


def test_an_adapter_is_swapped_in_place(tmp_path):
    model = saved(tmp_path, lora, task_type=None)
    other = adapted("bert", lora, seed=5, dropout_rate_out=0.5, task_type=None)
    hotswap_adapter(other, tmp_path, "default")
    torch.testing.assert_close(logits(other), logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"p": 0.6}, {"rescale": True}, {"inference": "no masks"}, {"mask_kind": "mean"}]
)
def test_an_adapter_that_means_something_else_is_not_swapped_in(changes, tmp_path):
    """The masks and (1-p)^2 would stay those of the old one."""
    saved(tmp_path, lora, task_type=None)
    other = adapted("bert", lora, **{"dropout_rate_out": 0.5, "task_type": None} | changes)
    before = logits(other)
    with pytest.raises(ValueError, match="Configs are incompatible"):
        hotswap_adapter(other, tmp_path, "default")
    assert torch.equal(logits(other), before)


@both
def test_a_config_as_a_dictionary_is_what_is_saved(config, tmp_path):
    model = saved(tmp_path, config, alpha_pattern={"query": 6})
    held = model.peft_config["default"]
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    told = held.to_dict()
    assert set(told) == set(written)
    for name in ("lora_alpha", "alpha_pattern", "training_alpha", "dropout_rate"):
        assert told[name] == written[name]
    assert type(held)(**told).lora_alpha == held.lora_alpha
    assert told["lora_alpha"] == pytest.approx(held.lora_alpha * 0.7 * 0.5)


def test_a_rate_for_a_layer_that_is_not_adapted_is_named():
    config = lora(["query"], dropout_pattern={"qurey": 0.1, "query": 0.2})
    with pytest.warns(UserWarning, match="dropout_pattern names 'qurey', which is no adapted"):
        get_peft_model(bert(), config)
    with pytest.raises(ValueError, match="no layer would drop anything"):
        get_peft_model(bert(), lora(["query"], p=0.0, dropout_pattern={"key": 0.1}))


def test_patterns_of_rates_and_alphas_that_disagree_in_their_order_are_refused():
    """The first that matches a layer counts, and a saved alpha has the factor of its own name."""
    rates = {"query": 0.1, "0.attention.self.query": 0.5}
    alphas = {"0.attention.self.query": 16, "query": 4}
    with pytest.raises(ValueError, match="same layers, in the same order"):
        lora(["query"], dropout_pattern=rates, alpha_pattern=alphas)
    config = lora(
        ["query"], dropout_pattern=rates, alpha_pattern=dict(sorted(alphas.items())[::-1])
    )
    assert config.to_dict()["alpha_pattern"] == pytest.approx(
        {"query": 0.81 * 4, "0.attention.self.query": 0.25 * 16}
    )


@pytest.mark.parametrize("alphas", [{}, {"query": 6, "0.attention.self.value": 2}])
def test_rates_by_layer_are_trained_saved_and_right_without_this_package(alphas, tmp_path):
    rates = {"query": 0.6, "0.attention.self.value": 0.0}
    config = lora(["query", "value"], p=0.3, dropout_pattern=rates, alpha_pattern=alphas)
    model = randomize(get_peft_model(bert(), config)).eval()
    told = {one.layer: one.p_in for one in describe(model)}
    for name, rate in told.items():
        expected = 0.6 if name.endswith("query") else 0.0 if ".0." in name else 0.3
        assert rate == expected
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(bert(), tmp_path)
    assert loaded.peft_config["default"].alpha_pattern == alphas
    torch.testing.assert_close(logits(loaded), logits(model))
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    plain = {name: written[name] for name in ("r", "lora_alpha", "alpha_pattern", "task_type")}
    plain = LoraConfig(**plain, target_modules=["query", "value"])
    twin = get_peft_model(bert(), plain)
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits(twin), logits(model))


def test_rates_by_layer_of_adalora_are_refused_where_peft_would_scale_them_alike(tmp_path):
    """Its layers know no ``alpha_pattern``, of which PEFT alone reads (1-p)^2 by layer."""
    with pytest.raises(ValueError, match="dropout_pattern does not go with AdaLoRA"):
        adalora(["query", "value"], p=0.3, dropout_pattern={"query": 0.6})
    config = adalora(["query", "value"], p=0.3, dropout_pattern={"query": 0.6}, rescale=True)
    model = randomize(get_peft_model(bert(), config)).eval()
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    known = {one.name for one in fields(AdaLoraConfig)} - {"peft_type"}
    plain = AdaLoraConfig(**{name: one for name, one in written.items() if name in known})
    twin = get_peft_model(bert(), plain)
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits(twin), logits(model))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"dropout_pattern": {"query": 1.0}}, "must lie in"),
     ({"dropout_pattern": {"query": "0.1"}}, "must be a number"),
     ({"dropout_pattern": {"query": 0.1}, "alpha_pattern": {"value": 3}}, "the same layers")],
)  # fmt: skip
def test_patterns_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        lora(["query"], **changes)


@both
def test_a_config_that_was_changed_later_is_not_saved(config, tmp_path):
    """The masks, and eval(), are those of the config that the adapter was made with."""
    model = adapted("bert", config)
    model.peft_config["default"].dropout_rate = 0.6
    with pytest.raises(ValueError, match=r"dropout_rate .* is 0.6 .* were made with 0.3"):
        model.save_pretrained(tmp_path)


@both
@pytest.mark.parametrize("changes", [{"p_in": 0.1}, {"kind": "gaussian"}, {}])
def test_masks_of_other_rates_than_the_config_says_are_not_saved(changes, config, tmp_path):
    """As of a rate that falls in training: whoever loads it has the rate of the config."""
    model = adapted("bert", config)
    for layer in mask_schedule(model).layers:
        layer.shape = layer.shape._replace(**changes)
        layer.rescale = not changes
    with pytest.raises(ValueError, match=r"were made with LayerShape.*set them back"):
        model.save_pretrained(tmp_path)
    for layer in mask_schedule(model).layers:
        layer.shape, layer.rescale = layer.made
    model.save_pretrained(tmp_path)


def test_layers_in_another_mode_than_their_config_are_not_saved(tmp_path):
    model = adapted("bert", lora)
    for layer in mask_schedule(model).layers:
        layer.inference = "no masks"
    with pytest.raises(ValueError, match=r"its layers have 'no masks'"):
        model.save_pretrained(tmp_path)


def test_pefts_arrow_is_refused(tmp_path):
    """It computes updates by a formula of its own, without masks and (1-p)^2."""
    saved(tmp_path, lora)
    with pytest.raises(ValueError, match=r"Arrow reads the factors .* without their masks"):
        create_arrow_model(bert(), [str(tmp_path)] * 2, ArrowConfig(top_k=1))


def test_pefts_removal_of_intruders_is_refused():
    model = adapted("bert", lora)
    with pytest.raises(ValueError, match=r"reduce_intruder_dimension knows nothing of \(1-p\)"):
        reduce_intruder_dimension(model, "default", "reduced")


def test_a_model_of_diffusers_refuses_to_write_what_it_cannot_read(tmp_path):
    """Its models carry their adapters, as this one does, whose class says that it is theirs."""
    kind = type("Theirs", (nn.Sequential,), {"__module__": "diffusers.models.theirs"})
    config = lora(["0"], task=None)
    inject_adapter_in_model(config, kind(nn.Linear(4, 4)))
    with pytest.raises(ValueError, match="diffusers cannot load"):
        config.to_dict()
    config.save_pretrained(tmp_path)
    assert type(PeftConfig.from_pretrained(tmp_path)) is LoraDropoutConfig


def test_adapters_are_made_without_data_and_loaded_into_it(tmp_path):
    model = saved(tmp_path, lora)
    loaded = PeftModel.from_pretrained(bert(), tmp_path, low_cpu_mem_usage=True, is_trainable=True)
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=0)
    loaded.train()
    again = PeftModel.from_pretrained(bert(), tmp_path, is_trainable=True).train()
    expected = again(**batch_for("bert")).logits
    torch.testing.assert_close(loaded(**batch_for("bert")).logits, expected, rtol=0, atol=0)


def test_a_model_without_data_gets_its_masks_with_its_memory():
    def adapted_layer():
        config = lora(["0"], None, p=0.5)
        return inject_adapter_in_model(config, nn.Sequential(nn.Linear(16, 16))).train()

    made = randomize(adapted_layer())
    with torch.device("meta"):
        model = adapted_layer()
    model.to_empty(device="cpu").load_state_dict(made.state_dict())
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), made(x), rtol=0, atol=0)
    assert 0 < mask_schedule(model).layers[0].mask_in.mean() < 1


def test_an_old_peft_is_refused(monkeypatch):
    monkeypatch.setattr("peft.__version__", "0.19.1")
    with pytest.raises(ImportError, match=r"0\.20"):
        register()


def test_a_peft_that_ignores_the_dropout_is_refused(monkeypatch):
    """The layers of a future PEFT might take a config whose fields they do not know."""
    from peft.tuners.lora.layer import Linear

    monkeypatch.setattr(Linear, "resolve_lora_variant", lambda self, **known: None)
    with pytest.raises(ImportError, match="silently ignore"):
        register()


def rankless_adalora():
    """A model with AdaLoRA to one of whose layers the allocator has left nothing."""
    model = adapted("bert", CONFIGS["adalora"])
    names = [name for name, _ in model.named_parameters() if "lora_E" in name]
    kept = {name.removeprefix("base_model.model."): [True] * 3 + [False] * 3 for name in names}
    kept[next(iter(kept))] = [False] * 6
    model.peft_config["default"].rank_pattern = kept
    return model


def test_layers_without_rank_are_saved_and_loaded_without_a_word(tmp_path):
    """PEFT takes them for shards, and the ranks for patterns that name no layer."""
    model = rankless_adalora()
    model.save_pretrained(tmp_path)
    factors = load_file(tmp_path / "adapter_model.safetensors")
    ranks = sorted(len(value) for name, value in factors.items() if name.endswith("lora_A"))
    assert ranks == [0, 3, 3, 3]
    loaded = PeftModel.from_pretrained(bert(), tmp_path)
    assert len(describe(loaded)) == 4


def test_shards_that_were_not_gathered_are_still_told():
    model = rankless_adalora()
    last, _ = model.peft_config["default"].rank_pattern.popitem()
    model.get_parameter(f"base_model.model.{last}".replace("lora_E", "lora_A")).data = torch.empty(
        0
    )
    with pytest.warns(UserWarning, match="3 LoRA tensor"):
        get_peft_model_state_dict(model)

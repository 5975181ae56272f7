"""What PEFT does with LoRA and AdaLoRA adapters goes on working with masks."""

import copy
import pickle
from functools import partial

import pytest
import torch
from peft import AdaLoraConfig, EvaConfig, LoHaConfig, LoraConfig, XLoraConfig, get_peft_model
from peft.tuners.lora import LoraModel as PlainLoraModel
from peft.tuners.lora.layer import Linear as PlainLinear
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_dropout import describe, inference_mode, mask_schedule
from lora_dropout.injection import adapted_layers, mask_schedules
from lora_dropout.masks import draw_masks
from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig
from lora_dropout.peft.adapter_masks import keep_reference_still
from tests.lora_dropout.peft.models import (
    CONFIGS,
    MODELS,
    adapted,
    batch_for,
    bert,
    gradients,
    lora,
    randomize,
)

both = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
every = pytest.mark.parametrize("name", MODELS)


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
@both
@every
def test_an_update_loses_the_masked_rows_and_columns(name, config, kind):
    """In training the output is that of the frozen layer plus the masked product."""
    model = adapted(name, config, mask_kind=kind).train()
    place, masks = adapted_layers(model)[1]
    layer = model.get_submodule(place.removesuffix(masks.place))
    mask_in, mask_out = draw_masks(masks.shape, seed=0, step=0, layer=1)
    A, B, scaling = masks.low_rank()
    delta = scaling * torch.from_numpy(mask_out)[:, None] * (B @ A) * torch.from_numpy(mask_in)
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    expected = layer.base_layer(x) + x @ delta.mT
    torch.testing.assert_close(layer(x), expected)
    assert 0 < mask_in.mean() < 1
    assert set(mask_in) == {0, 1} or kind == "gaussian"


@both
@every
def test_at_rate_0_it_is_pefts_own_adapter(name, config):
    build, targets, task = MODELS[name]
    ours = adapted(name, config, p=0.0)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": targets, "task_type": task}
    plain = LoraConfig(**settings)
    if config is CONFIGS["adalora"]:
        plain = AdaLoraConfig(**(settings | {"r": 8}), init_r=6, target_r=3, total_step=12, tinit=2,
                              tfinal=3)  # fmt: skip
    theirs = randomize(get_peft_model(build(), plain))
    inputs = batch_for(name)
    for model in (ours, theirs):
        model.train()
        model(**inputs).loss.backward()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    mine, others = gradients(ours), gradients(theirs)
    assert mine.keys() == others.keys()
    for key, value in others.items():
        torch.testing.assert_close(mine[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", [{"use_dora": True}, {"lora_bias": True}])
def test_at_rate_0_every_option_of_peft_is_there(setting):
    """In training too, where no layer is said to have taken no part."""
    settings = {"r": 4, "target_modules": ["query", "value"]} | setting
    found = []
    for config in (LoraConfig(**settings), LoraDropoutConfig(**settings, dropout_rate=0.0)):
        model = randomize(get_peft_model(bert(), config)).train()
        found.append(model(**batch_for("bert")).logits)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("plain", "ours", "ranks"),
    [
        (LoraConfig, LoraDropoutConfig, {"r": 4}),
        (AdaLoraConfig, AdaLoraDropoutConfig,
         {"init_r": 4, "target_r": 2, "total_step": 12, "tinit": 2, "tfinal": 3}),
    ],
)  # fmt: skip
def test_at_rate_0_pefts_own_dropout_drops(plain, ours, ranks):
    """What the update reads loses the same entries as in PEFT's own adapter."""
    settings = ranks | {"target_modules": ["query", "value"]}
    found = []
    mine = partial(ours, dropout_rate=0.0)
    for kind, rate in ((plain, 0.5), (mine, 0.5), (mine, 0.0)):
        model = randomize(get_peft_model(bert(), kind(**settings, lora_dropout=rate))).train()
        torch.manual_seed(1)
        found.append(model(**batch_for("bert")).logits)
    torch.testing.assert_close(found[1], found[0])
    assert not torch.allclose(found[1], found[2])


@both
@every
def test_eval_merging_and_unmerging_are_the_expected_weight_network(name, config):
    model, inputs = adapted(name, config).eval(), batch_for(name)
    with torch.no_grad():
        expected = model(**inputs).logits
        with model.disable_adapter():
            frozen = model(**inputs).logits
        with inference_mode(model, "no masks"):
            overshooting = model(**inputs).logits
        model.merge_adapter()
        merged = model(**inputs).logits
        model.unmerge_adapter()
        again = model(**inputs).logits
        plain = model.merge_and_unload(safe_merge=True)
        unloaded = plain(**inputs).logits
    for found in (merged, again, unloaded):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (frozen - expected).abs().max() > 1e-2
    assert (overshooting - expected).abs().max() > 1e-2
    assert not adapted_layers(plain)


@both
def test_merging_in_training_draws_no_masks(config):
    expected = adapted("bert", config).eval()(**batch_for("bert")).logits
    merged = adapted("bert", config).train().merge_and_unload().eval()
    torch.testing.assert_close(merged(**batch_for("bert")).logits, expected, rtol=1e-4, atol=1e-4)


def repickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [lambda model: model, copy.deepcopy, repickled])
def test_training_after_unloading_leaves_no_hooks_behind(copied):
    model = copied(adapted())
    held = model.base_model.model
    assert held._forward_hooks
    assert held._forward_pre_hooks
    plain = model.merge_and_unload()
    assert plain is held
    assert not plain._forward_hooks
    assert not plain._forward_pre_hooks


def test_masks_advance_with_the_optimizer():
    model, inputs = adapted().train(), batch_for("bert")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    seen = []
    for _ in range(3):
        seen.append(adapted_layers(model)[0][1].mask_in.clone())
        model(**inputs).loss.backward()
        optimizer.step()
    assert mask_schedule(model).step == 3
    assert not torch.equal(seen[0], seen[1])


def test_several_adapters_have_masks_and_rates_of_their_own():
    model = adapted(p=0.3, mask_seed=1, task_type=None)
    model.add_adapter("second", lora(["query", "key"], None, p=0.6, mask_seed=2))
    model.add_adapter("plain", LoraConfig(r=2, target_modules=["value", "key"]))
    randomize(model)
    for name, rate, mode in (("default", 0.3, "training"), ("second", 0.6, "off")):
        found = [one for one in describe(model) if one.adapter == name]
        assert [one.number for one in found] == list(range(4))
        assert {(one.p_in, one.mode) for one in found} == {(rate, mode)}
    assert mask_schedule(model).seed == 1
    model.set_adapter("second")
    assert mask_schedule(model).seed == 2
    model.base_model.set_adapter(["default", "second"])
    assert [one.seed for one in mask_schedules(model)] == [1, 2]
    with pytest.raises(ValueError, match="2 adapters are active"):
        mask_schedule(model)
    model.set_adapter("plain")
    with pytest.raises(ValueError, match="off: inactive"):
        mask_schedule(model)


def test_an_adapter_with_dropout_beside_one_without():
    """A layer that PEFT made for a plain adapter takes masks, and the plain one stays as it is."""
    inputs = batch_for("bert")
    model = randomize(get_peft_model(bert(), LoraConfig(r=4, target_modules=["query", "value"])))
    model.eval()
    before = model(**inputs).logits
    model.add_adapter("dropped", lora(["query", "value"]))
    torch.testing.assert_close(model(**inputs).logits, before, rtol=0, atol=0)
    model.set_adapter("dropped")
    assert mask_schedule(model.train()).layers[0].draws_masks


def test_mixed_batches_give_each_row_its_adapter():
    model = adapted().eval()
    model.add_adapter("second", lora(["query", "value"], p=0.6))
    randomize(model)
    inputs = batch_for("bert")
    alone = {}
    for name in ("default", "second"):
        model.set_adapter(name)
        alone[name] = model(**inputs).logits
    names = ["default", "second", "second", "__base__"]
    mixed = model(**inputs, adapter_names=names).logits
    with model.disable_adapter():
        base = model(**inputs).logits
    for row, name in enumerate(names):
        expected = base[row] if name == "__base__" else alone[name][row]
        torch.testing.assert_close(mixed[row], expected, rtol=1e-4, atol=1e-5)


def test_deleting_an_adapter_takes_its_masks_along():
    model = adapted()
    model.add_adapter("second", lora(["query"], p=0.6))
    gone = next(one.masks for _, one in adapted_layers(model) if one.adapter == "second")
    model.delete_adapter("second")
    assert {one.adapter for one in describe(model)} == {"default"}
    assert gone.layers == []
    assert gone._handles == []


def test_an_adapter_added_to_a_model_in_use_draws_no_masks():
    model = adapted().eval()
    model.add_adapter("second", lora(["query"], p=0.6))
    model.set_adapter("second")
    assert {one.masks for one in describe(model)} == {False}


def test_an_adapter_that_was_a_reference_has_masks_once_it_is_trained_itself():
    """It went on without them, and without a word."""
    model = adapted(task_type=None).train()
    model.add_adapter("ref", lora(["query", "value"], None))
    for active in ("default", "ref"):
        model.set_adapter(active)
        keep_reference_still(model)
        drawn = {one.adapter for one in describe(model.train()) if one.masks}
        assert drawn == {active}
    assert {one.adapter for _, one in adapted_layers(model) if one.still} == set()


def test_layers_that_have_masks_are_not_replicated():
    model = adapted("llama")
    before = str(model)
    for kind in (LoraConfig, partial(LoraDropoutConfig, dropout_rate=0.5)):
        again = kind(target_modules=["q_proj"], layer_replication=[[0, 1], [0, 2]])
        with pytest.raises(ValueError, match="the masks of the copies would never change"):
            model.add_adapter("again", again)
        assert str(model) == before


@pytest.mark.parametrize("kind", ["linear", "cat"])
def test_adapters_of_equal_rate_are_combined(kind):
    model = adapted(task_type=None).eval()
    model.add_adapter("second", lora(["query", "value"], None))
    randomize(model, seed=3)
    model.add_weighted_adapter(["default", "second"], [1.0, 0.0], "both", combination_type=kind)
    model.add_weighted_adapter(["default"], [1.0], "alone")  # Linearly, as PEFT combines one.
    inputs = batch_for("bert")
    expected = model(**inputs).logits
    for name in ("both", "alone"):
        model.set_adapter(name)
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "rate"), [("svd", 0.3), ("linear", 0.6)])
def test_combinations_that_would_be_wrong_are_refused(kind, rate):
    model = adapted(p=0.3)
    model.add_adapter("second", lora(["query", "value"], p=rate))
    with pytest.raises(ValueError, match=r"equal rates|by 'svd', which would"):
        model.add_weighted_adapter(["default", "second"], [1.0, 1.0], "both", combination_type=kind)


@pytest.mark.parametrize("config", [
    LoraDropoutConfig(r=2, target_modules=["c_attn"], dropout_rate=0.5),
    AdaLoraDropoutConfig(init_r=3, target_r=2, total_step=9, tinit=2, tfinal=2,
                         target_modules=["c_attn"], dropout_rate=0.5),
], ids=["lora", "adalora"])  # fmt: skip
def test_conv1d_layers_are_adapted(config):
    """GPT-2's layers hold their weight transposed."""
    model = nn.Sequential()
    model.add_module("c_attn", Conv1D(5, 4))
    model = randomize(get_peft_model(model, config))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    masks = adapted_layers(model)[0][1]
    assert masks.shape[:2] == (4, 5)
    A, B, scaling = masks.low_rank()
    weight = model.base_model.model.c_attn.base_layer.weight.mT
    expected = x @ (weight + 0.25 * scaling * B @ A).mT
    torch.testing.assert_close(model.eval()(x), expected)
    torch.testing.assert_close(model.merge_and_unload()(x), expected)


@pytest.mark.parametrize("settings", [{}, {"fan_in_fan_out": True}, {"use_dora": True}], ids=str)
def test_layers_that_hold_their_weight_transposed_stand_beside_others(settings):
    """Square ones, of which no shape tells which is transposed."""
    model = nn.Sequential(Conv1D(4, 4), nn.Linear(4, 4), Conv1D(4, 4))
    config = LoraDropoutConfig(r=2, target_modules=["0", "1", "2"], dropout_rate=0.5, **settings)
    model = randomize(get_peft_model(model, config)).eval()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    expected = model(x).detach()
    torch.testing.assert_close(model.merge_and_unload()(x), expected)


@pytest.mark.parametrize("factors_alone", [False, True])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_masks_take_the_precision_of_the_parameters(config, factors_alone):
    """Which some set alone, and no buffer with them: DeepSpeed, FSDP, p.data = ..."""
    model = adapted("bert", config, task_type=None).train()
    exact = model(**batch_for("bert")).logits
    for parameter in model.parameters():
        if parameter.requires_grad or not factors_alone:
            parameter.data = parameter.data.bfloat16()
    rough = model(**batch_for("bert")).logits
    assert rough.dtype == (torch.float32 if factors_alone else torch.bfloat16)
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)


class Doubling(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Scaled(nn.Embedding):
    def forward(self, words):
        return 2 * super().forward(words)


def test_a_layer_under_two_names_is_refused():
    """PEFT adapts it under one of them, and the other goes on without the update."""
    layer = nn.Linear(4, 4)
    config = LoraDropoutConfig(r=1, target_modules=["0", "2"], dropout_rate=0.5)
    with pytest.raises(ValueError, match=r"held as 0, 2, and PEFT adapts it under one name"):
        get_peft_model(nn.Sequential(layer, nn.ReLU(), layer), config)


def test_a_class_of_ones_own_for_a_layer_is_pefts_at_rate_0_and_refused_above():
    """It was left out without a word."""
    own = type("Own", (PlainLinear,), {})
    adapted = {}
    for rate in (0.0, 0.5):
        config = lora(["0"], None, p=rate)
        config._register_custom_module({nn.Linear: own})
        adapted[rate] = partial(get_peft_model, nn.Sequential(nn.Linear(4, 4)), config)
    assert type(adapted[0.0]().base_model.model[0]) is own
    with pytest.raises(ValueError, match="Linear 0, which the config registers a class of its own"):
        adapted[0.5]()


@both
def test_models_of_mixed_methods_are_refused(config):
    """PEFT's own AdaLoRA layer would take the config, and leave the masks out without a word."""
    settings = config(["0"], task_type=None, p=0.5)
    with pytest.raises(ValueError, match="PeftMixedModel has no LoRA Dropout"):
        get_peft_model(nn.Sequential(nn.Linear(4, 4)), settings, mixed=True)
    model = get_peft_model(
        nn.Sequential(nn.Linear(4, 4)), LoHaConfig(r=2, target_modules=["0"]), mixed=True
    )
    with pytest.raises(ValueError, match="PeftMixedModel has no LoRA Dropout"):
        model.add_adapter("ours", settings)


def test_pefts_own_model_of_lora_is_refused(tmp_path):
    """X-LoRA makes one of the adapters that it loads, and would leave the masks out."""
    model = adapted("llama")
    model.save_pretrained(tmp_path)
    base = model.unload()
    base.config.use_cache = False
    experts = XLoraConfig(task_type="CAUSAL_LM", hidden_size=16, adapters={"0": str(tmp_path)})
    with pytest.raises(ValueError, match=r"X-LoRA.* no LoRA Dropout: use get_peft_model"):
        get_peft_model(base, experts)
    with pytest.raises(ValueError, match=r"X-LoRA.* no LoRA Dropout: use get_peft_model"):
        PlainLoraModel(nn.Sequential(nn.Linear(4, 4)), lora(["0"], task_type=None), "default")


@both
def test_at_rate_0_they_are_models_of_mixed_methods_too(config):
    settings = config(["0"], task_type=None, p=0.0)
    model = get_peft_model(nn.Sequential(nn.Linear(4, 4)), settings, mixed=True)
    assert any("lora_" in name for name, _ in model.named_parameters())


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups")
@pytest.mark.parametrize(
    ("layer", "words"),
    [(nn.Embedding(4, 4, max_norm=1.0), "renormalizes"),
     (nn.Embedding(4, 4, sparse=True), "sparse gradients"), (Scaled(4, 4), "of its own"),
     (nn.Conv2d(2, 2, 2, dilation=2), "dilation"), (nn.Conv2d(2, 2, 1, groups=2), "groups"),
     (nn.Conv1d(2, 2, 1, padding_mode="circular"), "pads by 'circular'"),
     (nn.Conv3d(2, 2, 1), "Conv3d"),
     (Doubling(4, 4), "of its own"), (nn.utils.spectral_norm(nn.Conv1d(2, 2, 1)), "computes"),
     (nn.utils.spectral_norm(nn.Linear(4, 4)), "computes its weight")],
)  # fmt: skip
def test_layers_that_are_not_supported_are_refused_and_allowed_without_dropout(layer, words):
    def config(p, **pattern):
        return LoraDropoutConfig(
            r=2, target_modules=["0", *pattern], dropout_rate=p, dropout_pattern=pattern
        )

    with pytest.raises(ValueError, match=words):
        get_peft_model(nn.Sequential(layer), config(0.5))
    # A rate of another layer is none of this one.
    of_another = config(0.0, **{"1": 0.5})
    for modules, settings in (((layer,), config(0.0)), ((layer, nn.Linear(4, 4)), of_another)):
        allowed = get_peft_model(nn.Sequential(*modules), settings)
        assert any("0.lora_" in name for name, _ in allowed.named_parameters())
        # Nobody watches a model without masks.
        assert bool(allowed.base_model._forward_hooks) == (len(modules) > 1)
    # Nor does it take masks once PEFT has adapted it.
    with pytest.raises(ValueError, match=words):
        allowed.add_adapter("second", config(0.5))


def test_so_they_are_by_adalora_also_once_peft_has_adapted_them():
    ranks = {"init_r": 3, "target_r": 2, "total_step": 9, "tinit": 2, "tfinal": 2}
    ours = AdaLoraDropoutConfig(
        **ranks, target_modules=["0"], dropout_rate=0.5, inference_mode=True
    )
    with pytest.raises(ValueError, match="support Doubling 0, which is a Doubling with a forward"):
        get_peft_model(nn.Sequential(Doubling(4, 4)), ours)
    plain = AdaLoraConfig(**ranks, target_modules=["0"])
    model = get_peft_model(nn.Sequential(Doubling(4, 4)), plain)
    with pytest.raises(ValueError, match="support Doubling 0, which is a Doubling with a forward"):
        model.add_adapter("second", ours)


@pytest.mark.parametrize("other", [{}, {"dropout_rate": 0.0, "lora_dropout": 0.5}], ids=str)
def test_adaloras_adapters_with_and_without_masks_are_not_active_together(other):
    """Nor is one of rate 0 that has PEFT's own dropout, which was left out."""
    ranks = {"init_r": 3, "target_r": 2, "total_step": 9, "tinit": 2, "tfinal": 2}
    model = nn.Sequential(nn.Linear(4, 4))
    config = AdaLoraDropoutConfig(**ranks, target_modules=["0"], dropout_rate=0.5)
    model = get_peft_model(model, config)
    kind = AdaLoraDropoutConfig if other else AdaLoraConfig
    second = kind(**ranks, target_modules=["0"], inference_mode=True, **other)
    model.add_adapter("second", second)
    model.base_model.set_adapter(["default", "second"])
    with pytest.raises(ValueError, match="with and without LoRA Dropout cannot be active together"):
        model(torch.ones(2, 4))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "dropout_rate must be given"),
        ({"dropout_rate": 1.0}, "must lie in"),
        ({"dropout_rate": 0.1, "dropout_rate_out": -0.1}, "must lie in"),
        ({"dropout_rate": 0.1, "lora_dropout": 0.1}, "different methods"),
        (
            {"dropout_rate": 0.1, "task_type": "CAUSAL_LM", "alora_invocation_tokens": [1]},
            "alora_invocation_tokens",
        ),
        ({"dropout_rate": 0.1, "lora_bias": True}, "lora_bias"),
        (
            {
                "dropout_rate": 0.1,
                "init_lora_weights": "eva",
                "eva_config": EvaConfig(),
                "dropout_pattern": {"0": 0.2},
            },
            "an alpha of their own",
        ),
        ({"dropout_rate": 0.1, "init_lora_weights": "pissa"}, "frozen weight"),
        ({"dropout_rate": 0.1, "init_lora_weights": "mica"}, "'mica' does not go with"),
        ({"dropout_rate": 0.1, "inference": "all"}, "inference"),
        ({"dropout_rate": 0.1, "mask_seed": -1}, "mask_seed"),
        ({"dropout_rate": "0.1"}, "dropout_rate must be a number"),
        ({"dropout_rate": 0.1, "mask_kind": "uniform"}, "mask_kind must be one of"),
        ({"dropout_rate": 0.1, "mask_seed": [1]}, "mask_seed must be a whole number"),
        ({"dropout_rate": 0.1, "mask_seed": 1.5}, "mask_seed must be a whole number"),
        ({"dropout_rate": 0.1, "rescale": "no"}, "rescale must be true or false"),
        ({"dropout_rate": 0.1, "dropout_pattern": [0.2]}, "must map names to rates"),
        ({"dropout_rate": 0.1, "training_alpha": {"r": 1}}, "training_alpha holds"),
        ({"dropout_rate": 0.1, "lora_alpha": 0}, "lora_alpha"),
    ],
)
def test_configs_that_cannot_mean_anything_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        LoraDropoutConfig(**settings)


def test_print_trainable_parameters_counts_the_factors(capsys):
    model = adapted()
    model.print_trainable_parameters()
    found = sum(masks.factors[0].numel() + masks.factors[1].numel()
                for _, masks in adapted_layers(model))  # fmt: skip
    trained, _ = model.get_nb_trainable_parameters()
    assert f"trainable params: {trained:,}" in capsys.readouterr().out
    head = sum(p.numel() for n, p in model.named_parameters() if "modules_to_save" in n)
    assert trained == found + head


def test_layer_status_of_peft_knows_the_adapter():
    status = adapted().get_model_status()
    assert status.active_adapters == ["default"]
    assert status.requires_grad == {"default": True}

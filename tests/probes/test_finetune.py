"""Fine-tuning end to end on tiny models and data in the format of each task; no network."""

import json
import math
import shutil
import weakref
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from peft import PeftConfig, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lora_dropout.injection import adapted_layers
from lora_dropout.masks import ENSEMBLE_STEP, LayerShape, smallest_step_masks
from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig
from probes.finetune import (
    FinetuneResult,
    read_result,
    trainer_arguments,
)
from probes.finetuning.rows import MEASURED
from probes.finetuning.training import adapt
from probes.jobs.manifest import MANIFEST
from probes.report.page import ReportSettings, full_scale
from tests.columns import without_words
from tests.memory import without_collection
from tests.probes.commands import assert_refused, run_here
from tests.probes.finetuning.corpora import (
    GLUE_COLUMNS,
    write_alpaca,
    write_glue,
    write_squad,
    write_texts,
)
from tests.probes.finetuning.tuning import QUICK, tuned
from tests.torchrun import two_processes

pytestmark = pytest.mark.slow

CLASSES = {"stsb": 1, "mnli": 3}


@pytest.mark.parametrize("name", GLUE_COLUMNS)
def test_every_task_of_glue_is_learned_and_measured(name, models, tmp_path):
    data = write_glue(name, tmp_path, CLASSES.get(name, 2))
    result = tuned(f"glue/{name}", models["classifier"], data=data)
    rows = result.rows
    assert rows["step"].tolist() == [0, 2, 4, 4]
    assert set(rows["inference"]) == {"expected weight", "ensemble"}
    assert rows["n"].unique().tolist() == [14]
    expected = {
        "cola": "Matthews correlation",
        "mrpc": "F1",
        "qqp": "F1",
        "stsb": "Pearson correlation",
    }
    assert rows["score_name"].unique().tolist() == [expected.get(name, "accuracy")]
    for column in ("train_loss", "test_loss", "gap"):
        assert rows[column].notna().all()
    assert rows["gap"].tolist() == pytest.approx((rows["test_loss"] - rows["train_loss"]).tolist())
    assert ("ece" in rows) == (name != "stsb")
    # The loss falls: something was learned.
    assert rows["train_loss"].iloc[-1] != rows["train_loss"].iloc[0]


def test_scores_are_those_of_the_saved_adapter(models, tmp_path, undrawn):
    data = write_glue("mrpc", tmp_path / "data", 2)
    result = tuned("glue/mrpc", models["classifier"], data=data, out=tmp_path / "out")
    (name,) = result.rows["adapter"].unique()
    adapter = tmp_path / "out/adapters" / name
    base = AutoModelForSequenceClassification.from_pretrained(models["classifier"])
    model = PeftModel.from_pretrained(base, adapter).eval()
    assert type(model.peft_config["default"]) is LoraDropoutConfig
    held = pd.read_parquet(tmp_path / "data/mrpc/validation-00000-of-00001.parquet")
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    inputs = tokenizer(held["sentence1"].tolist(), held["sentence2"].tolist(), padding=True,
                       return_tensors="pt")  # fmt: skip
    with torch.no_grad():
        logits = model(**inputs).logits
    labels = torch.tensor(held["label"].tolist())
    end = result.rows[(result.rows["step"] == 4) & (result.rows["inference"] != "ensemble")]
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert end["test_loss"].item() == pytest.approx(float(loss), rel=1e-4)
    accuracy = (logits.argmax(-1) == labels).double().mean()
    assert end["accuracy"].item() == pytest.approx(float(accuracy))


def test_every_column_stands_in_the_glossary(models, tmp_path):
    """Of the tables of small runs a test sees to it; this needs a model."""
    data = write_glue("rte", tmp_path / "data", 2)
    result = tuned("glue/rte", models["classifier"], data=data, p=0.3, ensemble=2, training=QUICK)
    measured = set(MEASURED.values()) - {"bins"}
    assert not without_words(measured | set(result.rows) | set(result.summary))


def test_masks_at_test_alone_are_those_of_an_ensemble_and_mnli_has_two_held_out_sets(
    models, tmp_path
):
    """Members by hand: the factors of the saved adapter with rows and columns set to 0."""
    data = write_glue("mnli", tmp_path / "data", 3)
    rows = tuned("glue/mnli", models["classifier"], data=data, out=tmp_path / "out", p=0.0,
                 drop_at_test=0.5, training=QUICK | {"learning_rate": 0.3}).rows  # fmt: skip
    end = rows[rows["step"] == 4].set_index("inference")
    assert list(end.index) == ["no masks", "at test alone, p = 0.5"]
    assert rows["accuracy_mismatched"].notna().sum() == 2

    tokenizer = AutoTokenizer.from_pretrained(models["classifier"])
    adapter = tmp_path / "out/adapters" / rows["adapter"].iloc[0]
    sets = {
        name: pd.read_parquet(tmp_path / f"data/mnli/validation_{name}-00000-of-00001.parquet")
        for name in ("matched", "mismatched")
    }

    def logits_of(member):
        base = AutoModelForSequenceClassification.from_pretrained(
            models["classifier"], num_labels=3, ignore_mismatched_sizes=True
        )
        model = PeftModel.from_pretrained(base, adapter).eval()
        for number, (_, layer) in enumerate(adapted_layers(model)):
            A, B = layer.factors
            shape = LayerShape(A.shape[1], B.shape[0], 0.5, 0.5)
            if member is not None:
                masks, widths = smallest_step_masks(
                    [(number, shape, False)], seed=0, step=ENSEMBLE_STEP,
                    samples=range(member, member + 1),
                )  # fmt: skip
                columns, kept = masks[0].split(widths)
                A.data *= columns
                B.data *= kept[:, None]
        texts = {
            name: tokenizer(*(held[one].tolist() for one in GLUE_COLUMNS["mnli"]), padding=True,
                            return_tensors="pt")
            for name, held in sets.items()
        }  # fmt: skip
        with torch.no_grad():
            return {name: model(**inputs).logits for name, inputs in texts.items()}

    alone, members = logits_of(None), [logits_of(member) for member in (0, 1)]
    for inference, found in (
        ("no masks", alone),
        ("at test alone, p = 0.5", {name: (members[0][name] + members[1][name]) / 2
                                    for name in sets}),
    ):  # fmt: skip
        labels = {name: torch.tensor(held["label"].tolist()) for name, held in sets.items()}
        loss = torch.nn.functional.cross_entropy(found["matched"], labels["matched"])
        # float32, sums of a few hundred terms.
        assert end.loc[inference, "test_loss"] == pytest.approx(float(loss), rel=1e-4)
        right = (found["mismatched"].argmax(-1) == labels["mismatched"]).double().mean()
        assert end.loc[inference, "accuracy_mismatched"] == pytest.approx(float(right))
    assert end["test_loss"].nunique() == 2


def test_a_network_saved_in_half_precision_is_trained_in_single_precision(models, tmp_path):
    """As DeBERTa-v3-base is on the hub: Adam makes NaN of a new head in float16."""
    data = write_glue("rte", tmp_path / "data", 2)
    model = AutoModelForSequenceClassification.from_pretrained(models["classifier"])
    rows = []
    for name, dtype in (("half", torch.float16), ("single", torch.float32)):
        shutil.copytree(models["classifier"], tmp_path / name)
        model.to(dtype).save_pretrained(tmp_path / name)
        assert load_file(tmp_path / name / "model.safetensors")["classifier.bias"].dtype is dtype
        rows.append(tuned("glue/rte", str(tmp_path / name), data=data).rows)
    assert rows[0]["test_loss"].notna().all()
    assert rows[0]["test_loss"].tolist() == rows[1]["test_loss"].tolist()


def test_a_run_that_diverges_ends_with_rows_of_nothing(models, tmp_path):
    data = write_glue("rte", tmp_path / "data", 2)
    training = QUICK | {"learning_rate": 1e30, "max_grad_norm": 0.0}
    rows = tuned("glue/rte", models["classifier"], data=data, training=training).rows
    end = rows[rows["step"] == rows["steps"]]
    assert set(end["inference"]) == {"expected weight", "ensemble"}
    assert end["test_score"].isna().all()


def test_adalora_is_tuned(models, tmp_path, undrawn):
    data = write_glue("rte", tmp_path / "data", 2)
    training = QUICK | {"max_steps": 10, "eval_steps": 5, "save_steps": 5}
    result = tuned("glue/rte", models["classifier"], data=data, method="adalora", training=training,
                   out=tmp_path / "out")  # fmt: skip
    assert result.rows["method"].unique().tolist() == ["adalora"]
    base = AutoModelForSequenceClassification.from_pretrained(models["classifier"])
    (name,) = result.rows["adapter"].unique()
    assert name.startswith("rte-adalora-p0.3-N1-seed0-")
    model = PeftModel.from_pretrained(base, tmp_path / "out/adapters" / name)
    config = model.peft_config["default"]
    assert type(config) is AdaLoraDropoutConfig
    assert sum(sum(kept) for kept in config.rank_pattern.values()) <= 2 * len(config.rank_pattern)


def test_adalora_takes_ranks_when_it_is_told_to(models, tmp_path, undrawn):
    """Of 12 steps the first 3 and the last 5 leave the ranks alone; in between, every other one."""
    data = write_glue("rte", tmp_path / "data", 2)
    tuned("glue/rte", models["classifier"], data=data, method="adalora",
          training=QUICK | {"max_steps": 12, "eval_steps": 12, "save_steps": 12}, rank=2,
          init_rank=5, tinit=3, tfinal=5, delta_t=2, out=tmp_path / "out")  # fmt: skip
    (folder,) = (tmp_path / "out/adapters").iterdir()
    config = PeftConfig.from_pretrained(folder)
    found = (config.init_r, config.target_r, config.tinit, config.tfinal, config.deltaT)
    assert found == (5, 2, 3, 5, 2)
    assert config.total_step == 12
    assert sum(sum(kept) for kept in config.rank_pattern.values()) == 2 * len(config.rank_pattern)


@pytest.mark.parametrize("name", ["squad", "squad_v2"])
def test_questions_are_answered(name, models, tmp_path):
    data = write_squad(name, tmp_path, lambda number: name == "squad" or number % 3)
    result = tuned(name, models["reader"], data=data)
    rows = result.rows
    assert rows["score_name"].unique().tolist() == ["F1"]
    assert rows["test_score"].between(0, 1).all()
    assert rows["exact_match"].between(0, 1).all()
    assert (rows["exact_match"] <= rows["test_score"] + 1e-9).all()


def test_instructions_are_followed_and_the_adapter_is_written(models, tmp_path):
    data = write_alpaca(tmp_path / "data")
    result = tuned("alpaca", models["writer"], data=data, tokens=40, samples=2,
                   out=tmp_path / "out")  # fmt: skip
    rows = result.rows
    assert rows["test_loss"].notna().all()
    # Every token counts alike, however many answers are in a batch.
    training = QUICK | {"per_device_eval_batch_size": 3}
    few = tuned("alpaca", models["writer"], data=data, tokens=40, samples=2, training=training)
    assert few.rows["test_loss"].to_numpy() == pytest.approx(rows["test_loss"], rel=1e-5)
    assert few.rows["train_loss"].to_numpy() == pytest.approx(rows["train_loss"], rel=1e-5)
    assert "ece" not in rows
    (name,) = rows["adapter"].unique()
    assert name.startswith("alpaca-lora-p0.3-N2-seed0-")
    assert (tmp_path / "out/adapters" / name / "adapter_config.json").exists()
    assert (tmp_path / "out/finetune.png").stat().st_size > 0


def test_a_file_of_ones_own(models, tmp_path):
    file = write_texts(tmp_path / "mine.csv")
    result = tuned(file, models["classifier"], n=10, text_column="review", label_column="liked",
                   p=[0.0, 0.3], draws=2)  # fmt: skip
    rows = result.rows
    assert rows.groupby("p")["draw"].nunique().tolist() == [2, 2]
    assert set(rows.loc[rows["p"] == 0, "inference"]) == {"no masks"}
    assert len(result.summary) == 3
    pool = rows["pool"].unique().item()
    assert f"S holds {10 / pool:.0%} of the data" in result.caption
    assert rows["ece_floor"].notna().all()
    result.plot()
    result.curves().plot()
    result.calibration().plot()


@pytest.mark.parametrize(("strategy", "steps"), [("steps", [0, 2, 4, 5]), ("no", [0, 5])])
def test_the_end_is_always_evaluated(strategy, steps, models, tmp_path):
    data = write_glue("rte", tmp_path, 2)
    training = QUICK | {"max_steps": 5, "eval_strategy": strategy}
    result = tuned("glue/rte", models["classifier"], data=data, ensemble=0, training=training)
    assert result.rows["step"].tolist() == steps
    assert len(result.summary) == 1


def test_the_ensemble_is_evaluated_along_training_where_asked(models, tmp_path):
    data = write_glue("rte", tmp_path, 2)
    rows = tuned("glue/rte", models["classifier"], data=data, ensemble_along=True).rows
    assert rows.loc[rows["inference"] == "ensemble", "step"].tolist() == [0, 2, 4]


def test_on_a_terminal_nothing_stands_before_what_was_measured(
    models, tmp_path, monkeypatch, capsys
):
    """transformers' bar would write every evaluation to standard output, where --json goes."""
    terminal = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("probes.finetuning.training.sys", terminal)
    data = write_glue("rte", tmp_path, 2)
    tuned("glue/rte", models["classifier"], data=data, ensemble=0)
    said = capsys.readouterr()
    assert said.out == ""
    assert "4/4" in said.err


def test_members_of_the_same_seed_start_from_the_same_loss(models, tmp_path, monkeypatch):
    """Head, examples and order of a seed are the same for every rate: differences are paired."""
    data, made, left = write_glue("sst2", tmp_path, 2), [], []

    def adapt_and_see(model, *rest):
        left.extend(one() for one in made if one() is not None)
        made.append(weakref.ref(model))
        return adapt(model, *rest)

    monkeypatch.setattr("probes.finetuning.training.adapt", adapt_and_see)
    with without_collection():
        rows = tuned("glue/sst2", models["classifier"], data=data, p=[0.0, 0.5], ensemble=0).rows
    # A model would be kept in memory beside the next one.
    assert (len(made), left) == (2, [])
    first = rows[rows["step"] == 0]
    assert first["test_loss"].nunique() == 1
    assert first["train_loss"].nunique() == 1


def test_code_of_a_model_runs_only_where_it_is_trusted_by_name(models, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    folder, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(models["classifier"], folder)
    (folder / "own.py").write_text(
        f"import pathlib\nfrom transformers import BertForSequenceClassification\n"
        f"pathlib.Path({str(ran)!r}).touch()\n"
        f"class OwnForSequenceClassification(BertForSequenceClassification):\n    pass\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "own.OwnForSequenceClassification"}
    (folder / "config.json").write_text(json.dumps(config))
    file = write_texts(tmp_path / "mine.csv")
    settings = {"n": 10, "text_column": "review", "label_column": "liked"}
    plain = tuned(file, str(folder), **settings)
    assert not ran.exists()
    trusted = tuned(file, str(folder), trust_remote_code=True, **settings)
    assert ran.exists()
    assert trusted.rows["test_loss"].tolist() == plain.rows["test_loss"].tolist()


def test_what_is_kept_is_not_run_again(models, tmp_path, undrawn, monkeypatch):
    data = write_glue("rte", tmp_path / "data", 2)
    settings = {"data": data, "out": tmp_path / "out"}
    first = tuned("glue/rte", models["classifier"], **settings)
    monkeypatch.setattr("probes.finetuning.training._run", None)
    again = tuned("glue/rte", models["classifier"], **settings)
    pd.testing.assert_frame_equal(first.rows, again.rows)
    assert isinstance(again, FinetuneResult)


def test_two_processes_measure_what_one_does(models, tmp_path, undrawn):
    data = write_glue("rte", tmp_path / "data", 2)
    # The model's own dropout draws anew in each process.
    model = shutil.copytree(models["classifier"], tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    # Whole batches, as Accelerate fills up the last one with examples that were there already; and
    # not Adam, whose first steps have the size of the rate however small the gradient is.
    shared = [
        "--examples", "12", "--held-out", "12", "--task", "glue/rte", "--data", data, "--model",
        str(model), "--dropout-rate", "0.3", "--ensemble", "2", "--rank", "2", "--tokens", "24",
        "--use_cpu", "--max_steps", "4", "--eval_steps", "2", "--json", "--optim", "sgd",
        "--learning_rate", "1.0",
    ]  # fmt: skip
    batches = ["--per_device_train_batch_size", "4", "--per_device_eval_batch_size", "12"]
    halves = ["--per_device_train_batch_size", "2", "--per_device_eval_batch_size", "6"]
    alone = run_here("finetune", *shared, *batches, "--out", "one", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    together = two_processes("probes.finetune", *shared, *halves, "--out", "two", cwd=tmp_path)
    assert len(json.loads(together.stdout)) == 2  # said once, not by every process
    one, two = (pd.read_parquet(tmp_path / folder / "rows.parquet") for folder in ("one", "two"))
    assert one["train_loss"].nunique() > 2
    for column in ("step", "train_loss", "test_loss", "test_score", "half_loss"):
        assert two[column].tolist() == pytest.approx(one[column].tolist(), rel=1e-5), column


def test_trainer_arguments_are_taken_by_their_own_names():
    given = trainer_arguments(["--learning_rate", "0.01", "--bf16", "--max-steps", "7"])
    assert given == {"learning_rate": 0.01, "bf16": True, "max_steps": 7}


@pytest.fixture
def refuse(models, tmp_path):
    def check(arguments, *words):
        rate = [] if "--p" in arguments else ["--p", "0.3"]
        shared = ["--model", models["classifier"], *rate]
        assert_refused("finetune", [*shared, *arguments], words, tmp_path)

    return check


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "glue/wnli"], ["task", "glue/cola", "glue/wnli"]),
        (["--task", "nowhere.csv"], ["task", "nowhere.csv"]),
        (["--data", "nowhere"], ["data", "nowhere"]),
        (["--p", "1"], ["p must be in"]),
        (["--method", "dora"], ["method", "adalora"]),
        (["--samples", "0"], ["samples"]),
        (["--max_steps", "many"], ["max_steps"]),
        (["--wrong_argument", "1"], ["wrong_argument"]),
        (["--output_dir", "x"], ["output_dir", "--out"]),
        (["--rank", "0"], ["rank"]),
        (["--tinit", "3"], ["tinit", "without --method adalora"]),
        (["--method", "adalora", "--init-r", "3"], ["init_rank", "at least 8"]),
    ],
)  # fmt: skip
def test_bad_values_are_one_line_and_write_nothing(arguments, words, refuse):
    refuse(arguments, *words)


def refused(tmp_path, *arguments):
    done = run_here("finetune", *arguments, "--p", "0.3", "--use_cpu", "--max_steps", "2",
                    cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2, done.stderr
    *read, error = done.stderr.strip().splitlines()
    assert error.startswith("error: "), done.stderr
    # What was read before is said.
    assert all("used" in line for line in read), done.stderr
    return error


def test_bad_data_and_models_are_one_line(models, tmp_path):
    model = ["--model", models["classifier"]]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no file of split 'train'" in refused(tmp_path, *model, "--data", str(empty))
    missing = write_glue("cola", tmp_path / "missing", 2,
                         lambda split, table: table.drop(columns="sentence"))  # fmt: skip
    said = refused(tmp_path, *model, "--task", "glue/cola", "--data", missing)
    assert "no column sentence" in said
    outside = write_glue("rte", tmp_path / "outside", 4)
    said = refused(tmp_path, *model, "--task", "glue/rte", "--data", outside)
    assert "must be from 0 to 1; got 2" in said
    data = write_glue("sst2", tmp_path / "data", 2)
    known = ["--task", "glue/sst2", "--data", data]
    assert "n must be from 2 to 14" in refused(tmp_path, *model, *known, "--n", "99")
    assert "a folder with a config.json" in refused(tmp_path, "--model", str(empty), *known)
    assert "target" in refused(tmp_path, *model, *known, "--target", "nothing")
    file = write_texts(tmp_path / "mine.csv")
    assert "no column 'text'" in refused(tmp_path, *model, "--task", file, "--n", "5")


def test_no_memory_is_one_line(models, tmp_path, monkeypatch):
    from probes.finetuning import training

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "_run", full)
    data = write_glue("rte", tmp_path, 2)
    with pytest.raises(ValueError, match="does not fit into memory"):
        tuned("glue/rte", models["classifier"], data=data)


def test_the_hub_is_not_asked_where_it_cannot_be(tmp_path, monkeypatch):
    """As with HF_HUB_OFFLINE=1, which is read where the hub's library is imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = run_here("finetune", "--task", "glue/rte", "--model", "no/such-model", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no/such-model" in done.stderr


def test_a_constant_prediction_has_no_correlation():
    import numpy as np

    from probes.finetuning.classification import regression_metrics

    found = regression_metrics(
        SimpleNamespace(predictions=np.ones((4, 1)), label_ids=np.arange(4.0))
    )
    assert math.isnan(found["score"])


def test_the_report_shows_full_scale_runs(models, tmp_path):
    file = write_texts(tmp_path / "mine.csv")
    tuned(file, models["classifier"], n=10, text_column="review", label_column="liked",
          out=tmp_path / "runs")  # fmt: skip
    section = full_scale(tmp_path / "runs", 1)
    assert len(section.pictures) == 3
    assert "--learning_rate 0.01" in section.command
    assert len(section.finding.tables[0].table)
    with pytest.raises(ValueError, match="finished runs"):
        ReportSettings(runs=(tmp_path,)).plans()


def test_damaged_runs_are_named(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(ValueError, match="no finished runs that can be read"):
        read_result(tmp_path)


def test_adapters_that_differ_in_anything_lie_apart_and_rows_say_where(models, tmp_path, undrawn):
    file = write_texts(tmp_path / "mine.csv")
    shared = {
        "n": 10, "text_column": "review", "label_column": "liked", "ensemble": 0,
        "out": tmp_path / "out",
    }  # fmt: skip
    found = {}
    for rank, steps in ((2, 4), (4, 4), (2, 3), (2, 4)):
        training = QUICK | {"max_steps": steps}
        # A folder holds the results of one run; its cells and adapters are those of all.
        (tmp_path / "out" / MANIFEST).unlink(missing_ok=True)
        rows = tuned(file, models["classifier"], **shared, rank=rank, training=training).rows
        (name,) = rows["adapter"].unique()
        config = tmp_path / "out/adapters" / name / "adapter_config.json"
        assert json.loads(config.read_text())["r"] == rank
        assert found.setdefault((rank, steps), name) == name
    kept = {path.name for path in (tmp_path / "out/adapters").iterdir()}
    assert kept == set(found.values())
    assert len(kept) == 3

"""Every flag of probes.finetune is run from end to end, those that meet in one run together."""

import json
import shutil
from dataclasses import fields
from shlex import split

import pandas as pd
import pytest

from probes.finetune import FinetuneSettings
from tests.probes.commands import run_here
from tests.probes.finetuning.corpora import SENTENCES, write_glue

pytestmark = [
    pytest.mark.slow,
    # AdaLoRA may leave a layer no rank at all, of which PEFT thinks that it was saved by mistake.
    pytest.mark.filterwarnings("ignore:Adapter 'default':UserWarning"),
]

QUICK = split(
    "--use_cpu --max_steps 3 --eval_steps 3 --save_steps 2 --per_device_train_batch_size 4 "
    "--learning_rate 0.01 --tokens 16 --rank 2"
)
#: Pairs in another encoding, two methods and rates with two seeds each, N in training and at test.
PAIRS = split(
    "--task pairs.tsv --encoding cp1252 --text-column a --pair-column b --label-column ist "
    "--held-out-file held.tsv --held-out 6 --n 10 --draws 2 --seed 3 --method lora adalora "
    "--p 0 0.5 --samples 2 --grouped --ensemble 2 --ensemble-along --drop-at-test 0.4 "
    "--alpha 8 --init-rank 3 --tinit 1 --tfinal 1 --delta-t 1 --target query value "
    "--trust-remote-code --pad-token [PAD] --out pairs"
)
NUMBERS = split(
    "--task numbers.jsonl --regression --n 10 --own-masks --out numbers "
    "--strength 0.3 --regularizer LoRA 'LoRA Dropout'"
)
RECOMMENDED = split("--task glue/rte --data data --adapter-config adapter --out config")


@pytest.fixture
def place(tmp_path, undrawn):
    lines = [f"{one}\t{SENTENCES[i - 1]}\t{'größer' if i % 3 else 'kleiner'}"
             for i, one in enumerate(SENTENCES)]  # fmt: skip
    for name, some in (("pairs", lines[:18]), ("held", lines[18:])):
        text = "\n".join(["a\tb\tist", *some])
        (tmp_path / f"{name}.tsv").write_text(text, encoding="cp1252")
    numbers = [json.dumps({"text": one, "label": i / 4}) for i, one in enumerate(SENTENCES)]
    (tmp_path / "numbers.jsonl").write_text("\n".join(numbers))
    write_glue("rte", tmp_path / "data", 2)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "dropout_rate": 0.3}
    ))  # fmt: skip
    return tmp_path


def test_the_plan_has_every_flag():
    flags = {f"--{one.name.replace('_', '-')}" for one in fields(FinetuneSettings)}
    given = {*PAIRS, *NUMBERS, *RECOMMENDED, *QUICK, "--model"}
    assert flags - {"--training"} <= given


def test_seeds_methods_and_rates_go_on_where_they_were_killed(models, place):
    asked = [*PAIRS, *QUICK, "--model", models["classifier"]]
    done = run_here("finetune", *asked, cwd=place)
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(place / "pairs/rows.parquet")
    end = rows[rows["step"] == 3]
    assert end.groupby(["method", "p", "inference"])["draw"].apply(list).to_dict() == {
        (method, p, inference): [3, 4] for method in ("lora", "adalora")
        for p, inference in ((0.0, "no masks"), (0.0, "at test alone, p = 0.4"),
                             (0.5, "expected weight"), (0.5, "ensemble"))
    }  # fmt: skip
    assert set(rows["step"]) == {0, 3}
    assert "classes größer 12, kleiner 6" in done.stderr
    # As if killed: the table of one run is gone, and all that it did after its second step.
    (key,) = {one.rpartition("-")[2] for one in rows[rows["method"].eq("adalora")
              & rows["p"].eq(0.5) & rows["draw"].eq(4)]["adapter"]}  # fmt: skip
    for lost in (place / "pairs/checkpoints" / key).glob("checkpoint-3"):
        shutil.rmtree(lost)
    assert (place / "pairs/checkpoints" / key / "checkpoint-2").is_dir()
    for lost in place.glob(f"pairs/**/*{key}*.parquet"):
        lost.unlink()
    done = run_here("finetune", *asked, cwd=place)
    assert done.returncode == 0, done.stderr
    again = pd.read_parquet(place / "pairs/rows.parquet")
    timed = ["seconds", "peak_mib"]
    pd.testing.assert_frame_equal(again.drop(columns=timed), rows.drop(columns=timed))
    assert again["seconds"].ne(rows["seconds"]).any()


def test_numbers_are_learned_by_methods_with_masks_of_their_own_a_part(models, place):
    asked = [*NUMBERS, *QUICK, "--gradient_accumulation_steps", "2"]
    done = run_here("finetune", *asked, "--model", models["classifier"], cwd=place)
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(place / "numbers/rows.parquet")
    assert rows["method"].unique().tolist() == ["lora, LoRA", "lora, LoRA Dropout 0.3"]
    assert rows[["own_masks", "score_name"]].drop_duplicates().to_numpy().tolist() == [
        [True, "Pearson correlation"]
    ]


def test_what_a_config_says_is_tuned(models, place):
    done = run_here(
        "finetune", *RECOMMENDED, *QUICK[:-2], "--model", models["classifier"], cwd=place
    )
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(place / "config/rows.parquet")
    assert rows[["p", "rank", "alpha"]].drop_duplicates().to_numpy().tolist() == [[0.3, 2, 4]]

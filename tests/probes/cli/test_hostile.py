"""Whatever is said on the command line or lies in a file: one line and status 2, no traceback."""

import contextlib
import dataclasses
import importlib
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from probes.__main__ import questions
from probes.tasks.text import TextSource, read_texts
from tests.probes.commands import run_here
from tests.probes.finetuning.corpora import save_model

pytestmark = pytest.mark.slow

#: Arguments that keep a run small, where nothing else is said.
SMALL = {
    "stability": ["--task", "breast_cancer", "--n", "6", "--draws", "2", "--steps", "2"],
    "generalization": ["--task", "breast_cancer", "--n", "6", "--draws", "2", "--steps", "2"],
    "ensemble": ["--task", "breast_cancer", "--n", "6", "--draws", "2", "--steps", "2"],
    "information": ["--task", "breast_cancer", "--n", "6", "--draws", "2", "--steps", "2",
                    "--selections", "4"],
    "curves": ["--task", "breast_cancer", "--n", "6", "--draws", "2", "--steps", "2"],
    "calibration": ["--task", "breast_cancer", "--n", "6", "--draws", "2", "--steps", "2"],
    "ablation": ["--task", "breast_cancer", "--n", "6", "--draws", "2", "--steps", "2"],
    "sensitivity": ["--task", "breast_cancer", "--n", "6", "--draws", "2", "--steps", "2"],
    "attribution": ["--task", "breast_cancer", "--n", "6", "--steps", "2", "--subsets", "3"],
    "comparison": ["--n", "20", "--draws", "2"],
    "verify": ["--statement", "sparsity"],
    "coverage": ["--task", "breast_cancer", "--n", "10", "--draws", "2", "--steps", "2"],
    "cost": ["--rounds", "1", "--width", "24", "--heads", "2", "--tokens", "4", "--batch", "2",
             "--samples", "1", "--ensemble", "1"],
    "own_model": ["--own", "mine.py:own", "--n", "4", "--draws", "1"],
    "rivals": ["--task", "breast_cancer", "--n", "8", "--draws", "2", "--tuning-draws", "1",
               "--steps", "2", "--trainings", "1", "--method", "weight decay"],
    "recommend": ["--task", "breast_cancer", "--n", "6", "--steps", "2", "--minutes", "0.01",
                  "--trainings", "1"],
    "finetune": ["--task", "texts.csv", "--model", "broken"],
}  # fmt: skip
HOSTILE = (
    "", " ", "nan", "inf", "-inf", "-1", "0", "1", "1e400", "1.5", "0.5", "9" * 23, "-" + "9" * 23,
    "é\u202e", "../..", "/dev/null", "/proc/self/mem", "/", "None", "true", "[1,2]", "{}",
    "a" * 5000, "digits", "text", "ray", "cuda", "penalty", "--", "-", "%s%n", "$(id)",
    "a\nb", "lora_dropout",
)  # fmt: skip
OWN = """
import torch
from torch import nn
from probes.own_model import OwnModel

features = torch.arange(24.0).reshape(8, 3)
own = OwnModel(nn.Linear(3, 1), features, features[:, 0], lambda a, b: (a[:, 0] - b) ** 2, steps=2)
"""
#: Not fuzzed: they start processes, ask the hub, or are what the run is kept small by.
LEFT_OUT = ("workers", "engine", "address", "json", "training", "out", "statement", "model")


def test_every_question_with_flags_is_tried():
    assert {*SMALL, "report"} == {*questions()}


def flags(probe):
    settings = importlib.import_module(f"probes.{probe}").PROBE.settings
    return [field.name for field in dataclasses.fields(settings) if field.name not in LEFT_OUT]


@st.composite
def command_lines(draw, probe):
    """One to three flags of a probe, or words that are none, with values that are no good."""
    names = st.sampled_from([*flags(probe), "no_such_flag"])
    found = []
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        values = draw(st.lists(st.sampled_from(HOSTILE), max_size=2))
        found += [f"--{name.replace('_', '-')}", *values]
    return found


@pytest.mark.parametrize("probe", SMALL)
def test_no_command_line_gives_a_traceback(probe, tmp_path):
    texts = pd.DataFrame({"text": list("abcd"), "label": [0, 1, 0, 1]})
    texts.to_csv(tmp_path / "texts.csv", index=False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{}")
    (tmp_path / "mine.py").write_text(OWN)

    @settings(
        max_examples=25,
        deadline=60_000,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(words=command_lines(probe))
    def check(words):
        done = run_here(probe, *SMALL[probe], *words, cwd=tmp_path)
        assert done.returncode in (0, 1, 2), words
        if done.returncode == 2:
            assert len(done.stderr.strip().splitlines()) == 1, (words, done.stderr)
            assert done.stderr.startswith("error: "), (words, done.stderr)
        assert not list(tmp_path.rglob(".*.partial")), words

    check()


ANY_BYTES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(str.encode),
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=3)), max_size=12).map(
        lambda rows: pd.DataFrame(rows, columns=["text", "label"]).to_csv(index=False).encode(
            errors="surrogatepass"
        )
    ),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(content=ANY_BYTES, ending=st.sampled_from([".csv", ".parquet", ""]))
@example(content=b"", ending=".csv")
@example(content=b"PAR1", ending=".parquet")
@example(content=b'text,label\n"a', ending=".csv")
def test_no_data_file_gives_a_traceback(tmp_path_factory, content, ending):
    file = tmp_path_factory.getbasetemp() / f"hostile{ending}"
    file.write_bytes(content)
    source = TextSource(data=str(file), text_column="text", label_column="label", model="none")
    with contextlib.suppress(ValueError):
        assert read_texts(source)["label"].nunique() >= 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Path(save_model("classifier", tmp_path_factory.mktemp("hostile") / "model"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_model_folder_gives_a_traceback(model, tmp_path_factory, data):
    """A file of a model's folder is cut short, has a byte changed, or is something else."""
    from probes.models.pretrained import load_pretrained

    folder = tmp_path_factory.getbasetemp() / "harmed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    file = folder / data.draw(st.sampled_from(sorted(os.listdir(folder))))
    content = file.read_bytes()
    at = data.draw(st.integers(0, max(0, len(content) - 1)))
    harm = data.draw(st.sampled_from(["cut", "change", "other", "gone"]))
    if harm == "gone":
        file.unlink()
    else:
        other = data.draw(st.sampled_from([b"", b"[]", b"null", b"{}", b"\xff\xfe", b"0"]))
        changed = content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :]
        file.write_bytes({"cut": content[:at], "change": changed, "other": other}[harm])
    for kind in ("AutoTokenizer", "AutoModelForSequenceClassification"):
        with contextlib.suppress(ValueError):
            load_pretrained(kind, str(folder))

"""The tables of the page on rivals are what the kept rows give, computed here by other means."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/findings/rivals.md").read_text(encoding="utf-8")
#: By words before a table: the kept rows that its columns of differences are of, by the number of
#: the column, and the digits that are told.
TABLES = {
    "## Each method at one strength": (
        {0: "rivals-small-digits-32", 1: "rivals-small-digits-64", 2: "rivals-small-digits-128",
         3: "rivals-small-digits-256", 4: "rivals-small-digits-512",
         5: "rivals-small-breast_cancer-64"}, 3,
    ),
    "## MiniLM, and does": ({1: "rivals-full-tweets-64", 4: "rivals-small-tweets-64"}, 4),
    "**512 tweets:**": ({1: "rivals-full-tweets-512"}, 4),
    "**4,096 tweets:**": ({1: "rivals-full-tweets-4096"}, 4),
}  # fmt: skip


def rows_after(words):
    """Rows of the first table after some words: the cells of each, by the method's name."""
    table = re.search(r"(?:^\|.*\n)+", PAGE[PAGE.index(words) :], re.MULTILINE)
    rows = [line.strip("|").split("|") for line in table.group().splitlines()[2:]]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in rows}


def method_of(name):
    """``LoRA Dropout, N = 4, p = 0.3`` as a method and its strength."""
    plain = name.replace("`", "").replace("p = ", "").replace("2 in place of 8", "0.75")
    method, _, strength = plain.rpartition(", ")
    return (method, float(strength)) if re.fullmatch(r"[\d.]+", strength) else (plain, 0.0)


def told(file, digits, reference=("LoRA", 0.0)):
    """What is told of every method less LoRA: mean, half of the interval, and whether it is not 0.

    Student's test, Holm's correction; draws of a fifth or more of the data share examples, for
    which the interval is wider by Nadeau & Bengio 2003.
    """
    rows = pd.read_csv(ROOT / f"benchmarks/results/{file}.csv")
    wide = rows.pivot(index="draw", columns=["method", "strength"], values="test_loss")
    less = wide.sub(wide[reference], axis=0).drop(columns=[reference])
    share = rows["n"].iloc[0] / rows["pool"].iloc[0]
    wider = np.sqrt(1 + len(less) * share / (1 - share)) if share >= 0.2 else 1.0
    test = ttest_1samp(less.mean() + wider * (less - less.mean()), 0.0)
    _, high = test.confidence_interval(0.95)
    order = np.argsort(test.pvalue)
    corrected = np.maximum.accumulate(test.pvalue[order] * np.arange(len(order), 0, -1))
    stars = dict(
        zip(less.columns[order], [" *" if p <= 0.05 else "" for p in corrected], strict=True)
    )
    return {
        method: f"{mean:+.{digits}f} ± {end - mean:.{digits}f}{stars[method]}".replace("-", "−")
        for method, mean, end in zip(less.columns, less.mean(), high, strict=True)
    }


@pytest.mark.parametrize("words", TABLES)
def test_a_table_is_what_its_rows_give(words):
    columns, digits = TABLES[words]
    shown = {method_of(name): cells for name, cells in rows_after(words).items()}
    for column, file in columns.items():
        found = {
            method: cells[column].removesuffix(", equal")
            for method, cells in shown.items()
            if "±" in cells[column]
        }
        assert found == told(file, digits)


@pytest.mark.parametrize(
    ("column", "rows", "digits"),
    [(0, "digits-32", 2), (1, "digits-64", 2), (2, "digits-128", 2), (3, "digits-256", 2),
     (4, "breast_cancer-64", 3)],
)  # fmt: skip
def test_the_table_of_four_seeds_is_what_their_rows_give(column, rows, digits):
    shown = {method_of(name): cells for name, cells in rows_after("### With four seeds").items()}
    found = {
        method: [one.strip() for one in cells[column].split(",")] for method, cells in shown.items()
    }
    folders = ("", "seed-1/", "seed-2/", "seed-3/")
    all_told = [told(f"{folder}rivals-small-{rows}", digits) for folder in folders]
    expected = {
        method: [re.sub(r" ± [\d.]+", "", one.get(method, "–")) for one in all_told]
        for method in found
    }
    assert found == expected


def peft_against_dropout(strength, *sizes):
    """PEFT's dropout less LoRA Dropout at p = 0.1, by size and seed: differences, and the stars."""
    folders = ("", "seed-1/", "seed-2/", "seed-3/")
    texts = [
        told(f"{folder}rivals-small-digits-{n}", 4, ("LoRA Dropout", 0.1))
        for n in sizes for folder in folders
    ]  # fmt: skip
    texts = [one["PEFT lora_dropout", strength].replace("−", "-") for one in texts]
    return [float(one.split(" ± ")[0]) for one in texts], sum("*" in one for one in texts)


def test_what_is_said_of_peft_s_dropout_against_lora_dropout_is_what_the_rows_give():
    said = re.search(
        r"lower with every seed, by ([\d.]+) to ([\d.]+), detectably in (\d) of these 12 .*?higher "
        r"with every seed,\s+by ([\d.]+) to ([\d.]+), detectably in (\d) of 4. At 0.5 it differs "
        r"with 32 digits by −([\d.]+) to \+([\d.]+), not detectably",
        PAGE,
        re.DOTALL,
    ).groups()
    lower, of_12 = peft_against_dropout(0.3, 64, 128, 256)
    higher, of_4 = peft_against_dropout(0.3, 32)
    strong, none = peft_against_dropout(0.5, 32)
    assert len(lower) == 12
    sizes = [f"{one:.2f}" for one in (-max(lower), -min(lower), min(higher), max(higher))]
    of_32 = [f"{one:.2f}" for one in (-min(strong), max(strong))]
    assert said == (*sizes[:2], str(of_12), *sizes[2:], str(of_4), *of_32)
    assert none == 0


def test_tuned_with_dropout_the_learning_rate_is_as_many_times_lora_s_as_is_said():
    least, most = re.search(r"it takes (\d) to (\d) times LoRA's learning\s+rate", PAGE).groups()
    found = []
    for folder in ("", "seed-1/", "seed-2/", "seed-3/"):
        for n in (32, 64, 128):
            file = ROOT / f"benchmarks/results/{folder}rivals-small-digits-{n}.csv"
            rates = pd.read_csv(file).groupby(["method", "strength"])["lr"].first()
            found.append(rates["LoRA Dropout", 0.1] / rates["LoRA", 0.0])
    assert [f"{min(found):g}", f"{max(found):g}"] == [least, most]


def spread(rows):
    """By method, how much its mean varies over four seeds, in units of its own standard error."""
    found = []
    for folder in ("", "seed-1/", "seed-2/", "seed-3/"):
        table = pd.read_csv(ROOT / f"benchmarks/results/{folder}rivals-small-{rows}.csv")
        wide = table.pivot(index="draw", columns=["method", "strength"], values="test_loss")
        found.append(wide.sub(wide["LoRA", 0.0], axis=0).drop(columns=[("LoRA", 0.0)]))
    methods = found[1].columns
    means = np.array([less[methods].mean() for less in found])
    errors = np.array([less[methods].sem() for less in found])
    return means.std(0, ddof=1) / np.sqrt(np.square(errors).mean(0))


def test_what_is_said_of_the_spread_over_seeds_is_what_the_rows_give():
    least, most, at_128, on_cancer = re.search(
        r"\(([\d.]+) to ([\d.]+) times as\s+much, by method\), with 128 and on breast_cancer up to "
        r"([\d.]+) and ([\d.]+) times",
        PAGE,
    ).groups()
    few = np.concatenate([spread("digits-32"), spread("digits-64")])
    assert [f"{few.min():.1f}", f"{few.max():.1f}"] == [least, most]
    found = [f"{spread(rows).max():.1f}" for rows in ("digits-128", "breast_cancer-64")]
    assert found == [at_128, on_cancer]


def test_as_many_tuned_settings_stop_at_the_last_step_as_is_said():
    said = re.search(r"(\d+) of the (\d+) tuned settings on digits stop at the last of 300", PAGE)
    files = sorted((ROOT / "benchmarks/results").glob("rivals-small-digits-*.csv"))
    stops = [pd.read_csv(file).groupby(["method", "strength"])["stop"].first() for file in files]
    assert [int(one) for one in said.groups()] == [
        sum((one == 300).sum() for one in stops), sum(map(len, stops)),
    ]  # fmt: skip

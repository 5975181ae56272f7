"""Conclusions on other draws of S: each outcome has its like, and what is not the same is told."""

import pandas as pd
import pytest

from benchmarks import other_draws
from benchmarks.other_draws import KEYS, OtherDrawsSettings, compared, main, outcomes, tables
from probes.report.regimes import Regime
from probes.results.text_tables import print_table

REGIMES = [Regime("digits", lr, 64, 0.1, 0.7, 0.7, lr > 1e-3) for lr in (1e-3, 5e-3)]


def claims(*said):
    """What is said of beta at three rates, in the first regime and in the second."""
    items = ("p = 0.1", "p = 0.3", "p = 0.5")
    return {
        regime: {"β": dict(zip(items, some, strict=True))}
        for regime, some in zip(REGIMES, said, strict=True)
    }


FIRST = claims(("smaller", "smaller", "larger"), ("not told apart", "undecided", "smaller"))
SECOND = claims(("smaller", "not told apart (in 3 of 4 draws)", "smaller"),
                ("not told apart", "order alone", "smaller"))  # fmt: skip


@pytest.fixture
def studied(monkeypatch):
    """Two studies that say what is written above, by the seed of their results."""
    monkeypatch.setattr(other_draws, "SENTENCES", ())
    monkeypatch.setattr(other_draws, "measured", lambda study: {"seed": study.seed})
    monkeypatch.setattr(
        other_draws, "claimed", lambda results, plans: [FIRST if results["seed"] == 0 else SECOND]
    )


def test_outcomes_are_compared_by_topic_regime_and_item(studied):
    found = compared(outcomes({"seed": 0}, {}), outcomes({"seed": 1}, {}))
    assert found["verdict"].tolist() == [
        "same", "told with one seed alone", "different",
        "same", "told with one seed alone", "same",
    ]  # fmt: skip
    assert found["regime"].unique().tolist() == [
        "digits, learning rate 0.001", "digits, learning rate 0.005"
    ]  # fmt: skip


def test_an_outcome_that_one_study_lacks_is_told_by_the_other_alone(studied):
    whole = outcomes({"seed": 0}, {})
    found = compared(whole, whole[1:]).set_index(KEYS).loc[tuple(whole.loc[0, KEYS])]
    assert found.tolist() == ["smaller", "not measured", "told with one seed alone"]


def test_counts_and_all_that_is_not_the_same_are_printed(studied, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["other_draws", "--seed", "3"])
    main()
    printed = capsys.readouterr().out
    assert printed.endswith("6 outcomes: 3 same, 2 told with one seed alone, 1 different.\n")
    assert printed.count("order alone") == 1


def test_numbers_of_the_pages_are_those_of_the_other_draws(capsys):
    found = pd.DataFrame([("β", "digits", "p = 0.1", "smaller", "smaller", "same")],
                         columns=[*KEYS, "outcome", "other", "verdict"])  # fmt: skip
    for table in tables(found, 1, ["a loss of 0.12"]):
        print_table(table)
    assert "a loss of 0.12" in capsys.readouterr().out


def test_the_other_study_differs_in_seed_and_folder_alone(tmp_path):
    pages, others = OtherDrawsSettings(seed=2, out=tmp_path / "claims").studies()
    assert (pages.seed, pages.out.name) == (0, "claims")
    assert vars(pages) | {"seed": 2, "out": tmp_path / "claims-2"} == vars(others)


@pytest.mark.parametrize("seed", ["0", "-1"])
def test_a_seed_of_no_other_draws_is_refused(seed, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["other_draws", "--seed", seed])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("seed must be ")

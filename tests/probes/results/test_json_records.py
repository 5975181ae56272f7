"""Tables as JSON: what it has no number for is null or a word, and nothing is lost."""

import json

import numpy as np
import pandas as pd

from probes.results.json_records import as_json
from tests.probes.tables import INFINITE, NAN


def strict(text):
    """Parse JSON, and nothing that JSON does not know."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_table_is_a_list_of_records_in_order():
    table = pd.DataFrame({"p": [0.1, 0.3], "n": [8, 16], "verdict": ["holds", "ohne λ"]})
    assert strict(as_json(table)) == [
        {"p": 0.1, "n": 8, "verdict": "holds"}, {"p": 0.3, "n": 16, "verdict": "ohne λ"},
    ]  # fmt: skip
    assert "λ" in as_json(table)


def test_a_diverged_run_is_null_and_infinity_a_word():
    table = pd.DataFrame({"beta": [NAN, INFINITE, -INFINITE, 0.5]})
    assert [record["beta"] for record in strict(as_json(table))] == [None, "inf", "-inf", 0.5]


def test_numbers_of_numpy_are_numbers_and_truths_truths():
    content = {
        "float32": np.float32(0.5), "float64": np.float64(NAN), "int": np.int64(3),
        "bool": np.bool_(True), "low": np.float32(-np.inf), "python": True, "nothing": None,
    }  # fmt: skip
    found = strict(as_json(content))
    assert found == {
        "float32": 0.5, "float64": None, "int": 3, "bool": True, "low": "-inf", "python": True,
        "nothing": None,
    }  # fmt: skip
    assert found["bool"] is True
    assert isinstance(found["int"], int)


def test_what_is_nested_is_treated_alike():
    content = {
        "diverged": 1, "summary": pd.DataFrame({"beta": [NAN]}),
        "choice": {"equals": (0.1, np.float64(INFINITE)), "more": [{0.3: np.int32(2)}]},
    }  # fmt: skip
    assert strict(as_json(content)) == {
        "diverged": 1,
        "summary": [{"beta": None}],
        "choice": {"equals": [0.1, "inf"], "more": [{"0.3": 2}]},
    }


def test_an_empty_table_is_an_empty_list():
    assert strict(as_json(pd.DataFrame({"p": []}))) == []

"""Functions as command lines: what is refused is one line with status 2, what is called says so."""

import io
import json
import sys

import pandas as pd
import pytest

from probes.cli.command_line import print_document, run_functions
from probes.results.text_tables import TextTable, print_table


def weigh(n: int = 3) -> None:
    """Weigh.

    Args:
        n: stones.
    """
    if n < 0:
        raise ValueError(f"n must be at least 0; got {n}")
    print(f"{n} stones", file=sys.stderr)


def count() -> None:
    """Count."""
    print("counted")


@pytest.fixture
def answer(monkeypatch, capsys):
    def run(words, *asked):
        monkeypatch.setattr(sys, "argv", ["made", *words])
        with pytest.raises(SystemExit) as stop:
            run_functions(*asked)
        return stop.value.code or 0, *capsys.readouterr()

    return run


def test_a_function_is_called_with_its_flags_and_may_write_to_standard_error(answer):
    assert answer(["--n", "4"], weigh) == (0, "", "4 stones\n")
    assert answer(["count"], weigh, count) == (0, "counted\n", "")


@pytest.mark.parametrize(
    ("words", "asked", "said"),
    [
        (["--n", "-1"], [weigh], "n must be at least 0; got -1"),
        (["--n", "x"], [weigh], "n must be a whole number; got 'x' (see --help)"),
        (["weigh", "--n", "x"], [weigh, count], "n must be a whole number; got 'x' (see --help)"),
        (["--nope"], [weigh], "--nope"),
        (["nothing"], [weigh, count], "nothing"),
        ([], [weigh, count], "{weigh, count}"),
    ],
)
def test_what_is_wrong_is_one_line(answer, words, asked, said):
    status, shown, complaint = answer(words, *asked)
    assert (status, shown) == (2, "")
    assert complaint.startswith("error: ")
    assert said in complaint
    assert complaint.count("\n") == 1


def test_help_says_what_the_arguments_are(answer):
    status, shown, complaint = answer(["--help"], weigh)
    assert (status, complaint) == (0, "")
    assert "stones" in shown


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("ascii", "? = 0.5 ? 0.1"), ("latin-1", "? = 0.5 ± 0.1"), ("utf-8", "β = 0.5 ± 0.1")],
)
def test_an_output_that_lacks_signs_is_written_without_them(encoding, said, monkeypatch):
    def tell() -> None:
        """Tell."""
        print("β = 0.5 ± 0.1")
        print_table(TextTable(pd.DataFrame({"β": ["0.5 ± 0.1"]})))

    def export() -> None:
        """Export."""
        print_document(json.dumps({"β": "±"}, ensure_ascii=False))

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    for word in ("tell", "export"):
        monkeypatch.setattr(sys, "argv", ["made", word])
        with pytest.raises(SystemExit) as stop:
            run_functions(tell, export)
        assert not stop.value.code
    *lines, document = written.getvalue().splitlines()
    first, *table = [line.decode(encoding) for line in lines]
    assert first == said
    assert any("0.5 ± 0.1".translate({0xB1: said[-5]}) in line for line in table)
    assert (table[0][0] == "+") == (encoding != "utf-8")
    assert json.loads(document) == {"β": "±"}

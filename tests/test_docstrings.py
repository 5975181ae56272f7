"""Texts of one's own, made of docstrings."""

import pandas as pd
import pytest

from benchmarks.docstrings import main, summaries

MODULE = '''
def one():
    """Describe what the first function does.

    More."""

class Two:
    """Short."""

    def three(self): ...

    def four(self):
        """Describe what the fourth function does."""
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tests").mkdir()
    for place in ("module.py", "tests/test_module.py"):
        (tmp_path / place).write_text(MODULE)
    (tmp_path / "broken.py").write_text("def")
    return tmp_path


def test_first_lines_of_functions_outside_of_tests_are_taken(folder):
    assert list(summaries(folder)) == [
        "Describe what the first function does.", "Describe what the fourth function does.",
    ]  # fmt: skip


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages that can be found, of 20 functions each."""
    for name in ("firstpackage", "secondpackage"):
        functions = [
            f'def f{number}():\n    """Describe function {number} of the {name}."""\n'
            for number in range(20)
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("\n".join(functions))
    monkeypatch.syspath_prepend(tmp_path)
    return "firstpackage", "secondpackage"


def test_as_many_texts_of_each_package_are_written(packages, tmp_path, capsys):
    files = tmp_path / "texts.csv", tmp_path / "again.csv"
    for file in files:
        main(packages, each=15, out=file)
    table, again = (pd.read_csv(file) for file in files)
    assert list(table) == ["text", "label"]
    assert table["label"].value_counts().to_dict() == dict.fromkeys(packages, 15)
    assert all(row.label in row.text for row in table.itertuples())
    assert "30 texts" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again, table)


def test_what_cannot_be_written_is_refused(packages, tmp_path):
    for given, words in (
        ({"package": packages[:1]}, "package must be two or more"),
        ({"package": (packages[0], "no_such_package")}, "package must be an installed one"),
        ({"package": packages, "each": 21}, "each must be at most 20, all of firstpackage"),
    ):
        with pytest.raises(ValueError, match=words):
            main(**given, out=tmp_path / "texts.csv")

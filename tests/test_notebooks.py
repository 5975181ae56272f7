"""The notebooks that are shown are in step with their scripts, hold outputs, and are small."""

from pathlib import Path

import nbformat
import pytest

from tests.notebooks import notebook, on_the_way

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))


def shown(script):
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_cells_are_those_of_the_script(script):
    expected = [(cell.cell_type, cell.source) for cell in notebook(script).cells]
    assert [(cell.cell_type, cell.source) for cell in shown(script).cells] == expected


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_cell_was_executed_in_order_and_something_is_shown(script):
    code = [cell for cell in shown(script).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if on_the_way(output)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_is_small(script):
    assert script.with_suffix(".ipynb").stat().st_size < 400_000


def test_no_notebook_lost_its_script():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {
        script.stem for script in SCRIPTS
    }

"""Execute the notebooks and write them, with outputs, beside their scripts.

python -m tests.notebooks              # all of them
python -m tests.notebooks 02 07        # those whose name begins so
"""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "notebooks"


def notebook(script: Path) -> NotebookNode:
    """Read a script as a notebook without outputs, whose cells are named by their place."""
    made = jupytext.read(script)
    for place, cell in enumerate(made.cells):
        cell.id = f"cell-{place}"
        cell.metadata = NotebookNode()
    made.metadata = NotebookNode(kernelspec=made.metadata["kernelspec"])
    return made


def execute(made: NotebookNode) -> None:
    """Run every cell in the folder of the notebooks; what it says on the way is left out."""
    NotebookClient(
        made, timeout=1200, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    ).execute()
    for cell in made.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    made.metadata = NotebookNode(kernelspec=made.metadata["kernelspec"])


def main() -> None:
    """Execute the notebooks that are asked for."""
    chosen = tuple(sys.argv[1:]) or ("",)
    for script in sorted(FOLDER.glob("*.py")):
        if script.name.startswith(chosen):
            made = notebook(script)
            execute(made)
            nbformat.write(made, script.with_suffix(".ipynb"))
            print(script.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()

"""What is in the checkout is what is installed."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_package_is_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for name in ("theory", "lora_dropout", "probes", "figures")
        for init in (ROOT / name).rglob("__init__.py")
    }
    assert listed == found

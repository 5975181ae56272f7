"""The page on ensembles runs as it stands, and what it says of its numbers is so."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[1] / "docs/how-to/ensembles.md"


def test_its_blocks_run_one_after_the_other():
    torch.manual_seed(0)
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, PAGE.name, "exec"), names)
    assert names["logits"].shape == names["log_probabilities"].shape == (2, 6, 64)
    torch.testing.assert_close(names["log_probabilities"].exp().sum(-1), torch.ones(2, 6))
    assert names["members"].shape == (8, 2, 6, 64)
    # Information is not negative, and here the members do not agree.
    assert (names["disagreement"] > 1e-6).all()
    assert names["likeliest"].shape == names["drawn"].shape == (2, 10)
    # The first row has the adapter that it had before, the second another.
    torch.testing.assert_close(names["mixed"][0], names["logits"][0])
    assert not torch.allclose(names["mixed"][1], names["logits"][1])

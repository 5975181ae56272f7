"""What dropout adds at every place, and flaws of the formula that the masks find."""

import numpy as np
import pytest

from probes.statements.case import case_table
from probes.statements.place_cases import PLACES, added_by_masks, place_cases
from theory.arora2021 import dropout_regularizer


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_it_is_exact_for_the_squared_loss_alone(p):
    table = case_table(place_cases(p, 0))
    exact = table[table["failed"] == ""]
    assert exact["reading"].tolist() == list(PLACES)
    assert set(exact["verdict"]) == {"holds"}
    assert table.loc[table["failed"] != "", "verdict"].tolist() == ["fails without its premise"]


FLAWS = {
    "places add up": lambda x, A, B, p: sum(
        dropout_regularizer(x, A, B, **{place: p}) for place in ("p_in", "p_rank", "p_out")
    ),
    "p in the place of p/(1 - p)": lambda x, A, B, p: dropout_regularizer(
        x, A, B, p_in=p / (1 + p), p_rank=p / (1 + p), p_out=p / (1 + p)
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_planted_flaw_is_found(flaw):
    generator, p = np.random.default_rng(0), 0.3
    x, A, B = (generator.standard_normal(shape) for shape in ((3, 2), (2, 2), (2, 2)))
    added = added_by_masks(
        lambda y: np.square(y).sum(1), x, A, B, p_in=p, p_rank=p, p_out=p
    )  # fmt: skip
    assert (np.abs(FLAWS[flaw](x, A, B, p) - added) > 0.01 * added).all()

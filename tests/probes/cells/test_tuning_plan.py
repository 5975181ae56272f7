"""What is tried shrinks to the time that there is."""

from itertools import pairwise

import pytest

from probes.cells.tuning_plan import (
    PLANNED_CHOOSING,
    PLANNED_TELLING,
    Grid,
    fitting,
    least_seconds,
)
from probes.recommend import METHODS


def test_a_grid_shrinks_to_two_methods_of_one_training():
    grids = Grid(METHODS, 16).smaller()
    assert grids[0] == Grid(METHODS, 16)
    assert grids[-1] == Grid(METHODS[:2], 1)
    assert all(one.choosing_cost >= other.choosing_cost for one, other in pairwise(grids))


@pytest.mark.parametrize("seconds", [0.5, 5.0, 50.0, 500.0])
def test_the_grid_that_is_tried_fits_the_time(seconds):
    grid, training = Grid(METHODS, 16), 0.05
    found = fitting(grid, training, seconds)
    cost = PLANNED_CHOOSING * found.choosing_cost + PLANNED_TELLING * found.telling_cost
    assert cost * training <= seconds or found == grid.smaller()[-1]
    larger = [one for one in grid.smaller() if one.choosing_cost > found.choosing_cost]
    for one in larger:
        cost = PLANNED_CHOOSING * one.choosing_cost + PLANNED_TELLING * one.telling_cost
        assert cost * training > seconds


def test_two_methods_of_one_training_are_the_least():
    grid = Grid(METHODS, 16)
    least = least_seconds(grid, 2.0)
    assert fitting(grid, 2.0, 1.01 * least) == Grid(METHODS[:2], 1)
    assert fitting(grid, 2.0, 0.99 * least) is None

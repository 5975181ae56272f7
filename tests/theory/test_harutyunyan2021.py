"""f-CMI: the information of predictions."""

import numpy as np
import pytest

from tests.theory.pair_laws import gap, law
from theory.harutyunyan2021 import prediction_information_gap_bound


def test_predictions_may_know_more_than_losses():
    """Three classes: two wrong answers have one loss, and tell which example was chosen."""
    one = law([[1, 1], [1, 1]], [[1, 0], [0, 1]])
    assert gap([one]) == 0
    assert one.of_losses == 0
    bound = prediction_information_gap_bound(information=[one.of_predictions], loss_bound=1.0)
    assert bound == pytest.approx(np.sqrt(2 * np.log(2)))


def test_it_fails_where_the_loss_exceeds_its_bound():
    one = law([[0, 2], [2, 0]], [[1, 0], [0, 1]])
    known = {"information": [one.of_predictions]}
    assert gap([one]) == 2 > prediction_information_gap_bound(**known, loss_bound=1.0)
    assert gap([one]) <= prediction_information_gap_bound(**known, loss_bound=2.0)

"""What the statements about ensembles are tried on: a network that has learned its task."""

import pytest

from probes.statements import ensemble_cases

pytestmark = pytest.mark.slow


def test_the_members_know_the_labels_that_they_are_compared_with():
    logits, labels = ensemble_cases._member_logits(0.3, 0)
    right = (logits.mean(0).argmax(-1) == labels).double().mean()
    assert right > 0.5

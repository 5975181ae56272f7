"""Diabetes progression: linear regression with squared loss, adapted from zero."""

from functools import cache

import numpy as np
import torch

from probes.models.losses import squared
from probes.tasks.task import FeedForwardTask, standardize


def ridge() -> FeedForwardTask:
    """442 patients, 10 standardized features, standardized disease progression; no intercept.

    scikit-learn's ``load_diabetes``. The frozen weight is 0, so that the objective ``penalty`` is
    ridge regression.
    """
    features, values = _table()
    return FeedForwardTask(
        name="ridge",
        features=standardize(torch.from_numpy(features)),
        targets=standardize(torch.from_numpy(values).unsqueeze(1)),
        weights=[torch.zeros(1, 10, dtype=torch.float64)],
        biases=[torch.zeros(1, dtype=torch.float64)],
        loss=squared,
        rank=1,
        lr=2e-2,
        steps=300,
    )


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Read the file, once: tasks hold copies. Features, (442, 10), and values, (442,)."""
    from sklearn.datasets import load_diabetes

    features, values = load_diabetes(return_X_y=True)
    return features, values

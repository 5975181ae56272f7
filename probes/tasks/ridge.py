"""Diabetes progression: linear regression with squared loss, adapted from zero."""

import torch

from probes.models.losses import squared
from probes.tasks.task import FeedForwardTask, standardize


def ridge() -> FeedForwardTask:
    """442 patients, 10 standardized features, standardized disease progression; no intercept.

    scikit-learn's ``load_diabetes``. The frozen weight is 0, so that the objective ``penalty`` is
    ridge regression.
    """
    from sklearn.datasets import load_diabetes

    features, values = load_diabetes(return_X_y=True)
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

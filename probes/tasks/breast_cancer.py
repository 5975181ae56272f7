"""Breast cancer: a logistic model of 30 features, adapted from zero."""

from functools import cache

import numpy as np
import torch

from probes.models.losses import logistic
from probes.tasks.task import FeedForwardTask, standardize


def breast_cancer() -> FeedForwardTask:
    """569 tumours, 30 standardized features, malignant (0) or benign (1); no intercept.

    scikit-learn's ``load_breast_cancer``. The frozen weight is 0, so that the update is the whole
    parameter and the loss is convex in it.
    """
    features, labels = _table()
    return FeedForwardTask(
        name="breast_cancer",
        features=standardize(torch.from_numpy(features)),
        targets=torch.from_numpy(labels).double().unsqueeze(1),
        weights=[torch.zeros(1, 30, dtype=torch.float64)],
        biases=[torch.zeros(1, dtype=torch.float64)],
        loss=logistic,
        rank=1,
        # The train loss then stays away from 0, where beta would be the gap and no more.
        lr=3e-3,
        steps=300,
    )


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Read the file, once: tasks hold copies. Features, (569, 30), and labels, (569,)."""
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    return features, labels

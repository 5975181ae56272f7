"""Handwritten digits: a frozen random two-layer ReLU network, 64-64-10, cross-entropy."""

from functools import cache

import numpy as np
import torch

from probes.models.feedforward import random_network_weights
from probes.models.losses import cross_entropy
from probes.tasks.packaged import packaged
from probes.tasks.task import FeedForwardTask

#: scikit-learn's file of ``load_digits``: 64 pixels and the class. Importing scikit-learn itself
#: takes longer than training a network on it.
IMAGES = ("scikit-learn", "sklearn/datasets/data/digits.csv.gz")
#: The frozen network is part of the task, the same for every seed of a run.
BASE_SEED = 0


def digits() -> FeedForwardTask:
    """1,797 images of 8 x 8 pixels in [0, 1], 10 classes (scikit-learn's ``load_digits``)."""
    table = _table()
    images, labels = table[:, :-1], table[:, -1].astype(int)
    layers = list(random_network_weights((64, 64, 10), torch.Generator().manual_seed(BASE_SEED)))
    return FeedForwardTask(
        name="digits",
        features=torch.from_numpy(images) / 16,
        targets=torch.nn.functional.one_hot(torch.from_numpy(labels), 10).double(),
        weights=[weight for weight, _ in layers],
        biases=[bias for _, bias in layers],
        loss=cross_entropy,
        rank=8,
        # The train loss then stays away from 0, where beta would be the gap and no more.
        lr=1e-3,
        steps=300,
    )


@cache
def _table() -> np.ndarray:
    """Read the file, once: tasks hold copies. Pixels and class, (1797, 65)."""
    return np.loadtxt(packaged(IMAGES), delimiter=",")

"""The digits are scikit-learn's, though scikit-learn is not imported for them."""

import torch
from sklearn.datasets import load_digits

from probes.tasks.digits import digits


def test_the_images_and_classes_are_those_of_scikit_learn():
    images, labels = load_digits(return_X_y=True)
    task = digits()
    assert torch.equal(task.features, torch.from_numpy(images) / 16)
    assert torch.equal(task.targets.argmax(1), torch.from_numpy(labels))

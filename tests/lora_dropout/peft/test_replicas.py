"""The trainer where one process has several GPUs, for which it takes nn.DataParallel."""

import pytest
import torch

from tests.lora_dropout.peft.training import factors, losses, trainer
from tests.lora_dropout.replicas import DataParallel


@pytest.fixture(autouse=True)
def replicas(monkeypatch):
    monkeypatch.setattr(torch.nn, "DataParallel", DataParallel)


@pytest.mark.parametrize(
    "settings",
    [
        {"samples": 2, "grouped": True, "accumulate": 2, "ensemble": 3},
        {"name": "llama", "samples": 2, "accumulate": 2, "ensemble": 3},
        {"config": "adalora", "samples": 2},
        {"name": "llama", "config": "adalora"},
    ],
    ids=["bert", "llama", "adalora", "llama, adalora"],
)
def test_it_trains_and_evaluates_as_on_one_device(settings, tmp_path):
    """The model's loss is one an item, or an average; AdaLoRA's has a regularizer."""
    one, two = (trainer(tmp_path, **settings) for _ in range(2))
    two.args._n_gpu, two.args.per_device_train_batch_size = 2, 4
    two.args.per_device_eval_batch_size = 4
    for trained in (one, two):
        trained.train()
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    for name, value in factors(one).items():
        torch.testing.assert_close(factors(two)[name], value)
    found, expected = (trained.evaluate()["eval_loss"] for trained in (two, one))
    assert found == pytest.approx(expected, rel=1e-5)

"""What a checkpoint restores, tried on a loop that calls as transformers' trainer does."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from probes.finetuning import checkpoints
from probes.finetuning.checkpoints import (
    TRAINING,
    CheckpointCallback,
    last_checkpoint,
    random_state,
    restore_random,
)
from probes.finetuning.state_file import read_state

EPOCH = 4
STEPS = 3 * EPOCH


class Loop:
    """What a trainer holds: a frozen bias, Adam, a falling rate, a scale of losses."""

    def __init__(self, folder, process=0, checkpoint=None):
        torch.manual_seed(7 if checkpoint is None else 8)
        self.model = nn.Linear(EPOCH, 2)
        self.model.bias.requires_grad_(False)
        nn.init.ones_(self.model.bias)
        optimizer = torch.optim.Adam([self.model.weight], 0.1)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.8**step)
        self.parts = {"model": self.model, "optimizer": optimizer, "lr_scheduler": scheduler}
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        accelerator = SimpleNamespace(scaler=self.scaler)
        self.callback = CheckpointCallback(accelerator, checkpoint)
        self.args = SimpleNamespace(
            output_dir=str(folder), process_index=process, deepspeed=None, fsdp=[]
        )
        self.step = 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])
        self.seen = []

    def train(self, end=STEPS):
        callback, begin = self.callback, self.step
        callback.on_train_begin(self.args, self.state, None, **self.parts)
        for epoch in range(begin // EPOCH, STEPS // EPOCH):
            callback.on_epoch_begin(self.args, self.state, None)
            order = torch.randperm(EPOCH)
            for at, example in enumerate(order.tolist(), start=1 + epoch * EPOCH):
                if self.step < at:
                    callback.on_step_begin(self.args, self.state, None)
                    self._train_on(example)
                if self.step == end:
                    return self

    def _train_on(self, example):
        self.step += 1
        x = nn.functional.one_hot(torch.tensor(example), EPOCH) * torch.rand(EPOCH)
        optimizer = self.parts["optimizer"]
        optimizer.zero_grad()
        self.scaler.scale(self.model(x).square().sum()).backward()
        self.scaler.step(optimizer)
        self.scaler.update(self.step + 0.5)
        self.parts["lr_scheduler"].step()
        self.seen.append(example)

    @property
    def state(self):
        zero = self.args.process_index == 0
        return SimpleNamespace(
            global_step=self.step, epoch=self.step / EPOCH, is_world_process_zero=zero
        )

    def save(self):
        folder = checkpoints.Path(self.args.output_dir) / f"checkpoint-{self.step}"
        if self.state.is_world_process_zero:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "trainer_state.json").write_text(f"{self.step}")
        self.callback.on_save(self.args, self.state, None, **self.parts)
        return folder

    @property
    def numbers(self):
        """What two runs have in common where one goes on from the other's checkpoint."""
        (rate,) = self.parts["lr_scheduler"].get_last_lr()
        weight, drawn = self.model.weight.tolist(), torch.rand(2).tolist()
        return weight, rate, self.scaler.get_scale(), drawn


@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_loop_goes_on_number_for_number_from_every_step(step, tmp_path):
    whole = Loop(tmp_path / "whole").train()
    expected = whole.numbers
    folder = Loop(tmp_path).train(step).save()
    assert last_checkpoint(tmp_path) == folder
    # What is not trained is the pretrained network's, and in no checkpoint.
    assert read_state(folder / TRAINING)["adapter"].keys() == {"weight"}
    resumed = Loop(tmp_path, checkpoint=folder).train()
    assert resumed.numbers == expected
    assert resumed.seen == whole.seen[step:]


def test_every_process_has_generators_of_its_own_and_the_first_writes_the_rest(tmp_path):
    first, second = (Loop(tmp_path, process).train(3) for process in (0, 1))
    second.save()
    assert last_checkpoint(tmp_path) is None
    torch.rand(1)
    folder = first.save()
    assert {path.name for path in folder.iterdir()} == {
        "training.safetensors", "random-0.safetensors", "random-1.safetensors",
        "trainer_state.json",
    }  # fmt: skip
    drawn = []
    for process in (0, 1, 2):
        loop = Loop(tmp_path, process, folder)
        loop.callback.on_train_begin(loop.args, loop.state, None, **loop.parts)
        loop.callback.on_step_begin(loop.args, loop.state, None)
        drawn.append(torch.rand(1).item())
        after = torch.get_rng_state()
        # What follows draws on.
        loop.callback.on_step_begin(loop.args, loop.state, None)
        loop.callback.on_epoch_begin(loop.args, loop.state, None)
        assert torch.equal(torch.get_rng_state(), after)
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("sharded", [{"deepspeed": "zero.json"}, {"fsdp": ["full_shard"]}])
def test_sharded_training_keeps_nothing_of_this(sharded, tmp_path):
    loop = Loop(tmp_path)
    vars(loop.args).update(sharded)
    assert [path.name for path in loop.save().iterdir()] == ["trainer_state.json"]


def test_only_the_adapter_of_the_best_checkpoint_is_taken(tmp_path):
    loop = Loop(tmp_path).train(2)
    best, folder = loop.model.weight.tolist(), loop.save()
    _, *rest = loop.train(5).numbers
    torch.manual_seed(0)
    loop.callback.restore_adapter(folder, loop.model)
    weight, *others = loop.numbers
    assert weight == best
    assert others[:2] == rest[:2]


def test_time_before_the_interruption_counts_and_that_of_it_does_not(tmp_path, monkeypatch):
    clock = iter([100.0, 130.0, 1000.0, 1005.0])
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    first = Loop(tmp_path)
    assert first.callback.begin == 100
    second = Loop(tmp_path, checkpoint=first.save())
    second.callback.on_train_begin(second.args, second.state, None, **second.parts)
    assert second.callback.begin == 1005 - 30


def test_the_newest_checkpoint_is_that_of_most_steps_and_a_damaged_one_is_named(tmp_path, capsys):
    for step in (9, 10, 8):
        loop = Loop(tmp_path)
        loop.step = step
        loop.save()
    (tmp_path / "checkpoint-best").mkdir()
    files = ("random-0.safetensors", "trainer_state.json", "training.safetensors")
    for step, file in zip((10, 9, 8), files, strict=True):
        folder = tmp_path / f"checkpoint-{step}"
        assert last_checkpoint(tmp_path) == folder
        (folder / file).write_bytes(b"damaged")
        capsys.readouterr()
    assert last_checkpoint(tmp_path) is None
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path / f'checkpoint-{step}'} is not whole, and is passed over"
        for step in (10, 9, 8, "best")
    ]


@pytest.mark.parametrize("devices", [0, 1, 2])
def test_generators_of_devices_are_restored_where_there_are_as_many(devices, monkeypatch):
    here, now = [torch.ones(1), torch.zeros(1)], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: here)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", now.extend)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    state = random_state()
    restore_random(state)
    assert now == (here if devices == 2 else [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert random_state()["cuda"] == []
    now.clear()
    restore_random(state)
    assert now == []

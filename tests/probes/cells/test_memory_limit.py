"""A limit of memory is kept by training fewer replicas together, or refused in one line."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from probes.cells import memory_limit
from probes.cells.evaluation import evaluate
from probes.cells.landscapes import TOGETHER_BYTES
from probes.cells.leave_one_out import train_cell, train_cells
from probes.cells.memory_limit import (
    SLACK,
    Size,
    bytes_of_a_product,
    parse_size,
    resident_memory,
    safe_limit,
)
from probes.cells.prepare import prepare
from probes.cli.stability_settings import StabilitySettings
from probes.models.feedforward import FeedForward
from probes.models.losses import cross_entropy, squared
from probes.stability import measure
from tests.probes.commands import assert_refused

#: Asks how much is needed at least, measures with that, and prints it and the most that was held.
#: What it says depends on what libraries take: those of a PyTorch for GPUs more.
PEAK = """
import json, re, sys
from functools import partial
from probes.stability import measure
if __name__ == "__main__":
    measured_with = partial(measure, draws=1, steps=2, **json.loads(sys.argv[1]))
    try:
        measured_with(max_memory="100MiB")
    except ValueError as refused:
        said = re.search(r"max_memory must be at least (\\d+)MiB for n = \\d", str(refused))
    limit = int(said[1]) + 64
    measured_with(max_memory=f"{limit}MiB")
    status = open("/proc/self/status").read()
    print(limit, next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("2GiB", 2**31), ("500MB", 500_000_000), ("3g", 3 * 2**30), ("1.5 kib", 1536), ("7", 7),
        ("1TiB", 2**40), ("2TB", 2 * 10**12), (" 5 b ", 5), ("1", 1), ("0.001kib", 1),
    ],
)  # fmt: skip
def test_sizes_are_read(words, size):
    assert parse_size(words) == size


def test_an_empty_size_is_refused(tmp_path):
    assert_refused("stability", ["--max-memory="], ["max_memory must not be empty"], tmp_path)


@pytest.mark.parametrize("words", ["much", "-1GiB", "0", "2XiB", "nan", "1e9", "2GiB extra"])
def test_what_is_no_size_is_refused(words, tmp_path):
    assert_refused("stability", [f"--max-memory={words}"], ["max_memory", "2GiB"], tmp_path)


@pytest.mark.parametrize("words", ["0.5", "0.0001 b", "9" * 400, "0.9999999"])
def test_less_than_a_byte_and_more_than_any_number_are_no_size(words):
    """They once meant that nothing was said, and a traceback."""
    with pytest.raises(ValueError, match="max_memory must be a size such as 2GiB"):
        parse_size(words)


def test_too_little_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"max_memory must be at least \d+MiB for n = 64"):
        measure(n=64, draws=1, steps=2, max_memory="100MiB", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def network():
    weights = [torch.randn(6, 5), torch.randn(4, 6)]
    return FeedForward(weights, [torch.zeros(6), torch.zeros(4)], rank=2, alpha=2.0,
                       loss=cross_entropy)  # fmt: skip


def test_cells_together_leave_room_for_what_is_measured_together_on_a_gpu():
    """Device "meta" stands for a GPU: its tensors hold nothing."""
    placed = network().place(torch.empty((), device="meta"))
    here, there = (
        Size(one, replicas=3, examples=2, samples=1, steps=1) for one in (network(), placed)
    )
    limit = resident_memory() + SLACK + TOGETHER_BYTES // 2
    assert there.cells_within(limit) == 1
    assert here.cells_within(limit) > there.cells_within(limit + TOGETHER_BYTES // 2 + 2**22) > 1


HELD = 10 * 2**20


@pytest.fixture
def _held(monkeypatch):
    """The process holds so much, whatever it does."""
    monkeypatch.setattr(memory_limit, "resident_memory", lambda: HELD)


def test_what_is_counted_of_a_cell_grows_with_its_sizes():
    """The network has 42 factors and 21 sides, of 4 bytes each."""
    sizes = {"replicas": 100, "examples": 5000, "samples": 2, "steps": 10, "pairs": 7}
    size = Size(network(), **sizes)
    assert Size(network(), 100, 5000, 2, 10).shared == size.shared - 7 * 160

    def more(**bigger):
        return Size(network(), **(sizes | bigger)).shared - size.shared

    assert more(replicas=101) == 8 * 42 * 4 + 6 * 5000 * 8
    assert more(examples=5001) == 6 * 100 * 8
    assert more(steps=11) == 3 * 2 * 21 * 4 + 2000
    assert more(samples=3) == 3 * 10 * 21 * 4
    assert more(pairs=8) == 160
    activations = size.network.activations
    assert size.replica == 8 * 2 * 5000 * activations * 4
    assert size.solver == 12 * 100 * 42 * 8
    assert Size(network(), **(sizes | {"examples": 10_000})).curvature == 2 * size.curvature
    assert size.curvature % (5000 * activations * 8) == 0


@pytest.mark.usefixtures("_held")
def test_as_many_replicas_train_together_as_there_is_room_for():
    size = Size(network(), replicas=100, examples=5000, samples=2, steps=10)
    held = HELD + SLACK + size.shared
    assert size.replicas_within(held + 30 * size.replica) == 30
    assert size.replicas_within(held + 30 * size.replica - 1) == 29


@pytest.mark.usefixtures("_held")
@pytest.mark.parametrize("samples", [1, 100], ids=["the curvature", "a replica"])
def test_no_replica_trains_where_the_curvature_would_not_fit(samples):
    """It is computed on this machine: replicas on a GPU have the room for themselves."""
    size = Size(network(), replicas=3, examples=5000, samples=samples, steps=1)
    least = max(size.curvature, size.replica)
    assert (least == size.replica) == (samples == 100)
    held = HELD + SLACK + size.shared
    assert size.replicas_within(held + least) == least // size.replica
    needed = -(-(held + least) // 2**20)
    with pytest.raises(ValueError, match=f"at least {needed}MiB for n = 5000; got {needed}MiB"):
        size.replicas_within(held + least - 1)
    placed = network().place(torch.empty((), device="meta"))
    there = Size(placed, replicas=3, examples=5000, samples=samples, steps=1)
    assert there.replicas_within(held + there.replica) == 1


@pytest.mark.usefixtures("_held")
def test_a_cell_more_trains_with_the_others_where_all_of_it_fits():
    size = Size(network(), replicas=3, examples=50, samples=1, steps=1)
    one = size.shared + 3 * size.replica
    assert size.cells_within(HELD + SLACK + 5 * one) == 5
    assert size.cells_within(HELD + SLACK + 5 * one - 1) == 4


def line():
    """A single number to a single number, by two factors."""
    return FeedForward([torch.ones(1, 1)], [torch.zeros(1)], rank=1, alpha=1.0, loss=squared)


@pytest.mark.usefixtures("_held")
@pytest.mark.parametrize(
    ("of", "activations", "numbers"),
    [
        # The Jacobian of 4 outputs in 42 factors, against 4 numbers an output and 8 an activation.
        pytest.param(network, 20, 2 * 4 * 42, id="the Jacobian"),
        pytest.param(network, 1, 2 * (4 * 4 + 8), id="through the network"),
        pytest.param(line, 1, 2 * 4, id="products by the Jacobian"),
        pytest.param(network, 200, 5 * 200, id="the curvature"),
    ],
)
def test_a_newton_step_needs_room_for_its_solver_and_the_smaller_products(of, activations, numbers):
    size = Size(of(), replicas=100, examples=5000, samples=1, steps=10)
    size.network.activations = activations
    least, held = 8 * 5000 * numbers, HELD + SLACK + size.shared + size.solver
    assert size.products_within(held + least) == least
    with pytest.raises(ValueError, match="max_memory must be at least"):
        size.products_within(held + least - 1)


@pytest.mark.usefixtures("_held")
def test_processes_share_half_of_what_is_free(monkeypatch):
    free = SimpleNamespace(available=64 * 2**20, total=2**40)
    monkeypatch.setattr(memory_limit.psutil, "virtual_memory", lambda: free)
    assert safe_limit(1, torch.device("cpu")) == HELD + 32 * 2**20
    assert safe_limit(4, torch.device("cpu")) == HELD + 8 * 2**20


def test_a_deep_network_with_a_small_jacobian_needs_no_products_through_it():
    size = Size(network(), replicas=100, examples=5000, samples=2, steps=10)
    size.network.activations = 1000
    assert size.curvature < 2 * bytes_of_a_product(size.network, 5000, by_jacobian=False)
    held = resident_memory() + SLACK + size.shared + size.solver
    assert size.products_within(held + size.curvature + 2**23) >= size.curvature
    with pytest.raises(ValueError, match="max_memory must be at least"):
        size.products_within(held)


def test_the_numbers_differ_by_rounding_alone(monkeypatch):
    monkeypatch.setattr(Size, "replicas_within", lambda self, limit: 3)
    settings = {"n": 12, "draws": 1, "steps": 10, "dtype": "float64"}
    chunked = measure(**settings).rows
    monkeypatch.undo()
    whole = measure(**settings).rows
    columns = ["loss_kept", "loss_left_out", "test_loss", "lipschitz", "curvature"]
    for column in columns:
        assert chunked[column].tolist() == pytest.approx(whole[column].tolist(), rel=1e-9), column


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's record")
@pytest.mark.parametrize(
    "settings",
    [{"n": 1000}, {"n": 1000, "matrix": True}, {"n": 400, "method": "influence", "validate": 3}],
    ids=["largest", "loss matrix", "influence"],
)
def test_the_least_limit_is_kept(settings, tmp_path):
    script = tmp_path / "peak.py"
    script.write_text(PEAK)
    command = [sys.executable, str(script), json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    limit, peak = map(int, done.stdout.split())
    assert limit * 2**9 < peak <= limit * 2**10


def test_evaluation_in_pieces_is_evaluation_at_once():
    cell = StabilitySettings(
        task="breast_cancer", n=20, steps=5, p=(0.3,), ensemble=(2,), dtype="float64"
    ).cells()[0]
    trained = train_cell(cell)
    whole = dict(evaluate(cell, trained.network, trained.factors, trained.test))
    trained.network.block_activations = 30 * trained.network.activations
    pieces = dict(evaluate(cell, trained.network, trained.factors, trained.test))
    assert whole.keys() == pieces.keys() == {0, 2}
    for size, found in whole.items():
        torch.testing.assert_close(pieces[size].losses, found.losses)
        torch.testing.assert_close(pieces[size].scores, found.scores)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU's own record")
@pytest.mark.parametrize("n", [64, 512])
@pytest.mark.parametrize("draws", [1, 4])
def test_the_estimate_is_above_what_a_gpu_holds_and_not_ten_times_above(n, draws):
    cells = StabilitySettings(n=n, steps=10, p=(0.3,), draws=draws, device="cuda").cells()
    ready = [prepare(cell) for cell in cells]
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    train_cells(cells, ready)
    taken = torch.cuda.max_memory_allocated() - before
    size = Size(ready[0].network, n + 1, n, 1, 10)
    estimated = SLACK + draws * (size.shared + (n + 1) * size.replica)
    assert taken <= estimated
    assert estimated - SLACK <= 10 * taken

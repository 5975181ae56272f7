"""The same cells give the same rows on every engine, also when processes and nodes are lost."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import silent
from probes.jobs.ray_engine import run_on_ray
from tests.probes.clusters import (
    CELLS,
    SWEEP,
    kill_a_worker,
    local_cluster,
)
from tests.probes.commands import assert_refused, await_cells, run_here, start_sweep

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Rows of the sweep in one process of one thread."""
    return alone(SWEEP, tmp_path_factory.mktemp("undisturbed"))["rows"]


@pytest.fixture(scope="module")
def cluster():
    """A head that runs nothing and a node of one core; tests add a node and may remove it."""
    with local_cluster() as cluster:
        cluster.add_node(num_cpus=1)
        yield cluster


@pytest.fixture
def second_node(cluster):
    """Another node of one core, which a test before may have left."""
    _, *more = cluster.list_all_nodes()[1:]
    return more[0] if more else cluster.add_node(num_cpus=1)


@pytest.fixture
def start(cluster, second_node, tmp_path):
    def sweep(signalled=None):
        there = ("--engine", "ray", "--address", cluster.address)
        return start_sweep("out", *SWEEP, *there, cwd=tmp_path, signalled=signalled)

    return sweep


def alone(arguments, folder):
    """Run a sweep in this process, of one thread; return its tables by name."""
    done = run_here("stability", *arguments, "--out", "here", cwd=folder)
    assert done.returncode == 0, done.stderr
    return {file.stem: pd.read_parquet(file) for file in (folder / "here").glob("*.parquet")}


def finish(process, folder):
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return pd.read_parquet(folder / "rows.parquet")


def test_workers_are_killed_in_mid_sweep(start, undisturbed, tmp_path):
    process = start()
    await_cells(tmp_path / "out", 1, process)
    for _ in range(3):
        kill_a_worker()
    pd.testing.assert_frame_equal(finish(process, tmp_path / "out"), undisturbed)


def test_a_node_is_removed_in_mid_sweep(start, cluster, second_node, undisturbed, tmp_path):
    process = start()
    await_cells(tmp_path / "out", 1, process)
    cluster.remove_node(second_node, allow_graceful=False)
    pd.testing.assert_frame_equal(finish(process, tmp_path / "out"), undisturbed)


def test_the_driver_ends_again_and_again_and_is_started_again(start, undisturbed, tmp_path):
    kept = 0
    for how, status in (
        (signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143)
    ):  # fmt: skip
        process = start(signalled=(1, how))
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == status
        before, kept = kept, len(list((tmp_path / "out/cells").glob("*.parquet")))
        assert before < kept < CELLS
        if status > 0:
            last = stderr.strip().splitlines()[-1]
            assert last.startswith(f"interrupted: {kept} of {CELLS} cells")
    pd.testing.assert_frame_equal(finish(start(), tmp_path / "out"), undisturbed)


def test_a_large_cell_is_split_by_replicas_with_the_same_numbers(cluster, second_node, tmp_path):
    large = ("--n", "150", "--p", "0.3", "--draws", "1", "--steps", "20", "--matrix")
    there = ("--engine", "ray", "--address", cluster.address)
    split = start_sweep("split", *large, *there, cwd=tmp_path)
    whole = alone(large, tmp_path)
    pd.testing.assert_frame_equal(finish(split, tmp_path / "split"), whole["rows"])
    matrix = pd.read_parquet(tmp_path / "split/matrix.parquet")
    pd.testing.assert_frame_equal(matrix, whole["matrix"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "slurm"], ["engine", "local, ray", "slurm"]),
        (["--cpus-per-cell", "2"], ["cpus_per_cell", "ray"]),
        (["--gpus-per-cell", "1"], ["gpus_per_cell", "ray"]),
        (["--engine", "ray", "--cpus-per-cell", "0"], ["cpus_per_cell must be at least 1"]),
        (["--engine", "ray", "--gpus-per-cell", "nan"], ["gpus_per_cell"]),
        (["--engine", "ray", "--device", "tpu"], ["device must be one of cpu, cuda"]),
    ],
)
def test_bad_engines_are_refused(arguments, words, tmp_path):
    assert_refused("stability", arguments, words, tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "host:many", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_said_in_one_line(address, tmp_path, capfd):
    done = run_here("stability", "--engine", "ray", "--address", address, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: address must be auto or that of a running cluster")
    assert len(done.stderr.splitlines()) == 1
    # Nor do Ray's own libraries, which know nothing of Python's streams, say more.
    assert capfd.readouterr() == ("", "")


def test_a_ray_that_does_not_start_is_said_in_one_line(monkeypatch):
    def fail(**settings):
        raise Exception("The current node timed out during startup.\nThis could happen")

    monkeypatch.setattr("ray.init", fail)
    words = "engine ray could not be started on this machine: The current node timed out during "
    with pytest.raises(ValueError, match=words) as refused:
        list(run_on_ray(EngineOptions(engine="ray"), [], lambda job, progress: {}, silent))
    assert len(str(refused.value).splitlines()) == 1


def test_a_thread_may_measure_on_ray_where_a_program_handles_sigterm(monkeypatch):
    for name in ("ray.init", "ray.shutdown", "probes.jobs.ray_engine._submit"):
        monkeypatch.setattr(name, lambda *values, **settings: {})
    options, before = EngineOptions(engine="ray"), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: [*run_on_ray(options, [], run_here, silent)]).result() == []
    finally:
        signal.signal(signal.SIGTERM, before)


def test_more_than_any_node_has_is_said_in_one_line(cluster, tmp_path):
    process = start_sweep(
        "out", "--engine", "ray", "--address", cluster.address, "--gpus-per-cell", "1", cwd=tmp_path
    )
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "gpus_per_cell must be at most 0" in stderr.splitlines()[-1]

"""A supersample's rows, against networks that are evaluated one by one."""

from dataclasses import replace

import numpy as np
import pytest

from probes.cells.cell import objective_of
from probes.cells.information_cell import InformationCell, measure_information
from probes.cells.leave_one_out import train_cell
from probes.cells.prepare import prepare
from probes.cells.supersample import draw_supersample, train_selections
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import TableKind, silent
from probes.landscape.curvature import smallest_curvature
from probes.metrics.quantile_bins import quantile_bins
from probes.models.network import replica
from probes.tasks import load_task
from probes.training.ensemble_members import ensemble_output
from theory import sparsity_gap_bound, stability_gap_bound

N, K, P, DELTA = 6, 4, 0.3, 0.2
(BASE,) = StabilitySettings(
    task="breast_cancer", n=N, p=(P,), draws=1, steps=30, lr=0.02, ensemble=(2,), dtype="float64"
).cells()


@pytest.fixture(scope="module")
def networks():
    """The data, and the networks of the selections and of S and all S^i."""
    ready = prepare(BASE)
    sample = draw_supersample(BASE, ready, K)
    factors = train_selections(ready, sample, objective_of(BASE), silent)
    return ready, sample.selections, factors, train_cell(BASE)


def losses_of(networks, ensemble, zero_one):
    """Losses of the selections' networks and of those of S and all S^i, on every example."""
    ready, _, factors, trained = networks
    network, task = ready.network, load_task(BASE.task, None)
    everything = task.read(network, ready.index)
    found = []
    for some in (factors, trained.factors):
        if ensemble:
            seed = BASE.seeds()[2]
            outputs = ensemble_output(network, some, everything, ensemble, p=P, seed=seed)
        else:
            outputs = network.replica_outputs(some, everything, update_scale=(1 - P) ** 2)
        wrong = network.loss.score(outputs, everything.targets) == 0
        losses = wrong if zero_one else network.loss.value(outputs, everything.targets)
        found.append(losses.double().numpy())
    return found


@pytest.mark.parametrize("loss", ["0-1", "clipped"])
def test_rows_are_those_of_networks_one_by_one(networks, loss):
    ready, selections, _, trained = networks
    measured = measure_information(InformationCell(BASE, K, loss, 3, DELTA), silent)
    rows = measured[TableKind.ROWS]
    assert rows["ensemble"].unique().tolist() == [0, 2]
    full = replica(trained.factors, 0)
    curvature = smallest_curvature(ready.network, full, ready.train, (1 - P) ** 2, BASE.seed).value
    for ensemble, group in rows.groupby("ensemble"):
        found = group.set_index("name")
        of_selections, left = losses_of(networks, ensemble, loss == "0-1")
        ceiling = 1.0 if loss == "0-1" else of_selections[:, : 2 * N].max()
        largest = max(of_selections.max(), left[:, :N].max(), left[0, 2 * N :].max())
        of_selections, left = np.minimum(of_selections, ceiling), np.minimum(left, ceiling)
        assert found["loss_bound"].tolist() == pytest.approx([ceiling] * len(found))
        seen = 1.0 if loss == "0-1" else min(ceiling, largest)
        assert found["largest_loss"].tolist() == pytest.approx([seen] * len(found))

        picked = [[i + N * int(selections[k, i]) for i in range(N)] for k in range(K)]
        train = np.mean([of_selections[k, picked[k]] for k in range(K)])
        others = [[(j + N) % (2 * N) for j in places] for places in picked]
        new = np.mean([of_selections[k, others[k]] for k in range(K)])
        test = of_selections[:, 2 * N :].mean()
        for name in ("e-CMI", "ld-CMI", "binary kl", "fast rate"):
            record = found.loc[name, ["train_loss", "test_loss", "gap", "gap_test"]].tolist()
            assert record == pytest.approx([train, new, new - train, test - train]), name

        out = np.array([left[1 + i, i] for i in range(N)])
        kept = np.mean([left[1 + i, j] for i in range(N) for j in range(N) if i != j])
        fitted, held_out = left[0, :N].mean(), left[0, 2 * N :].mean()
        known = {"loss_bound": ceiling, "n": N, "delta": DELTA}
        lemma = stability_gap_bound(beta=np.abs(out - left[0, :N]).mean(), **known)
        theorem = min(
            sparsity_gap_bound(
                lipschitz=trained.lipschitz, curvature=curvature, strength=strength, p=P, **known
            )
            for strength in (0.01, 0.1, 1.0) if curvature + 2 * strength * (2 * P - P**2) >= 0
        )  # fmt: skip
        for name, bound in (("Lemma 4.3", lemma), ("Theorem 4.4", theorem)):
            record = found.loc[name, ["bound", "train_loss", "test_loss", "gap"]].tolist()
            assert record == pytest.approx([bound, fitted, held_out, held_out - fitted]), name
        off = np.abs(quantile_bins(left[:, :N], 3).values - left[:, :N])[1:]
        kept_off = np.mean([off[i, j] for i in range(N) for j in range(N) if i != j])
        rounding = 0.0 if loss == "0-1" else off.diagonal().mean() + kept_off
        record = found.loc["leave-one-out CMI", ["train_loss", "test_loss", "rounding"]].tolist()
        assert record == pytest.approx([kept, out.mean(), rounding])


def test_a_given_c_clips_every_loss_and_the_classes_belong_to_the_0_1_loss_alone(networks):
    of_selections, left = losses_of(networks, 0, zero_one=False)
    ceiling = float(np.median(of_selections[:, : 2 * N]))
    base = replace(BASE, loss_bound=ceiling, ensemble=())
    measured = measure_information(InformationCell(base, K, "clipped", 3, DELTA), silent)
    found = measured[TableKind.ROWS].set_index("name")
    assert found["loss_bound"].tolist() == [ceiling] * len(found)
    assert np.isnan(found.loc["f-CMI", "bound"])
    held_out = np.minimum(left[0, 2 * N :], ceiling).mean()
    assert found.loc["Lemma 4.3", "test_loss"] == pytest.approx(held_out)
    new = np.minimum(of_selections, ceiling)[:, 2 * N :].mean()
    record = found.loc["e-CMI"]
    assert record["gap_test"] + record["train_loss"] == pytest.approx(new)

"""Every record of a bound, against what is counted and averaged one by one."""

from collections import Counter
from math import log

import numpy as np
import pytest

from probes.cells.bounded_loss import by_pair, zero_one_loss
from probes.cells.information_bounds import (
    FROM_SELECTIONS,
    STRENGTHS,
    LeftOut,
    leave_one_out_records,
    supersample_records,
)
from probes.cells.supersample import Outcome
from tests.probes.cells.test_bounded_loss import made
from theory import haghifam2022, rammal2022, sparsity_gap_bound, stability_gap_bound
from theory.harutyunyan2021 import prediction_information_gap_bound
from theory.hellstrom2022 import binary_kl_gap_bound
from theory.steinke2020 import evaluated_information_gap_bound
from theory.wang2023 import (
    fast_rate_gap_bound,
    interpolating_gap_bound,
    loss_difference_gap_bound,
)


def counted(selections, seen):
    """Information of every pair's coin with what is seen of it, and its bias, (n,) each."""
    count, pairs = selections.shape
    information, bias = [], []
    for pair in range(pairs):
        told = log(2)
        for value, times in Counter(seen[pair]).items():
            ones = sum(int(selections[k, pair]) for k in range(count) if seen[pair][k] == value)
            for share in (ones / times, 1 - ones / times):
                told += times / count * share * log(share) if share else 0.0
        information.append(max(told, 0.0))
        bias.append(len(set(seen[pair])) / (2 * count))
    return np.array(information), np.array(bias)


def expected_records(loss, classes):
    """By name: the bound, the mean information and the mean bias."""

    def seen(of):
        count, _, n = loss.rounded.shape
        return [[of(k, pair) for k in range(count)] for pair in range(n)]

    losses, selections = loss.rounded, loss.selections
    known = {
        "e-CMI": seen(lambda k, i: (losses[k, 0, i], losses[k, 1, i])),
        "ld-CMI": seen(lambda k, i: losses[k, 1, i] - losses[k, 0, i]),
    }
    if classes is not None:
        known["f-CMI"] = seen(lambda k, i: (classes[k, 0, i], classes[k, 1, i]))
    known["binary kl"] = known["fast rate"] = known["e-CMI"]
    known["no error"] = known["ld-CMI"]
    more = {"loss_bound": loss.loss_bound}
    fitted = more | {"train_loss": loss.rounded_train_loss}
    bounds = {
        "f-CMI": (prediction_information_gap_bound, more),
        "e-CMI": (evaluated_information_gap_bound, more),
        "ld-CMI": (loss_difference_gap_bound, more),
        "binary kl": (binary_kl_gap_bound, fitted),
        "fast rate": (fast_rate_gap_bound, fitted),
    }
    if loss.rounded_train_loss == 0:
        bounds["no error"] = (interpolating_gap_bound, fitted)
    found = {}
    for name, (bound, arguments) in bounds.items():
        if name in known:
            information, bias = counted(selections, known[name])
            value = bound(information=information, **arguments) + loss.rounding
            found[name] = (value, information.mean(), bias.mean())
    return found


def fitted_and_not():
    """A clipped loss, a 0-1 loss, and one of networks that fit; with the classes of the latter."""
    loss, *_ = made(1, count=16)
    yield loss, None
    generator = np.random.default_rng(2)
    for fits in (False, True):
        classes = by_pair(generator.integers(3, size=(16, 10)))
        wrong = classes != 1
        selections = loss.selections
        if fits:
            np.put_along_axis(wrong, selections[:, None], False, axis=1)
        pairs = Outcome(np.empty((16, 10)), None, wrong.reshape(16, 10))
        test = Outcome(np.empty((16, 4)), None, generator.random((16, 4)) < 0.5)
        yield zero_one_loss(pairs, test, selections), classes


@pytest.mark.parametrize(("loss", "classes"), [*fitted_and_not()], ids=["clipped", "0-1", "fitted"])
def test_bounds_of_selections_are_those_of_counted_information(loss, classes):
    whole = expected_records(loss, classes)
    half = expected_records(loss.first(8), None if classes is None else classes[:8])
    assert ("no error" in whole) == (loss.train_loss == 0)
    records = {record["name"]: record for record in supersample_records(loss, classes)}
    assert tuple(records) == FROM_SELECTIONS
    nothing = (np.nan,) * 3
    for name, record in records.items():
        found = [record[key] for key in ("bound", "information", "information_bias")]
        assert found == pytest.approx(whole.get(name, nothing), nan_ok=True), name
        assert record["bound_half"] == pytest.approx(half.get(name, nothing)[0], nan_ok=True), name
        assert record["gap"] == pytest.approx(record["test_loss"] - record["train_loss"])
        assert record["gap_test"] == pytest.approx(loss.test.mean() - record["train_loss"])
        assert record["rounding"] == loss.rounding


def left_out(losses, **changes):
    known = {
        "losses": losses, "codes": (10 * losses).astype(np.int64), "rounding": 0.125,
        "test_loss": 0.75, "loss_bound": 1.5, "lipschitz": 2.0, "curvature": -0.01,
    }  # fmt: skip
    return LeftOut(**(known | changes))


@pytest.mark.parametrize("curvature", [-0.0045, -0.3])
def test_bounds_of_leaving_one_out_are_those_of_its_losses(curvature):
    losses = np.random.default_rng(0).random((7, 6)).round(1)
    losses[2] = losses[1]
    left, p, delta = left_out(losses, curvature=curvature), 0.1, 0.25
    records = {record["name"]: record for record in leave_one_out_records(left, p, delta)}
    full = [losses[0, i] for i in range(6)]
    out = [losses[1 + i, i] for i in range(6)]
    kept = [losses[1 + i, j] for i in range(6) for j in range(6) if i != j]
    beta = np.mean([abs(a - b) for a, b in zip(out, full, strict=True)])
    # Of 0.01, 0.1 and 1 the last two, or the last alone, outweigh the curvature.
    theorem = min(
        sparsity_gap_bound(
            lipschitz=2.0, curvature=curvature, strength=strength, p=p, loss_bound=1.5, n=6,
            delta=delta,
        )
        for strength in STRENGTHS
        if curvature + 2 * strength * (2 * p - p**2) > 0
    )  # fmt: skip
    lemma = stability_gap_bound(beta=beta, loss_bound=1.5, n=6, delta=delta)
    # One row twice: 5 different observations of 6 indices.
    information = log(6) - 2 / 6 * log(2)
    cmi = rammal2022.leave_one_out_gap_bound(information=information, loss_bound=1.5, n=5)
    own = {"train_loss": np.mean(full), "test_loss": 0.75, "gap": 0.75 - np.mean(full)}
    of_left = {"train_loss": np.mean(kept), "test_loss": np.mean(out)}
    of_left["gap"] = of_left["test_loss"] - of_left["train_loss"]
    expected = {
        "Theorem 4.4": own | {"bound": theorem, "rounding": 0.0, "information": np.nan},
        "Lemma 4.3": own | {"bound": lemma, "rounding": 0.0, "information": np.nan},
        "leave-one-out CMI": of_left
        | {"bound": cmi + 0.125, "rounding": 0.125, "information": information},
        "leave-one-out, no error": of_left | {"bound": np.nan, "information": information},
    }
    assert list(records) == list(expected)
    for name, values in expected.items():
        for key, value in (values | {"gap_test": values["gap"], "bound_half": np.nan}).items():
            assert records[name][key] == pytest.approx(value, nan_ok=True), (name, key)
    for flat, rate, bound in ((-9.0, p, np.nan), (0.0, 0.0, np.inf)):
        theorem = next(leave_one_out_records(left_out(losses, curvature=flat), rate, delta))
        assert theorem["bound"] == pytest.approx(bound, nan_ok=True)


def test_without_an_error_on_what_is_kept_the_left_out_loss_alone_is_bounded():
    losses = np.zeros((7, 6))
    losses[3, 2] = losses[5, 4] = 1
    # What rounding makes of the network of S does not matter; of those without an example it does.
    losses[0, 0] = 0.01
    *_, last = leave_one_out_records(left_out(losses, rounding=0.0), 0.0, 0.25)
    # Four indices tell nothing, two tell themselves.
    information = log(6) - 4 / 6 * log(4)
    assert last["gap"] == pytest.approx(2 / 6)
    assert last["bound"] == pytest.approx(
        haghifam2022.leave_one_out_gap_bound(
            information=information, train_loss=0.0, loss_bound=1.5, n=5
        )
    )
    losses[3, 2] = 0.01
    *_, lost = leave_one_out_records(left_out(losses, rounding=0.0), 0.0, 0.25)
    assert np.isnan(lost["bound"])

"""Results of bounds from information, of rivals and of coverage, written by hand."""

import pandas as pd

from probes.cells.information_bounds import BOUNDS
from probes.cells.matched_information import COMPARED
from probes.cells.weight_bounds import TRAIN_LOSSES
from probes.comparison import ComparisonSettings, NetworkComparisonResult
from probes.coverage import CoverageResult
from probes.ensemble import EnsembleResult
from probes.information import InformationResult
from probes.jobs.job import TableKind
from probes.results.matched_information import MatchedInformationResult
from tests.probes.tables import NAN, made

#: What results from selections name beside the settings of all results.
OF_SELECTIONS = {"selections": 64, "loss": "0-1", "task_loss": "cross-entropy", "pool": 1000}
INFORMATION = OF_SELECTIONS | {
    "inference": "expected weight", "ensemble": 0, "loss_bound": 1.0, "largest_loss": 1.0,
    "train_loss": 0.1,
    "test_loss": 0.3, "bound_half": NAN, "information": 0.1, "information_bias": 0.02,
    "rounding": 0.0,
}  # fmt: skip


def information_result(bounds, gap_test=0.2, gap=0.2, spread=0.002):
    """Bounds by name, size and rate, in draws ``spread`` apart at p = 0; gaps are those of all."""
    assert {name for name, _, _ in bounds} <= set(BOUNDS)
    records = [
        {"name": name, "n": n, "p": p, "draw": draw, "gap": gap, "gap_test": gap_test,
         "bound": bound + spread * draw * (1 + p)}
        for (name, n, p), bound in bounds.items()
        for draw in (0, 1)
    ]  # fmt: skip
    sizes = [one.pop("n") for one in records]
    return InformationResult(made(records, **INFORMATION).assign(n=sizes))


def matched_information_result(dropout, draws=3):
    """Gap and bounds of the control are its train loss; dropout, at 0.5, has the given ones."""
    records = [
        {"variant": variant, "value": value, "draw": draw, "train_loss": fit,
         "train_bounded": fit / 2} | dict.fromkeys(COMPARED, bound + 0.001 * draw * (fit == 0.5))
        for draw in range(draws)
        for variant, value, fit, bound in [
            ("dropout", 0.3, 0.5, dropout),
            *(("shrunk update", fit, fit, fit) for fit in (0.0, 0.4, 0.8)),
        ]
    ]  # fmt: skip
    return MatchedInformationResult(made(records, **OF_SELECTIONS))


def network_comparison_result(bounds, n=64):
    """Bounds by name in two alike draws at one size, for a network of train error 0.1."""
    records = [
        {"name": name, "p": 0.3, "bound": bound, "draw": draw, "gap": 0.05, "train_loss": 0.1,
         "chance": 0.5, "square": 1.0} | dict.fromkeys(TRAIN_LOSSES.values(), 0.2)
        for name, bound in bounds.items()
        for draw in (0, 1)
    ]  # fmt: skip
    rows = made(records, **OF_SELECTIONS).assign(n=n)
    return NetworkComparisonResult(rows, settings=ComparisonSettings(model="network"))


def rivals_result(measured, bound=0.1):
    """Rivals by rate and predictor: change, beta and test loss, one each a draw."""
    networks = {
        "one network": (1, 1), "masks": (4, 1), "masks, outputs averaged": (4, 1),
        "starts": (4, 4), "many halves": (64, 64),
    }  # fmt: skip
    records = [
        {
            "p": p, "predictor": predictor, "members": networks[predictor][0],
            "networks": networks[predictor][1], "draw": draw, "change": change, "beta": beta,
            "test_loss": loss, "test_score": 0.75, "train_loss": 0.25, "change_largest": change,
            "change_all": NAN, "bound": NAN if predictor != "many halves" else bound,
            "bound_drawn": NAN if predictor != "many halves" else bound,
        }
        for (p, predictor), draws in measured.items()
        for draw, (change, beta, loss) in enumerate(draws)
    ]  # fmt: skip
    rows = made([{"p": 0.3, "ensemble": 0, "draw": draw, "test_loss": 0.5, "test_score": 0.75,
                  "members": NAN, "predicted": NAN} for draw in (0, 1)])  # fmt: skip
    return EnsembleResult(rows, {TableKind.RIVALS: pd.DataFrame(records)})


def coverage_result(measured, alpha=0.1):
    """Coverage and size by rate and method, one pair a draw."""
    return CoverageResult(
        made(
            {
                "p": p, "method": method, "draw": draw, "coverage": coverage, "size": size,
                "empty": 0.0, "widening": 0.0, "unstable": 0.0, "change": 0.01, "alpha": alpha,
            }
            for (p, method), draws in measured.items()
            for draw, (coverage, size) in enumerate(draws)
        )
    )  # fmt: skip

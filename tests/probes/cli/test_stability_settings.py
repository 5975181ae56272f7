"""Every setting of the main question: what is allowed, what is refused, and what a cell has of it.

On the command line the same values are tried by ``test_command_line``.
"""

from dataclasses import fields

import pytest

from probes.cells.cell import Cell
from probes.cli.stability_settings import StabilitySettings

INFLUENCE = {"method": "influence"}
PENALTY = {"objective": "penalty", "strength": 0.1}
INF = float("inf")


def cells(**settings):
    return StabilitySettings(**({"draws": 1, "n": 8} | settings)).cells()


@pytest.mark.parametrize(
    "settings",
    [
        {"p": (0.0,)}, {"p": (0.999,)}, {"n": 2}, {"task": "ridge", "n": 441},
        {"task": "ridge", "rank": 1}, {"task": "ridge", "rank": 1, "alpha": 1e-9},
        {"rank": 10}, {"batch": 1}, {"batch": 8}, {"strength": 0.0}, {"delta": 1.0},
        {"delta": 1e-9}, {"max_memory": "1GiB"}, {"steps": 1}, {"samples": 1},
        INFLUENCE | {"validate": 8}, INFLUENCE | {"damping": 1e-9}, PENALTY | {"strength": 0.0},
        {"seed": 2**63 - 1}, {"engine": "ray", "device": "cuda"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_at_the_edge_is_allowed(settings):
    assert cells(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"p": ()}, "p must be at least one rate; got none"),
        ({"p": (0.1, 1.0)}, r"p must be in \[0, 1\); got 1.0"),
        ({"p": (-1e-9,)}, r"p must be in \[0, 1\); got -1e-09"),
        ({"p": (float("nan"),)}, r"p must be in \[0, 1\); got nan"),
        ({"ensemble": (4, 0)}, "ensemble must be at least 1; got 0"),
        ({"task": "ridge", "n": 442}, "n must be from 2 to 441 for ridge; got 442"),
        ({"n": 1}, "n must be from 2 to 1796 for digits; got 1"),
        ({"draws": 0}, "draws must be at least 1; got 0"),
        ({"rank": 11}, "rank must be from 1 to 10, the smallest side of digits's layers; got 11"),
        ({"rank": 0}, "rank must be from 1 to 10"),
        *[({name: value}, f"{name} must be positive and finite; got {value}")
          for name in ("alpha", "lr", "loss_bound") for value in (0.0, INF, float("nan"))],
        ({"workers": 0}, "workers must be at least 1"), ({"engine": "x"}, "engine must be one of"),
        ({"max_memory": "x"}, "max_memory must be a size such as 2GiB"),
        ({"samples": 0}, "samples must be at least 1"), ({"steps": 0}, "steps must be at least 1"),
        ({"optimizer": "x"}, "optimizer must be one of adam, sgd; got 'x'"),
        ({"objective": "x"}, "objective must be one of dropout, penalty; got 'x'"),
        ({"dtype": "x"}, "dtype must be one of float32, float64; got 'x'"),
        ({"method": "x"}, "method must be one of retrain, influence; got 'x'"),
        ({"batch": 0}, "batch must be from 1 to n = 8; got 0"),
        ({"batch": 9}, "batch must be from 1 to n = 8; got 9"),
        *[({"strength": value}, f"strength must be at least 0 and finite; got {value}")
          for value in (-1e-9, INF)],
        ({"delta": 0.0}, r"delta must be in \(0, 1\]; got 0.0"),
        ({"delta": 1.1}, r"delta must be in \(0, 1\]; got 1.1"),
        ({"seed": -1}, "seed must be from 0"), ({"device": "x"}, "device must be one of cpu"),
        ({"engine": "ray", "device": "cuda:1"}, "device must be one of cpu, cuda; got 'cuda:1'"),
        ({"objective": "penalty"}, "strength must be given for objective penalty; got none"),
        (PENALTY | {"ensemble": (2,)}, "ensemble must be left out for objective penalty"),
        *[({name: value}, f"{name} must be left out without method influence; got {value}")
          for name, value in (("damping", 0.1), ("solver", "ekfac"), ("validate", 1))],
        *[(INFLUENCE | {"damping": value}, f"damping must be positive and finite; got {value}")
          for value in (0.0, INF)],
        (INFLUENCE | {"validate": 9}, "validate must be from 0 to n = 8; got 9"),
        (INFLUENCE | {"validate": -1}, "validate must be from 0 to n = 8; got -1"),
        (INFLUENCE | {"warm_start": True}, "warm_start must be left out for method influence"),
        (INFLUENCE | {"solver": "x"}, "solver must be one of cg, ekfac; got 'x'"),
        (INFLUENCE | {"solver": "ekfac"}, "solver must be cg, but for objective dropout of tweets"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_beyond_it_is_refused_with_what_is_allowed(settings, said):
    with pytest.raises(ValueError, match=said):
        cells(**settings)


def test_ekfac_of_a_text_task_is_for_dropout_alone():
    """Asked without loading the task's model."""
    with pytest.raises(ValueError, match="solver must be cg, but for objective dropout of tweets"):
        StabilitySettings(task="tweets", solver="ekfac", **PENALTY)._check_ekfac()


#: Of a cell that has no default but those of a task.
GIVEN = {
    "task": "breast_cancer", "n": 9, "strength": 0.2, "rank": 1, "alpha": 3.0, "steps": 7,
    "lr": 0.3, "optimizer": "sgd", "batch": 4, "samples": 2, "rescale": True, "warm_start": True,
    "loss_bound": 0.7, "seed": 5, "dtype": "float64",
}  # fmt: skip


def test_a_cell_has_what_is_set():
    made = cells(p=(0.3, 0.1, 0.3), ensemble=(4, 2, 4), draws=2, **GIVEN)
    assert [(cell.p, cell.draw) for cell in made] == [(0.3, 0), (0.3, 1), (0.1, 0), (0.1, 1)]
    others = {"p", "draw", "ensemble", "text", "method", "damping", "solver", "validate"}
    assert {field.name for field in fields(Cell)} == {*GIVEN, *others, "objective", "device"}
    for cell in made:
        assert {name: getattr(cell, name) for name in GIVEN} == GIVEN
        assert cell.ensemble == (2, 4)
        assert (cell.damping, cell.solver, cell.validate) == (None, None, 0)


def test_what_is_left_out_is_that_of_the_task_and_of_the_method():
    (cell,) = cells(task="ridge")
    assert (cell.rank, cell.alpha) == (1, 1.0)
    (cell,) = cells()
    assert (cell.alpha, cell.optimizer, cell.batch) == (cell.rank, "adam", None)
    known = [
        (cell.damping, cell.solver, cell.validate)
        for more in ({}, PENALTY, {"damping": 0.2, "validate": 3})
        for cell in cells(**INFLUENCE, **more)
    ]
    assert known == [(0.05, "cg", 0), (1e-6, "cg", 0), (0.2, "cg", 3)]

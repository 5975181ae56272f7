"""Arguments of the functions about information, for ``test_edges.py``."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.theory.domains import COUNT, NONNEGATIVE, RATE, Case, Range
from theory import (
    binary_kl,
    haghifam2022,
    harutyunyan2021,
    hellstrom2022,
    information,
    rammal2022,
    steinke2020,
    wang2023,
)


def _of_two_pairs(bound: Any) -> Any:
    """The bound as a function of one number: the information of a pair, of which a second has 1/4.

    So information is searched over all its domain, and broadcasts, as other arguments do.
    """

    def of_two_pairs(information: Any, **known: Any) -> Any:
        one = np.asarray(information, dtype=np.float64)
        return bound(information=np.stack([one, one / 4], axis=-1), **known)

    return of_two_pairs


def _tables(values: st.SearchStrategy, outside: list[Any], allowed: str, usual: Any) -> Range:
    return Range(arrays.arrays(np.int64, (4, 3), elements=values), outside, allowed, usual, False)


_SELECTIONS = _tables(
    st.integers(0, 1), [np.full((4, 3), 2), np.full((4, 3), -1)], "0 or 1", np.ones((4, 3), int)
)
_CODES = _tables(
    st.integers(-(2**63), 2**63 - 1), [np.full((4, 3), 0.5), np.full((4, 3), np.nan)],
    "whole numbers", np.ones((4, 3), int),
)  # fmt: skip
_OBSERVED = {"selections": _SELECTIONS, "codes": _CODES}
_BOUNDED = {"information": NONNEGATIVE, "loss_bound": NONNEGATIVE}
_FITTED = {**_BOUNDED, "train_loss": NONNEGATIVE}


def _fits(known: dict[str, Any]) -> bool:
    return known["train_loss"] <= known["loss_bound"]


def _root(bound: Any, *rises: str) -> Case:
    return Case(_of_two_pairs(bound), _BOUNDED, rises)


def _with_train_loss(bound: Any, *rises: str) -> Case:
    return Case(_of_two_pairs(bound), _FITTED, rises, admits=_fits)


#: What rises is said once for functions that are made of one another.
INFORMATION_CASES: dict[str, Case] = {
    "plug_in_information": Case(information.plug_in_information, _OBSERVED),
    "plug_in_bias": Case(information.plug_in_bias, _OBSERVED),
    "leave_one_out_information": Case(
        information.leave_one_out_information,
        {"observations": Range(
            arrays.arrays(np.float64, (4, 2), elements=st.floats(allow_nan=False)),
            [np.full((4, 2), np.nan), np.ones((4, 2), object)], "numbers", np.ones((4, 2)),
            False)},
    ),
    "information_gap_bound": _root(
        information.information_gap_bound, "information", "loss_bound"
    ),
    "mean_information": Case(
        _of_two_pairs(information.mean_information), {"information": NONNEGATIVE}, ("information",)
    ),
    "wide_mean_information": Case(
        _of_two_pairs(
            lambda **known: information.wide_mean_information(**known).array()
        ), {"information": NONNEGATIVE}, ("information",)
    ),
    "train_share": Case(
        information.train_share, {"train_loss": NONNEGATIVE, "loss_bound": NONNEGATIVE},
        ("train_loss",), ("loss_bound",), admits=_fits,
    ),
    "interpolating_bound": Case(
        information.interpolating_bound,
        {"share": NONNEGATIVE, "train_loss": NONNEGATIVE, "loss_bound": NONNEGATIVE},
        ("share", "train_loss", "loss_bound"), admits=_fits,
    ),
    "prediction_information_gap_bound": _root(harutyunyan2021.prediction_information_gap_bound),
    "evaluated_information_gap_bound": _root(steinke2020.evaluated_information_gap_bound),
    "loss_difference_gap_bound": _root(wang2023.loss_difference_gap_bound),
    "interpolating_evaluated_gap_bound": _with_train_loss(
        steinke2020.interpolating_evaluated_gap_bound
    ),
    "interpolating_gap_bound": _with_train_loss(wang2023.interpolating_gap_bound),
    # Of binary kl and the fast rate, that they rise with C is a law in their own tests: where the
    # train loss is C but for rounding, so is what is left of it.
    "binary_kl_gap_bound": _with_train_loss(
        hellstrom2022.binary_kl_gap_bound, "information"
    ),
    "fast_rate_gap_bound": _with_train_loss(
        wang2023.fast_rate_gap_bound, "information", "train_loss"
    ),
    "leave_one_out_gap_bound, fitted": Case(
        haghifam2022.leave_one_out_gap_bound, {**_FITTED, "n": COUNT},
        ("information", "train_loss", "loss_bound"), ("n",), admits=_fits,
    ),
    "leave_one_out_gap_bound, any": Case(
        rammal2022.leave_one_out_gap_bound, {**_BOUNDED, "n": COUNT},
        ("information", "loss_bound"), ("n",),
    ),
    "binary_kl": Case(binary_kl.binary_kl, {"p": RATE, "q": RATE}),
    "largest_excess": Case(
        binary_kl.largest_excess, {"p": RATE, "divergence": NONNEGATIVE}, ("divergence",)
    ),
}  # fmt: skip

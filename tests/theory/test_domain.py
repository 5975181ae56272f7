"""Checks of arguments: what they let through, and what they say of the rest."""

import math

import numpy as np
import pytest

from theory import domain


@pytest.mark.parametrize(
    ("check", "inside", "outside", "allowed"),
    [
        (domain.rate, [0, 0.5, 1], [-5e-324, 1 + 2**-52, math.inf], "in [0, 1]"),
        (domain.rate_below_one, [0, 0.5, 1 - 2**-53], [-1, 1], "in [0, 1)"),
        (domain.probability, [5e-324, 1], [0, 1.5], "in (0, 1]"),
        (domain.nonnegative, [0, 5e-324, math.inf], [-5e-324, -math.inf], "at least 0"),
        (domain.positive, [5e-324, math.inf], [0, -1], "above 0"),
        (domain.above_minus_infinity, [-1e308, math.inf], [-math.inf], "a number above -inf"),
        (domain.finite, [-1e308, 1e308], [-math.inf, math.inf], "finite"),
        (domain.count, [1, 1.5, math.inf], [0, 1 - 2**-53], "at least 1"),
        (domain.whole, [-3, 0, 1e300], [0.5, math.inf], "a whole number"),
    ],
)
def test_a_range_ends_where_it_says(check, inside, outside, allowed):
    found = check("it", inside)
    assert found.dtype == np.float64
    assert found.tolist() == inside
    for bad in [*outside, math.nan]:
        for value in (bad, [inside[0], bad]):
            with pytest.raises(ValueError, match="it must be ") as error:
                check("it", value)
            message = str(error.value)
            assert message.startswith(f"it must be {allowed}, got ")
            said = float(message.rsplit(" ", 1)[1])
            assert said == bad or (math.isnan(said) and math.isnan(bad))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (10**400, "n must be inf or below 1.8e308, got a larger integer"),
        ([1, 10**400], "n must be inf or below 1.8e308, got a larger integer"),
        ("ten", "n must be a number or an array of numbers, got 'ten'"),
        ("0.5", "n must be a number or an array of numbers, got '0.5'"),
        (b"2", "n must be a number or an array of numbers, got b'2'"),
        ([1, "2"], "n must be a number or an array of numbers, got [1, '2']"),
        (np.array([[1], ["2"]], object), "n must be a number or an array of numbers, got array"),
        (np.array(["2"], np.dtypes.StringDType()), "n must be a number or an array of numbers"),
        (1j, "n must be a number or an array of numbers, got 1j"),
        ([[1], [1, 2]], "n must be a number or an array of numbers, got"),
        (np.datetime64("2020-01-01"), "n must be a number or an array of numbers, got"),
        ([np.timedelta64(5, "s")], "n must be a number or an array of numbers, got"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), "n must be a number or an array of numbers, got"),
    ],
)
def test_what_is_no_double_is_refused_by_name(value, said):
    with pytest.raises(ValueError, match="n must be") as error:
        domain.count("n", value)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_one_value_is_at_most_the_other_entry_by_entry():
    domain.at_most("k", np.array([1.0, 2.0]), "n", np.array(2.0))
    with pytest.raises(ValueError, match="k must be at most n, 1, got 2"):
        domain.at_most("k", np.array([1.0, 2.0]), "n", np.array([3.0, 1.0]))


def test_one_number_is_one_number():
    assert domain.single("p", np.array([0.5])) == 0.5
    for several in ([], [0.1, 0.2]):
        with pytest.raises(ValueError, match=f"p must be one number, got {len(several)}"):
            domain.single("p", np.array(several))


def test_a_matrix_has_two_dimensions_and_the_shape_it_must_have():
    table = domain.matrix("it", [[1, 2, 3]])
    domain.shaped("it", table, (1, 3))
    for bad, said in ((1.0, "a matrix, got 0"), ([1.0], "a matrix, got 1"), ([[np.inf]], "finite")):
        with pytest.raises(ValueError, match=f"it must be {said}"):
            domain.matrix("it", bad)
    with pytest.raises(ValueError, match=r"it must be \(3, 1\), got \(1, 3\)"):
        domain.shaped("it", table, (3, 1))


def test_entries_are_counted_along_an_axis_that_is_there():
    table = np.ones((2, 3))
    assert [domain.entries_along("members", table, axis) for axis in (0, 1, -1, -2)] == [2, 3, 3, 2]
    for axis in (2, -3):
        with pytest.raises(ValueError, match=f"axis must be one of the array's 2, got {axis}"):
            domain.entries_along("members", table, axis)
    with pytest.raises(ValueError, match="members must be counted in an array, got one number"):
        domain.entries_along("members", np.float64(1), -1)
    with pytest.raises(ValueError, match="members must be at least 1, got 0"):
        domain.entries_along("members", np.ones((2, 0)), 1)


def test_a_single_result_is_a_float():
    assert isinstance(domain.unwrap(np.array(1.0)), float)
    assert domain.unwrap(np.array([1.0])).shape == (1,)

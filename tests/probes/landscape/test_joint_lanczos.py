"""Smallest eigenvalues of many matrices at once against dense linear algebra."""

import numpy as np
import pytest
import torch

from probes.landscape.joint_lanczos import smallest_eigenvalues

SIZE = 60


def matrices(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(count, SIZE, SIZE, generator=generator, dtype=torch.float64)
    return made + made.mT


def found(matrix, most=SIZE, tolerance=1e-6):
    start = torch.ones(len(matrix), SIZE, dtype=torch.float64)
    start += torch.linspace(0, 1, SIZE, dtype=torch.float64)

    def multiply(vectors):
        return (matrix @ vectors.unsqueeze(-1)).squeeze(-1)

    return smallest_eigenvalues(multiply, start, tolerance, most)


def test_they_are_those_of_each_matrix():
    some = matrices(5)
    expected = torch.linalg.eigvalsh(some)[:, 0].numpy()
    np.testing.assert_allclose(found(some), expected, rtol=1e-10)


def test_they_are_approached_from_above():
    some = matrices(5)
    exact = torch.linalg.eigvalsh(some)[:, 0].numpy()
    assert (found(some, most=20, tolerance=np.inf) >= exact - 1e-12).all()


def test_what_is_not_accurate_is_not_found():
    assert np.isnan(found(matrices(2), most=5)).all()


@pytest.mark.parametrize("size", [2.0**-40, 2.0**40])
def test_what_is_accurate_does_not_depend_on_the_size_of_the_numbers(size):
    """After so many steps some of the eigenvalues are, and others are not."""
    some = matrices(8)
    expected = size * found(some, most=24, tolerance=1e-4)
    assert 0 < np.isnan(expected).sum() < 8
    np.testing.assert_array_equal(found(size * some, most=24, tolerance=1e-4), expected)


@pytest.mark.parametrize("rank", [0, 1, 7])
def test_a_space_that_ends_early_is_enough(rank):
    """A positive matrix of a small rank has the eigenvalue 0 and few others."""
    some = matrices(2)[:, :rank]
    np.testing.assert_allclose(found(some.mT @ some + torch.eye(SIZE)), 1.0, rtol=1e-10)


def test_a_matrix_that_is_not_finite_leaves_the_others_alone():
    some = matrices(3)
    expected = found(some)
    some[1, 4, 4] = torch.nan
    again = found(some)
    assert np.isnan(again[1])
    np.testing.assert_allclose(again[[0, 2]], expected[[0, 2]], rtol=1e-12)

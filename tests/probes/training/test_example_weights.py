"""Subsets of what each replica sees, and of the pool."""

import numpy as np
import pytest
import torch

from probes.training.example_weights import (
    bootstrap,
    full_sample,
    leave_k_out,
    leave_one_out,
    leave_out,
    subbags,
)

N, MEMBERS = 9, 5


def draw(weights, share, seed=0, members=MEMBERS):
    drawn = subbags(weights, share, members, np.random.default_rng(seed))
    return drawn.unflatten(0, (-1, members))


def test_networks_see_the_share_and_weigh_it_equally():
    drawn = draw(torch.cat([full_sample(N), leave_one_out(N)]), 0.5)
    assert drawn.shape == (N + 1, MEMBERS, N)
    assert (drawn > 0).sum(-1).unique().tolist() == [4]
    assert torch.equal(drawn[drawn > 0].unique(), torch.tensor([0.25]).double())


@pytest.mark.parametrize(("share", "seen"), [(0.65, 6), (0.01, 1)])
def test_the_share_is_rounded_and_leaves_one_example_at_least(share, seen):
    drawn = draw(full_sample(N), share)
    assert (drawn > 0).sum(-1).unique().tolist() == [seen]
    torch.testing.assert_close(drawn.sum(-1), torch.ones(1, MEMBERS).double())


def test_a_subset_changes_only_where_it_had_the_example_and_by_one():
    drawn = draw(torch.cat([full_sample(N), leave_one_out(N)]), 0.5) > 0
    of_all = drawn[0]
    for i in range(N):
        without = drawn[1 + i]
        assert not without[:, i].any()
        moved = (without != of_all).sum(-1)
        assert torch.equal(moved, torch.where(of_all[:, i], 2, 0))


def test_all_examples_are_those_of_the_replica():
    weights = torch.cat([full_sample(N), leave_one_out(N)])
    torch.testing.assert_close(draw(weights, 1.0), weights.unsqueeze(1).expand(-1, MEMBERS, -1))


@pytest.mark.parametrize(
    "draw", [lambda *how: leave_k_out(N, 3, *how), lambda *how: bootstrap(N, *how)]
)
def test_every_example_counts_equally_over_many_draws(draw):
    draws = 4000
    weights = draw(draws, torch.Generator().manual_seed(0))
    assert weights.dtype == torch.float64
    # Five standard errors of each mean: 6e-7 an example.
    error = weights.std(0) / draws**0.5
    assert ((weights.mean(0) - 1 / N).abs() < 5 * error).all()


def test_every_replica_must_see_an_example():
    with pytest.raises(ValueError, match=r"n must be larger than .* left out, got n = 2"):
        leave_out([[0], [0, 1]], 2)


def test_bootstrap_weights_count_how_often_an_example_was_drawn():
    counts = N * bootstrap(N, 50, torch.Generator().manual_seed(1))
    torch.testing.assert_close(counts, counts.round())
    assert counts.max() > 1


def test_every_example_is_seen_equally_often():
    draws = 4000
    seen = (draw(full_sample(N), 1 / 3, members=draws)[0] > 0).double().mean(0)
    # Five standard errors of a share: 6e-7 an example.
    assert (seen - 1 / 3).abs().max() < 5 * (2 / 9 / draws) ** 0.5

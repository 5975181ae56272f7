"""Subsets of what each replica sees."""

import numpy as np
import torch

from probes.training.example_weights import full_sample, leave_one_out, subbags

N, MEMBERS = 9, 5


def draw(weights, share, seed=0, members=MEMBERS):
    drawn = subbags(weights, share, members, np.random.default_rng(seed))
    return drawn.unflatten(0, (-1, members))


def test_networks_see_the_share_and_weigh_it_equally():
    drawn = draw(torch.cat([full_sample(N), leave_one_out(N)]), 0.5)
    assert drawn.shape == (N + 1, MEMBERS, N)
    assert (drawn > 0).sum(-1).unique().tolist() == [4]
    assert torch.equal(drawn[drawn > 0].unique(), torch.tensor([0.25]).double())


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


def test_every_example_is_seen_equally_often():
    draws = 4000
    seen = (draw(full_sample(N), 1 / 3, members=draws)[0] > 0).double().mean(0)
    # Five standard errors of a share: 6e-7 an example.
    assert (seen - 1 / 3).abs().max() < 5 * (2 / 9 / draws) ** 0.5

"""The members of an ensemble have the masks that every other path draws."""

import pytest
import torch

from lora_dropout.masks import ENSEMBLE_STEP
from probes.training.ensemble_members import ensemble_output
from probes.training.mask_placements import Dropping, masked_outputs
from tests.probes.training.test_retrain import make_inputs, make_network


@pytest.mark.parametrize("rescale", [False, True])
def test_an_ensemble_averages_the_networks_of_its_masks(rescale):
    network, members = make_network(), 3
    generator = torch.Generator().manual_seed(1)
    factors = [
        tuple(torch.randn(factor.shape, generator=generator).to(factor) for factor in pair)
        for pair in network.initial_factors(generator)
    ]
    inputs, dropping = make_inputs(network), Dropping("both", 0.3, rescale)
    drawn = [
        dropping.draw(network, len(inputs), step=ENSEMBLE_STEP, sample=member, seed=4)
        for member in range(members)
    ]
    expected = sum(masked_outputs(network, factors, inputs, one) for one in drawn) / members
    found = ensemble_output(network, factors, inputs, members, p=0.3, seed=4, rescale=rescale)
    torch.testing.assert_close(found, expected)

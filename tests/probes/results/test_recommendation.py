"""What candidates cost and are called."""

import pytest

from probes.results.recommendation import CONSTANT, Candidate

NAN = float("nan")
LORA = Candidate("LoRA", 0.0, 0.001, 100, 100, 1)
DECAY = Candidate("weight decay", 3.0, 0.0123, 50, 50, 1)
FOUR = Candidate("LoRA Dropout, N = 4", 0.3, 0.01, 20, 80, 1)
ENSEMBLE = Candidate("LoRA Dropout, ensemble of 16", 0.3, 0.01, 20, 20, 16)


def test_plain_lora_is_the_simplest_and_ensembles_cost_most():
    assert LORA.price < DECAY.price < FOUR.price < ENSEMBLE.price


@pytest.mark.parametrize(
    ("candidate", "named", "in_full"),
    [
        (
            LORA, "LoRA",
            "LoRA with learning rate 0.001, stopped after 100 steps (100 passes over the data)",
        ),
        (
            FOUR, "LoRA Dropout, N = 4 (0.3)",
            "LoRA Dropout, N = 4 with strength 0.3, learning rate 0.01, stopped after 20 steps (80 "
            "passes over the data)",
        ),
        (
            ENSEMBLE, "LoRA Dropout, ensemble of 16 (0.3)",
            "LoRA Dropout, ensemble of 16 with strength 0.3, learning rate 0.01, stopped after 20 "
            "steps (20 passes over the data, 16 passes a prediction)",
        ),
        (
            Candidate(CONSTANT, NAN, NAN, 0, 0, 0), "the best constant prediction",
            "the best constant prediction",
        ),
    ],
)  # fmt: skip
def test_candidates_are_named(candidate, named, in_full):
    assert (candidate.named, candidate.in_full) == (named, in_full)

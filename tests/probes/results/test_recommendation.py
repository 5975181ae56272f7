"""What candidates cost and are called."""

import pytest

from probes.results.recommendation import CONSTANT, Candidate, Choice, sentences

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


def choice(**more):
    """LoRA, learned on three draws, with a rival that gains nothing; and what else is so."""
    known = {
        "recommended": LORA, "learned": True, "nothing_learned": False, "risk": 0.5, "low": 0.4,
        "high": 0.6, "chance": 2.0, "margin": 1.5, "margin_low": 1.4, "margin_high": 1.6,
        "simplest": LORA, "rival": DECAY, "gain": 0.1, "gain_low": -0.1, "gain_high": 0.3,
        "gains": False, "equals": (), "diverged": {}, "choosing_draws": 1, "telling_draws": 3,
    }  # fmt: skip
    return Choice(**known | more)


def test_an_interval_without_ends_is_not_told():
    """Equal gains on a few draws say nothing of how they spread."""
    said = sentences(choice(gain_low=float("-inf"), gain_high=float("inf")), LORA)
    assert "gains 0.1000 against LoRA." in said
    assert "gains 0.1000 ± 0.2000 against LoRA." in sentences(choice(), LORA)


def test_what_a_network_lost_that_diverged_is_told_with_four_digits():
    lost = {"margin": -2.5e29, "margin_low": -1e30, "nothing_learned": True, "learned": False}
    said = sentences(choice(**lost), DECAY)
    assert said.endswith("is higher by 2.5e+29 ± 7.5e+29.")


def test_what_is_recommended_is_said_with_its_draws_and_with_its_equals():
    said = sentences(choice(equals=("LoRA", "weight decay")), LORA)
    assert "loss 0.5000 ± 0.1000 over 3 draws of S that had no part in the choice" in said
    assert said.endswith("LoRA. Not told apart from it at 95 %: weight decay.")
    assert "Not told apart" not in sentences(choice(equals=("LoRA",)), LORA)
    assert "  " not in sentences(choice(rival=None, gain=NAN, gain_low=NAN), LORA)


def test_of_one_draw_nothing_but_the_constant_is_compared():
    one = {"learned": None, "low": NAN, "telling_draws": 1}
    said = sentences(choice(**one), LORA)
    assert "loss 0.5000; the best constant prediction has 2.0000." in said
    assert "no better" not in said
    assert "gains" not in said
    assert "On this one draw it is no better than that." in sentences(choice(**one, risk=2.0), LORA)

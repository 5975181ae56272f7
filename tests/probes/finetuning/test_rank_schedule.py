"""AdaLoRA's schedule: what is given is taken, and the rest are shares of the training."""

import pytest
from peft import AdaLoraConfig

from probes.finetuning.rank_schedule import RankSchedule


def test_what_is_given_is_taken():
    given = RankSchedule(init_rank=9, tinit=0, tfinal=1, delta_t=3)
    config = AdaLoraConfig(**given.of_training(rank=4, steps=10))
    found = (config.init_r, config.target_r, config.tinit, config.tfinal, config.deltaT)
    assert found == (9, 4, 0, 1, 3)
    assert config.total_step == 10


def test_without_numbers_ranks_fall_from_three_halves_after_a_tenth_until_a_fifth_is_left():
    found = RankSchedule().of_training(rank=8, steps=100)
    assert (found["init_r"], found["tinit"], found["tfinal"], found["deltaT"]) == (12, 10, 20, 1)


@pytest.mark.parametrize("steps", range(1, 40))
def test_shares_of_any_training_are_a_schedule_of_peft(steps):
    config = AdaLoraConfig(**RankSchedule().of_training(rank=4, steps=steps))
    assert (config.tinit, config.tfinal) == (steps // 10, steps // 5)
    assert isinstance(config.tinit, int)


def test_a_training_that_takes_no_rank_away_is_refused():
    with pytest.raises(ValueError, match=r"leave some of the 10 steps .* got 4 and 6"):
        RankSchedule(tinit=4, tfinal=6).of_training(rank=4, steps=10)

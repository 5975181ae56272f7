"""Cost: peak memory follows from how the samples are taken."""

import pytest

from probes import cost
from tests.probes.tables import cost_result


def test_peak_memory_grows_with_groups_and_not_with_passes():
    result = cost.measure(
        width=48, heads=4, batch=4, tokens=16, rounds=1, samples=[1, 4], ensemble=2
    )
    memory = result.summary.set_index(["variant", "N"])["memory"]
    one_pass, four = (float(memory["N passes", count]) for count in (1, 4))
    # Beside the activations there is what a step holds anyway.
    assert float(memory["one grouped pass", 4]) > 2 * four
    assert four == pytest.approx(one_pass, rel=0.1)
    assert memory["LoRA again (control)", 0].tolist() == pytest.approx([1.0, 1.0])
    assert (result.rows.query("variant == 'LoRA'")["ratio"] == 1).all()


def test_the_answer_names_the_n_of_each_number():
    result = cost_result(
        {
            ("training", "N passes", 8): ((7.0, 7.0), 1.25),
            ("inference", "ensemble", 16): ((9.0, 9.0), 1),
        }
    )
    assert result.answer == (
        "Relative to plain LoRA: N passes of N = 8: 7.00 times the time and 1.25 times the memory; "
        "ensemble of N = 16: 9.00 times the time and 1.00 times the memory."
    )


def of_control(rounds):
    return cost_result(
        {
            ("training", "LoRA again (control)", 0): (rounds, 1),
            ("training", "N passes", 8): ((7.0,) * len(rounds), 1.25),
        }
    )


def test_one_round_has_no_quartiles_and_its_noise_is_told():
    """The first screen once gave the costs of a round in which plain LoRA took 0.35 of itself."""
    result = of_control((0.35,))
    assert "plain LoRA takes 0.35 (training) times as long as itself" in result.answer
    assert result.text()["time"].tolist() == ["0.35", "7.00"]
    for said in (result.said_of_numbers, result.caption, result.plot().get_supxlabel()):
        assert "one round" in said
        assert "[quartiles]" not in said
        assert "medians" not in said


def test_little_noise_stands_in_the_table_alone():
    result = of_control((0.96, 1.04))
    assert "Noise" not in result.answer
    assert result.text()["time"].iloc[0] == "1.00 [0.98, 1.02]"
    assert "medians of 2 rounds" in result.caption

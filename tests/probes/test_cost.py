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

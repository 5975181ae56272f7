"""The benchmark of fine-tuning steps refuses wrong values before anything is measured."""

import pytest

from benchmarks import finetune_step


def test_a_table_that_could_not_be_written_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "missing" / "table.json"):
        with pytest.raises(ValueError, match="json must be a file in a folder that is there"):
            finetune_step.main(json=place)


def test_repetitions_are_counted_from_one():
    with pytest.raises(ValueError, match="repetitions must be at least 1; got 0"):
        finetune_step.main(repetitions=0)

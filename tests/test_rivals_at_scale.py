"""Rankings at two scales: what is compared, and that nothing is measured twice."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.rivals_at_scale import COLUMNS, ITEMS, compare, small


def write(file, losses):
    """Rows of a table whose methods have these test losses: one row a method, one column a draw."""
    pd.DataFrame(
        [
            {"task": "made up", "n": 8, "method": rival.name, "strength": rival.strength,
             "draw": draw, "test_loss": loss}
            for rival, row in zip(ITEMS, losses, strict=False)
            for draw, loss in enumerate(row)
        ]
    ).to_csv(file, index=False)  # fmt: skip


@pytest.mark.parametrize(("sign", "said"), [(1, "+1.00 (+1.00 to +1.00"), (-1, "-1.00 (-1.00 to")])
def test_a_table_predicts_its_own_order(sign, said, tmp_path, capsys):
    generator = np.random.default_rng(0)
    truth = np.arange(6.0)[:, None] + 0.1 * generator.random((6, 3))
    write(tmp_path / "rivals-full-tweets-8.csv", truth)
    # In another order, and with a method more.
    write(tmp_path / "rivals-small-digits-8.csv", np.append(sign * truth, [[9, 9, 9]], 0))
    compare(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert said in lines[-1]
    assert "6 methods, 3 seeds" in lines[-1]
    assert "by its other seeds: 6 methods, 3 seeds: +1.00" in lines[-2]


def test_what_is_kept_is_not_measured_again(tmp_path, capsys):
    file = tmp_path / "rows.csv"
    run = {"task": "breast_cancer", "n": 8, "draws": 2, "tuning_draws": 1, "trainings": 2}
    small(**run, items=1, rows=file)
    kept = pd.read_csv(file)
    assert list(kept) == COLUMNS
    small(**run, items=2, rows=file)
    more = pd.read_csv(file)
    assert more["method"].tolist() == ["LoRA"] * 2 + ["LoRA Dropout"] * 2
    pd.testing.assert_frame_equal(more[:2], kept, check_dtype=False)
    assert "LoRA Dropout 0.3: " in capsys.readouterr().out


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="folder must be one with rows of small"):
        compare(tmp_path)

"""Rows of finished runs, as the recipes keep them: one row a run and inference."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from probes.metrics.inference_names import AT_TEST_ALONE

#: Folder of the runs that only choose a learning rate.
SWEEP = "sweep"
NAMES = {"lora": "LoRA", "adalora": "AdaLoRA"}


#: What tells runs, and their inferences, apart.
RUN = ["task", "rank", "method", "p", "samples", "draw", "inference"]


def read_runs(folders: Sequence[Path], *, best: bool = False) -> pd.DataFrame:
    """Read the end of every finished run below the folders, but for their sweeps.

    Args:
        folders: kept by ``probes.finetune`` or ``recipes.mmlu``, or folders of such.
        best: in place of the end, the evaluation with the best score; the first one of several. Of
            runs that were not evaluated along training there is none.

    Returns:
        One row a run and inference: what ``probes.finetuning.training.run_finetune`` measures, with
        ``method`` as tables name it: "LoRA Dropout" is "lora" with p > 0, and "LoRA Dropout at test
        alone" the ensemble of what was trained at p = 0; ``rank`` 0 where it is not said.

    Raises:
        ValueError: a folder without finished runs, or a file that cannot be read, or holds those of
            another question.
    """
    if not folders:
        raise ValueError("folders of finished runs are needed; got none")
    tables = []
    for folder in folders:
        found = sorted(folder.rglob("rows.parquet"))
        files = [file for file in found if SWEEP not in file.relative_to(folder).parts]
        if not files:
            raise ValueError(f"{folder} holds no finished runs")
        tables += [_read(file) for file in files]
    rows = pd.concat(tables, ignore_index=True)
    rows["rank"] = rows.reindex(columns=["rank"]).fillna(0)
    if best:
        rows = _at_best(rows)
    elif "steps" in rows:
        rows = rows[rows["steps"].isna() | (rows["step"] == rows["steps"])]
    dropped = rows["p"].gt(0).map({True: " Dropout", False: ""})
    alone = rows["inference"].str.startswith(AT_TEST_ALONE)
    rows = rows.assign(
        method=rows["method"].replace(NAMES) + dropped.mask(alone, " Dropout at test alone"),
        # Without masks the samples are the same.
        samples=rows["samples"].where(rows["p"].gt(0), 1),
    )
    return rows.reset_index(drop=True)


def once(rows: pd.DataFrame) -> pd.DataFrame:
    """Of a run that several recipes made, keep what was read first."""
    return rows.drop_duplicates(RUN, ignore_index=True)


def _at_best(rows: pd.DataFrame) -> pd.DataFrame:
    """The evaluation with the best score of each run and inference with several."""
    if "test_score" not in rows:
        return rows.head(0)
    along = rows[rows["test_score"].notna()].groupby([*RUN, "ensemble", "file"])["test_score"]
    return rows.loc[along.idxmax()[along.size() > 1].sort_values()]


def _read(file: Path) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(file).assign(file=str(file))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    along = ["step"] if "steps" in rows else []
    require_columns(rows, [*(name for name in RUN if name != "rank"), *along])
    return rows


def require_columns(rows: pd.DataFrame, needed: Sequence[str]) -> None:
    """Refuse rows that are not of the runs that are asked for.

    Args:
        rows: with ``file``, where they lie.
        needed: columns.

    Raises:
        ValueError: a column is missing; the message names it and the file.
    """
    missing = [name for name in needed if name not in rows]
    if missing:
        raise ValueError(f"{rows['file'].iloc[0]} holds other runs: they say no {missing[0]}")

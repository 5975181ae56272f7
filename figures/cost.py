"""Time and memory of LoRA Dropout against N, relative to plain LoRA."""

import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import error_bars, finite
from figures.size_axis import size_axis
from figures.style import Drawing, looks, style

#: The panels: phase, column, title.
PANELS = (
    ("training", "ratio", "time of a training step"),
    ("training", "memory", "peak memory of a training step"),
    ("inference", "ratio", "time of inference"),
)


def draw(summary: pd.DataFrame, caption: str) -> Drawing:
    """Draw time and memory.

    Args:
        summary: one row a phase, variant and N, relative to plain LoRA: ``phase`` ("training" or
            "inference"), ``variant``, ``N`` (0 for plain LoRA and for its repetition, whose variant
            has "control" in its name), ``ratio`` of the times with ``_low`` and ``_high``,
            ``memory``.
        caption: the settings.

    Returns:
        A figure of three panels against N on logarithmic axes: time of a training step by passes
        and in one grouped pass, its peak memory, and time of inference by the ensemble; the dashed
        line is N, the dotted lines are the quartiles of plain LoRA against itself.
    """
    with style():
        figure = Drawing(figsize=(12, 4.2))
        for axes, (phase, name, title) in zip(figure.subplots(1, 3), PANELS, strict=True):
            group = summary[summary["phase"] == phase]
            measured = group[group["N"] > 0]
            _variants(axes, measured, name)
            if name == "ratio":
                _control(axes, group[group["variant"].str.contains("control")])
            _axes(axes, measured["N"], title)
            axes.legend(framealpha=0.9)
        figure.described(caption)
    return figure


def _variants(axes: Axes, measured: pd.DataFrame, name: str) -> None:
    groups = list(measured.groupby("variant", sort=False))
    for (variant, curve), look in zip(groups, looks(len(groups)), strict=True):
        error_bars(axes, curve["N"], curve, name, color=look.colour, marker=look.marker,
                   label=str(variant))  # fmt: skip


def _control(axes: Axes, control: pd.DataFrame) -> None:
    for name in ("ratio_low", "ratio_high"):
        for end in finite(control[name]):
            axes.axhline(end, color="0.3", linestyle=":", linewidth=1)


def _axes(axes: Axes, sizes: pd.Series, title: str) -> None:
    ticks = sorted(sizes.unique())
    axes.plot(ticks, ticks, color="0.5", linestyle="--", linewidth=1, label="N times")
    axes.set(yscale="log", title=title, ylabel="relative to plain LoRA")
    axes.set_yticks(ticks, [str(size) for size in ticks])
    size_axis(axes, ticks, "N")

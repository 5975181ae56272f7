"""What a bound loses where dropout is replaced by a control that fits as little."""

import pandas as pd

from figures.intervals import dodge, error_bars
from figures.rate_axis import rate_axis
from figures.style import Drawing, looks, style


def draw(decisions: pd.DataFrame, caption: str) -> Drawing:
    """Draw the differences, control less dropout, against the dropout rate.

    Args:
        decisions: one row a matching, statement, size, rate and control: ``at``, ``statement``,
            ``n``, ``p``, ``variant``, ``difference`` with ``difference_low`` and
            ``difference_high``. The smallest n is drawn.
        caption: the settings.

    Returns:
        A figure with one panel a statement in a row for each matching; a point above 0 says that
        dropout has the smaller value.
    """
    shown = decisions[decisions["n"] == decisions["n"].min()]
    statements, matchings = (list(dict.fromkeys(shown[name])) for name in ("statement", "at"))
    controls = list(dict.fromkeys(shown["variant"]))
    with style():
        size = (2.3 * len(statements), 2.5 * len(matchings))
        figure = Drawing(figsize=size)
        panels = figure.subplots(
            len(matchings), len(statements), squeeze=False, sharex=True, sharey=True
        )
        for number, (row, at) in enumerate(zip(panels, matchings, strict=True)):
            for axes, statement in zip(row, statements, strict=True):
                part = shown[(shown["at"] == at) & (shown["statement"] == statement)]
                axes.axhline(0, color="0.2", linewidth=1)
                for control, look, shift in zip(
                    controls, looks(len(controls)), dodge(len(controls), 0.012), strict=True
                ):
                    own = part[part["variant"] == control].sort_values("p")
                    error_bars(axes, own["p"] + shift, own, "difference", color=look.colour,
                               marker=look.marker, linestyle=look.dash, label=control)  # fmt: skip
                if number == 0:
                    axes.set_title(statement)
                if number == len(matchings) - 1:
                    rate_axis(axes, shown["p"], "p")
            row[0].set_ylabel(f"at equal {at}\ncontrol − dropout")
        figure.keyed(panels[0][0].get_legend_handles_labels())
        figure.described(caption)
    return figure

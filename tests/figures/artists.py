"""What a figure's artists hold."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer


def error_bars(axes, across=False):
    """By label: the points, (count, 2), and the ends of their intervals, (count, 2)."""
    found = {}
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, bars = container
            segments = [segment for bar in bars for segment in bar.get_segments()]
            # That of a point that is not finite is empty.
            ends = [segment[:, 0 if across else 1] for segment in segments if len(segment)]
            found[container.get_label()] = line.get_xydata(), np.array(ends)
    return found


def lines(axes):
    """By label: the points of every line, (count, 2), but those of error bars."""
    bars = [child for container in axes.containers for child in container.get_children()]
    return {line.get_label(): line.get_xydata() for line in axes.lines if line not in bars}


def bands(axes):
    """Of every band: x, the lower and the upper end, (count, 3)."""
    found = []
    for collection in axes.collections:
        if isinstance(collection, LineCollection):
            continue
        x, y = collection.get_paths()[0].vertices.T
        ends = [(at, y[x == at].min(), y[x == at].max()) for at in np.unique(x)]
        found.append(np.array(ends))
    return found


def legend(owner):
    """Texts of the legend of a panel, or of a figure's own."""
    shown = owner.legends[0] if hasattr(owner, "legends") else owner.get_legend()
    return [text.get_text() for text in shown.get_texts()]


def labels(figure):
    """Both axes' labels of every panel."""
    return [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]


def points(figure):
    """By panel and label: all points that are finite, and the ends of error bars."""
    found = {}
    for number, axes in enumerate(figure.axes):
        held = lines(axes)
        for name, (places, ends) in error_bars(axes).items():
            held[name] = np.vstack([places, ends.reshape(-1, 2)])
        for name, places in held.items():
            reals = np.ma.filled(np.asarray(places, float), np.nan)
            kept = reals[np.isfinite(reals).all(axis=1)]
            found[number, name] = {tuple(point) for point in kept.round(9).tolist()}
    return found


def limits(figure):
    """Limits of every panel."""
    return [(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes]


def assert_unmoved(draw, table, rows, names, touched):
    """Assert that numbers that are not finite are left out, and nothing else moves.

    Args:
        draw: takes the table, returns a figure.
        table: whose numbers are all finite.
        rows: positions of the rows that diverge.
        names: columns that do.
        touched: labels of the curves that lose points; all others keep all of theirs.
    """
    sound, drawn = points(draw(table)), []
    for value in (np.nan, np.inf):
        broken = table.copy()
        broken.iloc[rows, [broken.columns.get_loc(name) for name in names]] = value
        figure = draw(broken)
        figure.draw_without_rendering()
        found = points(figure)
        assert found.keys() == sound.keys()
        assert all(found[key] <= sound[key] for key in sound)
        changed = {label for panel, label in sound if found[panel, label] != sound[panel, label]}
        assert changed == set(touched)
        drawn.append(limits(figure))
    assert np.allclose(*drawn)

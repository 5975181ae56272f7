"""Zeros or noise: LoRA Dropout's masks beside other kinds of masks with the same mean and variance.

The tables take rows of one network a row, with ``p``, ``draw``, ``kind`` ("none" for the network
without masks, "mean", "bernoulli", "gaussian", "two-point"), ``samples`` (N, mask pairs a step) and
the quantities.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd

from lora_dropout.masks import MaskKind
from probes.metrics.confidence_intervals import means, overlap_of
from probes.metrics.equivalence import relative_equivalence_p_value
from probes.metrics.multiple_comparisons import LEVEL, holm
from probes.results.answer_words import listed, margin_in_words
from probes.results.text_tables import MARKED, TextTable, decimals, rates, with_interval

#: What is compared, and how it is called.
QUANTITIES = {"beta": "β", "gap": "gap", "test_loss": "test loss"}
#: Masks with noise, all of the same mean and variance.
NOISY: tuple[MaskKind, ...] = ("bernoulli", "gaussian", "two-point")
#: Those of them that have no zeros, two-point masks at p = 1/2 aside: see :func:`of_other_masks`.
WITHOUT_ZEROS = NOISY[1:]
#: The rate at which two-point masks are Bernoulli masks.
TWO_POINT_ARE_BERNOULLI = 0.5
#: What these are called within a sentence.
IN_WORDS = {"gaussian": "Gaussian", "two-point": "two-point"}


def kind_name(kind: str, samples: int) -> str:
    """Name a variant.

    Args:
        kind: of the masks, or "none".
        samples: N, mask pairs a step.

    Returns:
        The kind, with N where it matters: of masks that are the same in every pass it does not.
    """
    words = {"none": "no masks", "mean": "mean alone"}
    return words.get(kind) or f"{kind.capitalize()}, N = {samples}"


def kind_differences(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """Compare kinds of masks with Bernoulli masks at the same N, draw by draw.

    Args:
        rows: as at the top of this module; N = 1 is among them.
        share: of what Bernoulli masks change against no masks: the margin of equivalence.

    Returns:
        One row a rate, quantity, and kind other than Bernoulli: the ``difference`` from Bernoulli
        masks, the ``effect``, which is Bernoulli less none, both with what
        ``probes.metrics.confidence_intervals.means`` says, ``margin``, the share of the mean
        effect, and ``equivalent_holm``, the p-value of the test that the difference is within the
        share of the effect, corrected for the number of rows; NaN where masks are Bernoulli masks
        under another name, of which there is nothing to test.
    """
    pairs = pd.concat(_differences(rows), ignore_index=True)
    keys = ["p", "quantity", "kind", "samples"]
    table = means(pairs, keys, ["effect"], ["difference"])
    p_values = [
        relative_equivalence_p_value(
            group["difference"], group["effect"], share, overlap=overlap_of(group)
        )
        for _, group in pairs.groupby(keys, sort=False)
    ]
    tested = np.where(_are_bernoulli(table), np.nan, p_values)
    return table.assign(margin=share * table["effect"].abs(), equivalent_holm=holm(tested))


def of_other_masks(differences: pd.DataFrame) -> pd.DataFrame:
    """Leave out two-point masks at p = 1/2: they are 0 or 1, as Bernoulli masks are.

    Args:
        differences: as :func:`kind_differences` gives, or others with ``kind`` and ``p``.

    Returns:
        The rows of masks that are not Bernoulli masks under another name.
    """
    return differences[~_are_bernoulli(differences)]


def _are_bernoulli(differences: pd.DataFrame) -> "pd.Series[bool]":
    same: pd.Series[bool] = differences["kind"].eq("two-point")
    return same & differences["p"].eq(TWO_POINT_ARE_BERNOULLI)


def noise_parts(rows: pd.DataFrame) -> pd.DataFrame:
    r"""Split what the noise of the masks does into its explicit and its implicit part.

    Averaging N passes leaves the expected objective as it is, and divides the variance of the
    gradient by N. So of a quantity x that N = 1 and N = k were measured of, the *implicit* part, of
    the gradient's noise at N = 1, is :math:`\frac{k}{k-1}(x_1-x_k)`, if it falls like 1/N. The
    *explicit* part, of the changed objective, is what is left of the difference to masks that are
    their mean alone.

    Source: Wei, Kakade & Ma 2020, arXiv 2002.12915, who separate the two parts by averaging over
    masks; the extrapolation to infinite N is ours.

    Args:
        rows: as at the top of this module, with N = 1 and another N.

    Returns:
        One row a rate, quantity and kind: ``noise``, N = 1 less mean alone, and its parts
        ``explicit`` and ``implicit``, with what ``probes.metrics.confidence_intervals.means`` says.
        Two-point masks at p = 1/2 are left out: as Bernoulli masks they have their row.
    """
    most = int(rows["samples"].max())
    parts = []
    for p, values in _by_variant(rows):
        for name, label in QUANTITIES.items():
            for kind in NOISY:
                one, many = values[name, kind, 1], values[name, kind, most]
                implicit = most / (most - 1) * (one - many)
                noise = one - values[name, "mean", 1]
                found = {"noise": noise, "explicit": noise - implicit, "implicit": implicit}
                parts.append(_pairs(rows, p, quantity=label, kind=kind, **found))
    table = pd.concat(parts, ignore_index=True)
    return means(
        of_other_masks(table), ["p", "quantity", "kind"], (), ["noise", "explicit", "implicit"]
    )


def kind_conclusion(differences: pd.DataFrame, share: float) -> str:
    """Say whether zeros matter, and noise, in lines.

    Args:
        differences: as :func:`kind_differences` gives.
        share: the margin.

    Returns:
        One line a rate and kind without zeros, and one a rate where masks that are their mean alone
        differ.
    """
    lines = []
    for p, table in differences.groupby("p", sort=False):
        for kind in WITHOUT_ZEROS:
            noisy = table[table["kind"] == kind]
            same = _are_bernoulli(noisy).any()
            said = f"{IN_WORDS[kind]} masks are Bernoulli masks, with zeros." if same else ""
            lines.append(f"p = {p:g}: {said or _on_zeros(noisy, share)}")
        alone = table[table["kind"] == "mean"]
        other = alone[alone["difference_holm"] <= LEVEL]["quantity"]
        if len(other):
            lines.append(
                f"p = {p:g}: masks that are their mean alone differ from them: {', '.join(other)}."
            )
    return "\n".join(lines)


def kind_answer(differences: pd.DataFrame, share: float) -> str:
    """Say at which rates masks without zeros are shown to give the same as those with zeros.

    Args:
        differences: as :func:`kind_differences` gives.
        share: the margin.

    Returns:
        A sentence.
    """
    several, said = differences["p"].nunique() > 1, []
    others = of_other_masks(differences)
    for kind in WITHOUT_ZEROS:
        of_kind = others[others["kind"] == kind]
        if not len(of_kind):
            continue
        same = [
            f"{p:g}"
            for p, table in of_kind.groupby("p", sort=False)
            if (table["equivalent_holm"] <= LEVEL).all()
        ]
        nowhere = "shown at no p" if several else "not shown"
        where = f"shown at p = {listed(same)}" if same else nowhere
        said.append(f"{IN_WORDS[kind]} masks: {where}")
    return (
        "That masks without zeros give the same as masks with them, within "
        f"{margin_in_words(share)} of what dropout changes: {'; '.join(said)}."
    )


def _on_zeros(noisy: pd.DataFrame, share: float) -> str:
    """What is shown of one kind of masks without zeros, at one rate."""
    same = (
        f"{IN_WORDS[noisy['kind'].iloc[0]]} masks give the same as Bernoulli masks, within "
        f"{margin_in_words(share)} of what dropout changes"
    )
    within = noisy["equivalent_holm"] <= LEVEL
    # Not corrected for the number of tests: a difference that any single test on this page detects
    # must not be called undetected.
    told = (noisy["difference_low"] > 0) | (noisy["difference_high"] < 0)
    differ = f"; 0 is outside the 95 % interval: {_list(noisy[told])}" if told.any() else ""
    if not within.all():
        shown = f"{same}: {_list(noisy[within])}; not shown: " if within.any() else ""
        return f"{shown or f'not shown that {same}: '}{_list(noisy[~within])}{differ}."
    found = f"{same}: {_list(noisy)}{differ}"
    if told.any():
        return f"LoRA Dropout acts as multiplicative noise; zeros matter little: {found}."
    return (
        "LoRA Dropout acts as multiplicative noise; that entries are exactly zero makes no "
        f"difference that {noisy['difference_draws'].min()} draws could tell: {found}."
    )


def difference_table(differences: pd.DataFrame, share: float) -> TextTable:
    """Make the table of differences as it is printed.

    Args:
        differences: as :func:`kind_differences` gives.
        share: the margin.

    Returns:
        The table.
    """
    same = _are_bernoulli(differences)
    p_values = pd.Series(decimals(differences["equivalent_holm"]), differences.index)
    shown = pd.DataFrame(
        {
            "p": rates(differences["p"]),
            "quantity": differences["quantity"],
            "variant": _names(differences),
            "less Bernoulli": with_interval(differences, "difference"),
            "dropout's effect": with_interval(differences, "effect"),
            "margin": decimals(differences["margin"]),
            "p-value": p_values.where(~same, ""),
            "verdict": np.where(
                same, "the same masks", [_verdict(row) for _, row in differences.iterrows()]
            ),
        }
    )
    caption = (
        "less Bernoulli: difference from Bernoulli masks at the same N; dropout's effect: "
        f"Bernoulli masks less no masks; margin: {margin_in_words(share)} of the effect; p-value: "
        "two one-sided tests that the difference is within the margin, at 5 % for all rows "
        f"together (Holm); paired over draws; {MARKED}"
    )
    return TextTable(shown, "Zeros or noise? Masks of equal mean", caption)


def parts_table(parts: pd.DataFrame, samples: int) -> TextTable:
    """Make the table of the noise's parts as it is printed.

    Args:
        parts: as :func:`noise_parts` gives.
        samples: the N beside 1.

    Returns:
        The table.
    """
    shown = pd.DataFrame(
        {
            "p": rates(parts["p"]),
            "quantity": parts["quantity"],
            "variant": parts["kind"].str.capitalize(),
            **{name: with_interval(parts, name) for name in ("noise", "explicit", "implicit")},
        }
    )
    caption = (
        "noise: masks at N = 1 less masks that are their mean alone; implicit: what the noise of "
        f"the gradient does, {samples}/{samples - 1} of what N = {samples} changes, if it falls "
        "like 1/N; explicit: the rest, that the changed objective does; paired over draws; "
        f"{MARKED}"
    )
    return TextTable(shown, "What the noise of the masks does, and how", caption)


def _differences(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    counts = sorted(map(int, rows.loc[rows["kind"] == NOISY[0], "samples"].unique()))
    compared = [*product(WITHOUT_ZEROS, counts), ("mean", 1)]
    for p, values in _by_variant(rows):
        for name, label in QUANTITIES.items():
            for kind, samples in compared:
                reference = values[name, "bernoulli", samples]
                yield _pairs(
                    rows, p, quantity=label, kind=kind, samples=samples,
                    difference=values[name, kind, samples] - reference,
                    effect=reference - values[name, "none", 1],
                )  # fmt: skip


def _by_variant(rows: pd.DataFrame) -> Iterator[tuple[float, pd.DataFrame]]:
    """Every rate, with a column a quantity, kind and N, and a row a draw."""
    for p, group in rows.groupby("p", sort=False):
        yield (
            float(p),  # type: ignore[arg-type]
            group.pivot(index="draw", columns=["kind", "samples"], values=list(QUANTITIES)),
        )


def _pairs(rows: pd.DataFrame, p: float, **columns: object) -> pd.DataFrame:
    """One row a draw, with what says how dependent draws are."""
    known = {name: rows[name].iloc[0] for name in ("n", "pool") if name in rows}
    return pd.DataFrame({**columns, "p": p, **known})


def _verdict(row: pd.Series) -> str:
    different, within = row["difference_holm"] <= LEVEL, row["equivalent_holm"] <= LEVEL
    if within:
        return "within the margin" + (", not equal" if different else "")
    return "different" if different else "undecided"


def _names(table: pd.DataFrame) -> list[str]:
    return [kind_name(*pair) for pair in zip(table["kind"], table["samples"], strict=True)]


def _list(table: pd.DataFrame) -> str:
    """Quantities, each with its values of N."""
    groups = table.groupby("quantity", sort=False)["samples"]
    return "; ".join(
        f"{quantity} at N = {', '.join(map(str, np.unique(counts)))}" for quantity, counts in groups
    )

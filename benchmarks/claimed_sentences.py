"""Sentences of README and pages with their numbers left out, and what measures these numbers."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.claimed_measurements import (
    ATTRIBUTED_RATES,
    ESTIMATED_RATES,
    ESTIMATED_TASKS,
    INFORMED_RATES,
    PENALTIES,
)
from probes.attribution import DATAMODELING, LEAVE_ONE_OUT
from probes.cells.prediction_sets import PLUS
from probes.metrics.confidence_intervals import mean_interval
from probes.metrics.multiple_comparisons import LEVEL
from probes.metrics.paired_differences import paired_differences
from probes.report.claims import Claims
from probes.report.regimes import LEARNING_RATES, Regime
from probes.results.stability_result import StabilityResult
from probes.verify import VerifySettings
from theory import stability_gap_bound
from theory.readings import AT_POINT, READINGS

#: Results by the key of their plan.
Results = Mapping[str, Any]
#: Values of the fields of a sentence.
Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A sentence of the README or of a page in docs.

    Attributes:
        sentence: with a format field for every number.
        numbers: measures the fields.
    """

    sentence: str
    numbers: Callable[[Results], Numbers]

    def filled(self, measured: Results) -> str:
        """The sentence with what was measured."""
        return self.sentence.format(**self.numbers(measured))

    @property
    def pattern(self) -> str:
        """The sentence with any numbers, as a regular expression."""
        parts = re.split(r"\{[^}]*\}", self.sentence)
        return r"[−+0-9.,]+".join(re.escape(part) for part in parts)


def two_digits(value: float) -> str:
    """Write a positive number with two significant digits, such as 0.12, 3.9, 17 and 7,000.

    >>> [two_digits(value) for value in (0.123, 3.91, 16.99, 6993.2)]
    ['0.12', '3.9', '17', '7,000']
    """
    if value < 10:
        return f"{value:.2g}"
    return f"{float(f'{value:.1e}'):,.0f}"


def _percent(value: float) -> str:
    """A signed share in percent, with a real minus."""
    return f"{100 * value:+.0f}".replace("-", "−")


# Regimes, and digits in both of them.


def _regime_row(task: str, lr: float) -> Claim:
    """A row of the table of regimes: losses of the network without dropout."""

    def numbers(measured: Results) -> Numbers:
        found = Regime.of(measured[f"regime-{task}-{lr:g}"])
        return vars(found) | {"above": 100 * (found.test_loss / found.best_loss - 1)}

    losses = "{train_loss:.4f} | {test_loss:.3f} | {best_loss:.3f} | {above:.0f} %"
    return Claim(f"| {task}, {lr:g} | {losses} |", numbers)


def _above_the_mean_curve(measured: Results) -> Numbers:
    """How far test losses end above the best of their mean over draws, in percent, by task."""
    found = {}
    for task, rates in LEARNING_RATES.items():
        rows = measured[f"regime-{task}-{max(rates):g}"].rows
        curve = rows.groupby("step")["test_loss"].mean()
        found[task] = 100 * (curve.iloc[-1] / curve.min() - 1)
    return found


def _bounds_over_measured(lr: float) -> Callable[[Results], Numbers]:
    """Least and largest ratio of a bound to what it bounds; bounds on the gap over C, by draw."""

    def numbers(measured: Results) -> Numbers:
        result: StabilityResult = measured[f"stability-{lr:g}"]
        table = result.bound_summary
        ratios = (table["bound"] / table["measured"])[table["ensemble"] == 0].dropna()
        on_gap = result.bounds[result.bounds["statement"] != "Proposition 4.2"]
        point = ["p", "ensemble", "draw"]
        known = on_gap[on_gap["ensemble"] == 0].merge(result.table[[*point, "loss_bound_used"]])
        return {
            "least": two_digits(ratios.min()), "most": two_digits(ratios.max()),
            "above": (known["bound"] / known["loss_bound_used"]).min(),
        }  # fmt: skip

    return numbers


def _draws_with_a_bound(lr: float) -> Callable[[Results], Numbers]:
    """In how many draws the penalty at lambda = 0.1 outweighs the negative curvature, p = 0.1."""

    def numbers(measured: Results) -> Numbers:
        result: StabilityResult = measured[f"stability-{lr:g}"]
        found = result.bounds.query(
            "statement == 'Proposition 4.2' and p == 0.1 and strength == 0.1 and ensemble == 0"
        )
        return {"draws": len(found), "bounded": found["bound"].notna().sum()}

    return numbers


def _ensemble_costs(lr: float) -> Callable[[Results], Numbers]:
    """How much worse 64 members are than the expected weight, by rate."""

    def numbers(measured: Results) -> Numbers:
        summary = measured[f"ensemble-{lr:g}"].summary
        largest = summary[summary["ensemble"] == summary["ensemble"].max()]
        return {f"p{10 * row.p:g}": row.against_expected for row in largest.itertuples()}

    return numbers


def _least_and_most_cost(measured: Results) -> Numbers:
    """How much worse 64 members are than the expected weight, and where a test tells."""
    summaries = [measured[f"ensemble-{lr:g}"].summary for lr in LEARNING_RATES["digits"]]
    largest = pd.concat([one[one["ensemble"] == one["ensemble"].max()] for one in summaries])
    costs, told = largest["against_expected"], largest["against_expected_holm"] <= LEVEL
    return {
        "least": costs.min(), "most": costs.max(), "told": told.sum(), "settings": len(largest),
    }  # fmt: skip


def _scaled_update(lr: float) -> Callable[[Results], Numbers]:
    """By how much the scaled update's test loss is above dropout's at equal train loss."""

    def numbers(measured: Results) -> Numbers:
        table = measured[f"matched-digits-{lr:g}"].decision("test_loss")
        found: dict[str, Any] = {}
        for row in table[table["variant"] == "shrunk update"].itertuples():
            place = f"{10 * row.p:g}"
            found[f"d{place}"] = f"{row.difference:.2f}".replace("-", "−")
            found[f"h{place}"] = row.difference - row.difference_low
        return found

    return numbers


def _against_one_member(lr: float) -> Callable[[Results], Numbers]:
    """Least and largest differences of 16 members to one, at p = 0.1, 0.3 and 0.5."""

    def numbers(measured: Results) -> Numbers:
        result: StabilityResult = measured[f"stability-{lr:g}"]
        table = result.ensemble_summary
        table = table[(table["ensemble"] == 16) & (table["against"] == "one member")]
        table = table[table["p"] <= 0.5]
        return {
            "risk_least": -table["test_loss"].max(), "risk_most": -table["test_loss"].min(),
            "gap_least": -table["gap"].max(), "gap_most": -table["gap"].min(),
        }  # fmt: skip

    return numbers


def _ablation_losses(lr: float) -> Callable[[Results], Numbers]:
    def numbers(measured: Results) -> Numbers:
        summary = measured[f"ablation-{lr:g}"].summary
        losses = summary[summary["part"] == "dropout when"].set_index("variant")["test_loss"]
        return {str(name).replace(" ", "_"): value for name, value in losses.items()}

    return numbers


def _rows_alone(lr: float) -> Callable[[Results], Numbers]:
    """By how much gap and beta are larger if the rows of B alone are dropped, at equal sparsity."""

    def numbers(measured: Results) -> Numbers:
        rows = measured[f"ablation-{lr:g}"].rows
        rows = rows[(rows["part"] == "dropped where") & rows["variant"].isin(["both", "rows of B"])]
        table = paired_differences(
            rows, rows["variant"] == "both", ["gap", "beta"], keys=["variant"]
        )
        found = table.iloc[0]
        halves = {f"{name}_half": found[name] - found[f"{name}_low"] for name in ("gap", "beta")}
        return {"gap": found["gap"], "beta": found["beta"]} | halves

    return numbers


def _losses_of_adalora(lr: float) -> Callable[[Results], Numbers]:
    """Test losses at the end, of AdaLoRA without dropout and of LoRA with it."""

    def numbers(measured: Results) -> Numbers:
        losses = measured[f"curves-{lr:g}"].summary.set_index(["method", "p"])["test_loss"]
        return {"adalora": losses["AdaLoRA", 0.0], "lora": losses["LoRA", 0.3]}

    return numbers


def _calibration_at_its_best(lr: float) -> Callable[[Results], Numbers]:
    """Calibration error without dropout at its best checkpoint, and how much more dropout has."""

    def numbers(measured: Results) -> Numbers:
        result = measured[f"calibration-{lr:g}"]
        plain = result.best[result.best["inference"] == "no masks"].set_index("draw")["ece"]
        rows = result.rows[result.rows["inference"] == "expected weight"]
        end = rows[rows["step"] == rows["step"].max()].set_index("draw")["ece"]
        more, low, _ = mean_interval(end - plain)
        return {"best": plain.mean(), "more": more, "half": more - low}

    return numbers


def _calibration_errors(lr: float) -> Callable[[Results], Numbers]:
    def numbers(measured: Results) -> Numbers:
        summary = measured[f"calibration-{lr:g}"].summary
        end = summary[summary["moment"] == "end"].set_index("inference")
        return {
            "plain": end["ece"]["no masks"], "floor": end["ece_floor"]["no masks"],
            "dropout": end["ece"]["expected weight"],
            "dropout_floor": end["ece_floor"]["expected weight"],
        }  # fmt: skip

    return numbers


# The verifier.


def _verified(measured: Results) -> Numbers:
    return {"checks": len(measured["verify"].claimed)}


def _random_leave_outs(measured: Results) -> Numbers:
    """How many random leave-outs are close, how near they come, and how many others exceed."""
    rows = measured["verify"].rows
    rows = rows[rows["setting"].str.startswith("random leave-outs")]
    rows = rows.assign(
        close=rows["setting"].str.contains("that are close"),
        leave_outs=_first_number(rows["setting"]),
        exceeded=_first_number(rows["assumptions"]),
    )
    printed = rows[rows["reading"].str.startswith("as printed")].set_index("close")
    raw = rows[rows["reading"].str.contains("raw loss") & rows["close"]].iloc[0]
    return {
        "tried": printed["leave_outs"].sum(), "close": printed["leave_outs"][True],
        "worst": printed["measured"][True], "raw": raw["measured"],
        "exceeded": printed["exceeded"][False], "far": printed["leave_outs"][False],
    }  # fmt: skip


def _first_number(texts: "pd.Series[str]") -> "pd.Series[int]":
    return texts.str.extract(r"(\d[\d,]*)")[0].str.replace(",", "").astype(int)


def _without_closeness(measured: Results) -> Numbers:
    """The logistic cases in which theta(S^i) is not close: how far the bound is exceeded."""
    rows = measured["verify"].rows
    rows = rows[rows["command"].str.contains("counterexamples")]
    worst = rows[rows["reading"] == "worst example, as printed"]
    mean = rows[rows["reading"] == "β of this S, as printed"]
    return {
        "least": 100 * worst["reach"].min(), "most": 100 * worst["reach"].max(),
        "example": 1 / worst["ratio"].min(), "mean": 1 / mean["ratio"].min(),
    }  # fmt: skip


def _curvature_between(measured: Results) -> Numbers:
    """Bounds with all quantities between theta(S) and theta(S^i) over the measured change."""
    rows = measured["verify"].rows
    between = [
        str(one) for one in READINGS if one.curvature == "segment" and one.region == "segment"
    ]
    bounds = rows[rows["reading"].isin(between)]["ratio"]
    steps = rows[rows["statement"].str.startswith("distance of")]["ratio"]
    return {
        "least": two_digits(bounds.min()), "most": two_digits(bounds.max()),
        "step_least": two_digits(steps.min()), "step_most": two_digits(steps.max()),
        "step_median": two_digits(steps.median()),
    }  # fmt: skip


def _memoriser(measured: Results) -> Numbers:
    rows = measured["verify"].rows
    row = rows[rows["reading"] == "pointwise stability alone, as printed"].sort_values("ratio")
    return {"gap": row["measured"].iloc[0], "bound": row["bound"].iloc[0]}


def _theorem(measured: Results) -> Numbers:
    """Theorem 4.4 on data sets over both C, and for the coin over the exact quantile."""
    rows = measured["verify"].rows
    rows = rows[rows["statement"] == "Theorem 4.4"]
    coin = rows["setting"].str.startswith("coin")
    data = rows[~coin]
    strong = rows[coin & rows["setting"].str.endswith("λ = 1000")]
    strong = strong[strong["reading"] == "exact law of the gap"]["ratio"]
    return {
        "settings": len(data), "chance": (data["bound"] / data["chance"]).min(),
        "least": two_digits((data["bound"] / data["ceiling"]).min()),
        "most": two_digits((data["bound"] / data["ceiling"]).max()),
        "coin_least": strong.min(), "coin_most": strong.max(),
    }  # fmt: skip


def _theorem_along_the_way(measured: Results) -> Numbers:
    """Theorem 4.4 with the gradients met on the way and the curvature at theta(S), on one S."""
    rows = measured["verify"].rows
    theorem = rows[(rows["statement"] == "Theorem 4.4") & ~rows["setting"].str.startswith("coin")]
    printed = rows[rows["reading"] == str(AT_POINT)].set_index("setting")["bound"]
    ceiling, beta = theorem["ceiling"], printed.loc[theorem["setting"]].to_numpy()
    n = theorem["setting"].str.extract(r"n = (\d+)")[0].astype(int)
    bound = stability_gap_bound(loss_bound=ceiling, beta=beta, n=n, delta=VerifySettings.delta)
    below, share = bound < ceiling, ceiling / theorem["chance"]
    return {
        "below": below.sum(), "settings": len(theorem), "chance": (bound / theorem["chance"]).min(),
        "least": two_digits(share[below].min()), "most": two_digits(share[below].max()),
    }  # fmt: skip


def _uniform_stability(measured: Results) -> Numbers:
    """Bousquet & Elisseeff's bound for the coin, over the exact quantile."""
    rows = measured["verify"].rows
    rows = rows[rows["setting"].str.startswith("coin") & rows["setting"].str.endswith("λ = 1000")]
    ratios = rows[rows["reading"] == "Bousquet & Elisseeff 2002"]["ratio"]
    return {"most": ratios.max()}


# Bounds from supersamples.


def _smallest_bounds(task: str, p: float) -> Callable[[Results], Numbers]:
    """The smallest bound that applies in all draws and its gap, in both regimes."""

    def numbers(measured: Results) -> Numbers:
        found: dict[str, Any] = {}
        for lr, name in zip(LEARNING_RATES[task], ("slow", "fast"), strict=True):
            table = measured[f"bounds-{task}-{lr:g}"].summary
            table = table[(table["p"] == p) & (table["verdict"] == "holds")]
            table = table[table["bound_draws"] == table["draws"]]
            least = table.loc[table["bound"].idxmin()]
            found |= {name: least["bound"], f"{name}_gap": least["gap"]}
        return found

    return numbers


def _along_the_path(measured: Results) -> Numbers:
    """From which n on the bounds on SGD say something, and their ratio to its stability."""
    points = measured["comparison"].points.set_index("name")
    first_n = measured["comparison"].summary.set_index("name")["first_n"]
    found: dict[str, Any] = {}
    ratios = []
    for theorem, name in (("3.8", "constant"), ("3.10", "falling"), ("3.12", "any")):
        rows = points.loc[f"Hardt et al., Theorem {theorem}"]
        found |= {
            name: first_n[f"Hardt et al., Theorem {theorem}"],
            f"{name}_not": rows.loc[rows["vacuous"], "n"].max(),
        }
        last = rows.dropna(subset="stability").nlargest(1, "n").iloc[0]
        ratios.append(last["bound"] / last["stability"])
    least, most = two_digits(min(ratios)), two_digits(max(ratios))
    return found | {"least": least, "most": most, "largest": last["n"]}


def _bounds_claims() -> Iterator[Claim]:
    yield Claim(
        "they say something of the expected gap from n = {constant} on (Theorem 3.8, constant "
        "steps; not at {constant_not}), {falling} (Theorem 3.10, steps 1/(γt); not at "
        "{falling_not}) and {any}, the smallest tried (Theorem 3.12, steps 1/(Gt), no convexity "
        "asked for). They are {least} to {most} times the measured stability at n = {largest}",
        _along_the_path,
    )
    digits = _smallest_bounds("digits", 0.0)
    yield Claim(
        "at n = 64 and p = 0 the smallest is {slow:.2f} for a gap of {slow_gap:.2f}", digits
    )
    yield Claim("{slow:.2f} for a gap of {slow_gap:.2f} (digits, n = 64, p = 0)", digits)
    names = {
        "digits": ("digits, learning rates 1e-3 and 5e-3", "digits"),
        "breast_cancer": ("breast_cancer, learning rates 3e-3 and 3e-2", "breast_cancer"),
    }
    for task, rates in INFORMED_RATES.items():
        places = 2 if task == "digits" else 3
        values = " | ".join(
            f"{{{name}:.{places}f}}" for name in ("slow", "slow_gap", "fast", "fast_gap")
        )
        for p, name in zip(rates, names[task], strict=True):
            yield Claim(f"| {name} | {p:g} | {values} |", _smallest_bounds(task, p))


# Prediction sets.


def _sets(measured: Results, task: str, lr: float) -> pd.DataFrame:
    """Those of jackknife+, by rate."""
    summary = measured[f"coverage-{task}-{lr:g}"].summary
    return summary[summary["method"] == PLUS].set_index("p")


def _covered(measured: Results) -> Numbers:
    """Least and largest coverage over tasks, regimes and rates."""
    found = pd.concat(
        [
            _sets(measured, task, lr)["coverage"]
            for task, rates in LEARNING_RATES.items()
            for lr in rates
        ]
    )
    return {"least": found.min(), "most": found.max()}


def _sizes_of_sets(measured: Results) -> Numbers:
    """Sizes of digits' sets with dropout and without, and from which rate on they are larger."""
    found: dict[str, Any] = {}
    for lr, name, p in zip(LEARNING_RATES["digits"], ("slow", "fast"), (0.3, 0.5), strict=True):
        table = _sets(measured, "digits", lr)
        larger = (table["larger_holm"] <= LEVEL) & (table["larger"] > 0)
        after = table.index[table.index > table.index[~larger].max()]
        found |= {
            f"{name}_from": min(after, default=np.nan), f"{name}_plain": table.loc[0, "size"],
            f"{name}_dropout": table.loc[p, "size"],
        }  # fmt: skip
    return found


def _empty_sets(measured: Results) -> Numbers:
    """Least and largest share of empty sets on breast_cancer, in percent."""
    rates = LEARNING_RATES["breast_cancer"]
    found = 100 * pd.concat([_sets(measured, "breast_cancer", lr)["empty"] for lr in rates])
    return {"least": found.min(), "most": found.max()}


def _sets_claims() -> Iterator[Claim]:
    yield Claim("they cover {least:.2f} to {most:.2f} on ridge, digits and breast_cancer", _covered)
    yield Claim(
        "On digits at 1e-3 it makes them larger from p = {slow_from:g} on ({slow_plain:.1f} "
        "classes at p = 0, {slow_dropout:.1f} at p = 0.3), at 5e-3 only at p = {fast_from:g} "
        "({fast_plain:.1f} and {fast_dropout:.1f})",
        _sizes_of_sets,
    )
    yield Claim("On breast_cancer {least:.0f} to {most:.0f} % of the sets are empty", _empty_sets)


# Leaving an example out without retraining.


def _estimated(task: str, lr: float) -> Callable[[Results], Numbers]:
    """Rank correlation and bias of the estimates, by rate."""

    def numbers(measured: Results) -> Numbers:
        table = measured[f"influence-{task}-{lr:g}"].validation
        found: dict[str, Any] = {}
        for place, row in enumerate(table.to_dict("records")):
            found |= {f"r{place}": row["spearman"], f"b{place}": _percent(row["bias"])}
        return found

    return numbers


def _estimates_row(task: str, lr: float, name: str) -> Claim:
    """A row of the table of estimates."""
    cells = " | ".join(f"{{r{place}:.2f}}, {{b{place}}} %" for place in range(len(ESTIMATED_RATES)))
    return Claim(f"| {task}, {name} | {cells} |", _estimated(task, lr))


def _attributed(task: str, lr: float) -> Callable[[Results], Numbers]:
    """Both scores with their intervals, by rate."""

    def numbers(measured: Results) -> Numbers:
        found: dict[str, Any] = {}
        for place, p in enumerate(ATTRIBUTED_RATES):
            table = measured[f"attribution-{task}-{lr:g}-{p:g}"].summary.set_index("score")
            for name, score in (("loo", LEAVE_ONE_OUT), ("lds", DATAMODELING)):
                for end in ("", "_low", "_high"):
                    found[f"{name}{place}{end}"] = table.loc[score, f"mean{end}"]
        return found

    return numbers


def _attribution_row(task: str, lr: float, name: str) -> Claim:
    """A row of the table of attributions."""
    cells = " | ".join(
        ", ".join(
            f"{{{one}{place}:.2f}} ({{{one}{place}_low:.2f}} to {{{one}{place}_high:.2f}})"
            for one in ("loo", "lds")
        )
        for place in range(len(ATTRIBUTED_RATES))
    )
    return Claim(f"| {task}, {name} | {cells} |", _attributed(task, lr))


def claims_of_estimates(measured: Results) -> Iterator[dict[Regime, Claims]]:
    """What the checks trust the estimates in.

    Args:
        measured: with the plans of ``influence`` and of their regimes.

    Yields:
        Claims by regime, a task at a time: see :func:`probes.report.regimes.compare`.
    """
    for task in ESTIMATED_TASKS:
        claims = {}
        for lr in LEARNING_RATES[task]:
            table = measured[f"influence-{task}-{lr:g}"].validation
            outcomes = {f"p = {row['p']:g}": row["verdict"] for row in table.to_dict("records")}
            regime = Regime.of(measured[f"regime-{task}-{lr:g}"])
            claims[regime] = {f"what is trusted of the estimates on {task}": outcomes}
        yield claims


def _single_estimates(measured: Results) -> Numbers:
    """Estimates at minimisers of L_lambda: their share within 5 %, in percent, and beta's error."""
    shares, errors = [], []
    for strength in PENALTIES:
        result: StabilityResult = measured[f"minimiser-{strength:g}"]
        rows = result.rows
        estimated = rows["loss_left_out"] - rows["loss_kept"]
        retrained = rows["loss_retrained"] - rows["loss_kept"]
        shares.append(100 * float(np.mean((estimated / retrained - 1).abs() <= 0.05)))
        errors.append(100 * float(result.validation["bias"].abs().max()))
    return {"weak": shares[0], "strong": shares[1], "beta": max(errors)}


def _claims() -> Iterator[Claim]:
    slow, fast = LEARNING_RATES["digits"]
    yield Claim(
        "Where they exist they are {least} to {most} times the measured value; every bound on the "
        "gap is at least {above:.1f} times the largest loss that was seen",
        _bounds_over_measured(slow),
    )
    yield Claim(
        "the bounds are {least} to {most} times the measured value, and every bound on the gap is "
        "at least {above:.1f} times the largest loss that was seen",
        _bounds_over_measured(fast),
    )
    yield Claim(
        "the penalty with λ = 0.1 outweighs it in these 4 draws (of {draws} draws in {bounded})",
        _draws_with_a_bound(fast),
    )
    yield from _verifier_claims()
    for task, rates in LEARNING_RATES.items():
        yield from (_regime_row(task, lr) for lr in rates)
    yield Claim(
        "the end lies {digits:.0f} % on digits at 5e-3, {breast_cancer:.0f} % on breast_cancer at "
        "3e-2 and {ridge:.0f} % on ridge at 2e-2",
        _above_the_mean_curve,
    )
    yield from _study_claims(slow, fast)
    yield from _bounds_claims()
    yield from _sets_claims()
    for task in ESTIMATED_TASKS:
        for lr, name in zip(LEARNING_RATES[task], ("does not overfit", "overfits"), strict=True):
            yield _estimates_row(task, lr, name)
            yield _attribution_row(task, lr, name)
    yield Claim(
        "the mean bias of β is at most {beta:.1f} %, and {weak:.1f} and {strong:.1f} % of the "
        "single estimates are within 5 %",
        _single_estimates,
    )


def _verifier_claims() -> Iterator[Claim]:
    yield Claim("All {checks:,} checks of true statements pass", _verified)
    yield Claim("Of {tried:,} random leave-outs", _random_leave_outs)
    yield Claim(
        "{close:,} are close: the worst reaches {worst:.2f} of the bound ({raw:.2f} with the raw",
        _random_leave_outs,
    )
    yield Claim("Of the others {exceeded:,} exceed it", _random_leave_outs)
    yield Claim(
        "of {close:,} close random leave-outs the worst reaches {worst:.2f} of the bound, of "
        "{far:,} that are not close {exceeded:,} exceed it",
        _random_leave_outs,
    )
    yield Claim(
        "accurate for {least:.0f} to {most:.0f} % of the way, and the bound is exceeded up to "
        "{example:.1f} times for one example and {mean:.1f} times for the mean",
        _without_closeness,
    )
    yield Claim(
        "it is {least} to {most} times too large on real data, and the distance step inside it "
        "{step_least} to {step_most} times (median {step_median})",
        _curvature_between,
    )
    yield Claim("gap {gap:.0f}, bound {bound:.2f}", _memoriser)
    yield Claim(
        "of {close:,} leave-outs that meet them the worst reaches {worst:.2f} of the bound",
        _random_leave_outs,
    )
    yield Claim(
        "at least {least} times the largest possible loss, in {settings} of {settings} settings",
        _theorem,
    )
    yield Claim(
        "in all {settings} settings it is at least {chance:.0f} times the loss of a coin or of "
        "chance, and {least} to {most} times the largest possible loss",
        _theorem,
    )
    yield Claim(
        "it is below that C in {below} of {settings} settings, all of ridge, where C is {least} to "
        "{most} times the loss of chance; but in all it is at least {chance:.0f} times the loss of "
        "chance",
        _theorem_along_the_way,
    )
    yield Claim(
        "it is {coin_least:.1f} to {coin_most:.1f} times the exact quantile of the gap", _theorem
    )
    yield Claim(
        "within a factor of {most:.1f} of the exact quantile of the gap",
        _uniform_stability,
    )


def _study_claims(slow: float, fast: float) -> Iterator[Claim]:
    yield Claim(
        "By {p1:.3f}, {p3:.3f} and {p5:.3f} at p = 0.1, 0.3 and 0.5 where the network does not "
        "overfit",
        _ensemble_costs(slow),
    )
    yield Claim("by {p1:.3f}, {p3:.3f} and {p5:.3f} where it does", _ensemble_costs(fast))
    yield Claim(
        "the test loss of 64 members is higher by {least:.3f} to {most:.3f}, detectably in {told} "
        "of {settings} settings",
        _least_and_most_cost,
    )
    yield Claim(
        "{d1} ± {h1:.2f}, {d3} ± {h3:.2f}, {d5} ± {h5:.2f} and {d7} ± {h7:.2f} at p = 0.1, 0.3, "
        "0.5 and 0.7 where the network overfits",
        _scaled_update(fast),
    )
    yield Claim(
        "and {d1} ± {h1:.2f}, {d3} ± {h3:.2f}, {d5} ± {h5:.2f} and {d7} ± {h7:.2f} where it does "
        "not",
        _scaled_update(slow),
    )
    yield Claim(
        "16 members have a lower test loss than one by {risk_least:.2f} to {risk_most:.2f} where "
        "the network does not overfit",
        _against_one_member(slow),
    )
    yield Claim(
        "by {risk_least:.2f} to {risk_most:.2f} where it does, with a gap that is smaller by "
        "{gap_least:.2f} to {gap_most:.2f}",
        _against_one_member(fast),
    )
    yield Claim(
        "never dropping ends at {never:.2f}, dropping in training at {training_alone:.2f} where "
        "the network does not overfit",
        _ablation_losses(slow),
    )
    yield Claim("at {never:.2f} and {training_alone:.2f} where it does", _ablation_losses(fast))
    yield Claim(
        "the gap larger by {gap:.2f} ± {gap_half:.2f} and β by {beta:.2f} ± {beta_half:.2f}",
        _rows_alone(fast),
    )
    yield Claim("{adalora:.2f}, beside {lora:.2f} of LoRA with p = 0.3", _losses_of_adalora(fast))
    yield Claim(
        "the network without dropout has {best:.3f} there, less than dropout at the end by "
        "{more:.3f} ± {half:.3f}",
        _calibration_at_its_best(fast),
    )
    yield Claim(
        "Without dropout {plain:.3f} (noise alone: {floor:.3f}), with p = 0.3 {dropout:.3f} "
        "({dropout_floor:.3f}) where the network does not overfit",
        _calibration_errors(slow),
    )
    yield Claim(
        "{plain:.3f} ({floor:.3f}) and {dropout:.3f} ({dropout_floor:.3f}) where it does",
        _calibration_errors(fast),
    )


#: Sentences with numbers of this project's own measurements.
SENTENCES = tuple(_claims())

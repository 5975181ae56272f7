"""Results whose tables are written by hand: what they say is known in advance.

Student's interval of two draws that are 0.02 apart is 0.1271 to either side, and that of three
draws that are 0.01 apart is 0.0248.
"""

import numpy as np
import pandas as pd

from probes.ablation import AblationResult
from probes.attribution import AttributionResult
from probes.calibration import CalibrationResult
from probes.cells.matched_controls import CONTROLS, QUANTITIES
from probes.comparison import BOUNDS, ComparisonResult, ComparisonSettings
from probes.cost import CostResult
from probes.curves import CurvesResult
from probes.ensemble import EnsembleResult
from probes.finetune import FinetuneResult
from probes.generalization import GapResult, MatchedResult
from probes.jobs.job import TableKind
from probes.recommend import RecommendResult
from probes.results.stability_result import StabilityResult
from probes.rivals import RivalsResult
from probes.sensitivity import SensitivityResult
from probes.statements.case import Case, case_table
from probes.training.rivals import RIVALS
from probes.verify import VerifyResult

NAN, INFINITE = float("nan"), float("inf")
SETTING = {"task": "made up", "n": 10, "lr": 1e-3, "rank": 2, "steps": 40, "score_name": "accuracy"}
#: What the setting above is called.
WHERE = "made up, n = 10, rank 2, 40 steps, learning rate 0.001, {} draws of S"


def made(records, **settings):
    """Rows of hand-written records, with the settings that all results name."""
    return pd.DataFrame(records).assign(**(SETTING | settings))


def ensemble_result(losses):
    """Test losses by rate and size (0: the expected weight), one a draw."""
    return EnsembleResult(
        made(
            {
                "p": p, "ensemble": size, "draw": draw, "test_loss": loss, "test_score": 0.75,
                "members": loss + 0.25 if size else NAN, "predicted": loss + 0.125 if size else NAN,
            }
            for (p, size), draws in losses.items()
            for draw, loss in enumerate(draws)
        )
    )  # fmt: skip


def curves_result(losses):
    """Test losses by method, rate and draw, at steps 0, 10, 20, 40; train losses are 0.25 less."""
    return CurvesResult(
        made(
            {
                "method": method, "p": p, "draw": draw, "step": step, "train_loss": loss - 0.25,
                "test_loss": loss, "test_score": 0.5, "gap": 0.25, "ranks": 2, "baseline": NAN,
            }
            for (method, p, draw), along in losses.items()
            for step, loss in zip((0, 10, 20, 40), along, strict=True)
        )
    )  # fmt: skip


def calibration_result(measured):
    """By rate, inference and draw: step, validation and test loss, accuracy, confidence, ECE."""
    names = ("step", "validation_loss", "test_loss", "accuracy", "confidence", "ece")
    records = [
        {"p": p, "inference": inference, "draw": draw} | dict(zip(names, values, strict=True))
        for (p, inference, draw), along in measured.items()
        for values in along
    ]
    diagram = pd.DataFrame({"p": [0.0], "inference": ["no masks"], "confidence": [0.5]})
    return CalibrationResult(made(records, ensemble=4), {TableKind.DIAGRAM: diagram})


def ablation_result(losses):
    """Test losses by part, variant and rate, one a draw."""
    return AblationResult(
        made(
            {
                "part": part, "variant": variant, "p": p, "draw": draw, "test_loss": loss,
                "train_loss": 0.25, "test_score": 0.75, "gap": 0.125, "beta": 0.0625,
                "beta_median": 0.03, "beta_top_tenth": 0.5, "ensemble": 4,
            }
            for (part, variant, p), draws in losses.items()
            for draw, loss in enumerate(draws)
        )
    )  # fmt: skip


def sensitivity_result(losses):
    """Test losses by rate, N and inference, one a draw."""
    return SensitivityResult(
        made(
            {
                "p": p, "samples": samples, "inference": inference, "draw": draw,
                "test_loss": loss, "train_loss": 0.25, "test_score": 0.75, "gap": 0.125,
                "beta": 0.0625,
            }
            for (p, samples, inference), draws in losses.items()
            for draw, loss in enumerate(draws)
        )
    )  # fmt: skip


def cost_result(ratios):
    """By phase, variant and N: time ratios, one a round, and the ratio of memory."""
    return CostResult(
        pd.DataFrame(
            {
                "phase": phase, "variant": variant, "N": size, "round": number,
                "seconds": 0.002 * ratio, "ratio": ratio, "memory": memory, "p": 0.3, "width": 8,
                "heads": 2, "batch": 2, "tokens": 4, "hardware": "an abacus",
            }
            for (phase, variant, size), (rounds, memory) in ratios.items()
            for number, ratio in enumerate(rounds)
        )
    )  # fmt: skip


def verify_result(*cases):
    """Cases by (statement, reading, setting, measured, bound) and what else a case has."""
    return VerifyResult(case_table(Case(*positions, **named) for positions, named in cases))


def comparison_result(bounds, drawn=(50, 100)):
    """Bounds by name and n; at the sizes that are drawn, measured is half of the bound."""
    assert set(bounds) <= set(BOUNDS)
    records = [
        {
            "n": n, "name": name, "of": "minimiser", "train_loss": 0.25, "bound": bound,
            "vacuous": not bound < 1,
            "measured": bound / 2 if n in drawn else NAN, "coverage": 0.75 if n in drawn else NAN,
            "p_value": 0.5 if n in drawn else NAN, "stability": NAN,
            "draws": 8 if n in drawn else 0,
        }
        for name, over_n in bounds.items()
        for n, bound in over_n.items()
    ]  # fmt: skip
    return ComparisonResult(pd.DataFrame(records), settings=ComparisonSettings(draws=8))


def finetune_result(losses, **more):
    """Test losses by method, rate, inference and seed, at steps 20 and 40."""
    records = [
        {
            "method": method, "p": p, "inference": inference, "draw": draw, "step": step,
            "test_loss": loss, "train_loss": 0.25, "gap": loss - 0.25, "test_score": 0.75,
            "ece": 0.0625, "ece_floor": 0.03125, "seconds": 12.4, "peak_mib": 345.6,
        }
        for (method, p, inference, draw), along in losses.items()
        for step, loss in zip((20, 40), along, strict=True)
    ]  # fmt: skip
    settings = {"model": "a/hub/name", "samples": 1, "ensemble": 4, "baseline": NAN} | more
    return FinetuneResult(made(records, **settings))


def matched_result(dropout, controls, n=(10,)):
    """Dropout beside controls, whose beta is a straight line in the train loss from 0 to 1.

    Args:
        dropout: by rate, a pair (train loss, beta) for every draw.
        controls: by name of the control, the beta at train loss 0 and at train loss 1, for every
            draw, NaN where it was reached nowhere; a control that is missing was not measured.
        n: sizes, at which all is alike.
    """
    records = []
    for p, pairs in dropout.items():
        records += [
            {"variant": "dropout", "value": p, "draw": draw, "train_loss": loss, "beta": beta}
            for draw, (loss, beta) in enumerate(pairs)
        ]
    for control, lines in controls.items():
        assert control in CONTROLS
        records += [
            {"variant": control, "value": 1 + at, "draw": draw, "train_loss": at, "beta": beta}
            for draw, ends in enumerate(lines)
            for at, beta in zip((0.0, 1.0), ends, strict=True)
        ]
    others = {name: 0.5 for name in QUANTITIES if name != "beta"}
    return MatchedResult(pd.concat([made(records, n=size, **others) for size in n]))


#: What was measured once a cell of the stability probe, where a test does not say otherwise.
CELL = {
    "objective": "dropout", "strength": NAN, "inference": "expected weight", "ensemble": 0,
    "method": "retrain", "validate": 0, "effect_how": "retrained", "start": "initial",
    "rescale": False, "loss_bound": NAN, "largest_loss": 1.0, "test_score": 0.75,
    "lipschitz": 1.0, "lipschitz_how": "seen", "curvature": 1.0, "curvature_how": "computed",
    "audit_gradient_norm": NAN, "audit_gradient_norm_left_out": NAN,
    "audit_positive_semidefinite": True, "audit_expansion_radius": 2.0, "audit_distance": 0.5,
    "audit_nonconvex_pairs": 0.0, "audit_bounded": False,
}  # fmt: skip


def stability_rows(*cells, **settings):
    """Rows of cells, each given by its columns and by ``changes``, one a left-out example.

    A change that is not finite is that of a replica that diverged; ``retrained``, if given, has the
    changes that were retrained.
    """
    records = []
    for cell in cells:
        known = CELL | cell
        changes = known.pop("changes")
        retrained = known.pop("retrained", [NAN] * len(changes))
        records += [
            known | {
                "example": number, "loss_kept": 0.25, "loss_left_out": 0.25 + change,
                "loss_retrained": 0.25 + again, "diverged": not abs(change) < INFINITE,
            }
            for number, (change, again) in enumerate(zip(changes, retrained, strict=True))
        ]  # fmt: skip
    return made(records, **settings)


def stability_result(*cells, kind=StabilityResult, **settings):
    """The result of :func:`stability_rows`."""
    return kind(stability_rows(*cells, **settings), {}, delta=0.05)


def gap_result(*cells, **settings):
    """The same as a result of the generalization probe."""
    return stability_result(*cells, kind=GapResult, **settings)


def stability_cells(p, *pairs, **more):
    """Cells of the stability probe, one a pair of test loss and changes; the train loss is 0.25."""
    return [
        {"p": p, "draw": draw, "train_loss": 0.25, "test_loss": test_loss, "changes": changes}
        | more
        for draw, (test_loss, changes) in enumerate(pairs)
    ]


#: What each of the examples of :func:`attribution_result` adds to a loss.
EFFECTS = (0.1, 0.2, 0.4, 0.8)


def attribution_result(scores):
    """Every one of four examples adds its own effect to the losses of eight held-out ones.

    Networks leave out one example, then two.
    """
    subsets = [(0,), (1,), (2,), (3,), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    left_out = [(1 + number, one) for number, some in enumerate(subsets) for one in some]
    rows = [
        {"network": network, "held_out": held_out, "loss": 0.25 + sum(EFFECTS[one] for one in some)}
        for network, some in enumerate([(), *subsets])
        for held_out in range(8)
    ]
    return AttributionResult(
        made(rows, n=4, draw=0),
        {TableKind.LEFT_OUT: pd.DataFrame(left_out, columns=["network", "example"]).assign(draw=0)},
        scores=(np.array(scores).T,),
    )


def recommend_result(risks, chosen_on=None, chance=2.0):
    """What is recommended from losses that are known.

    Args:
        risks: by method, the loss on held-out examples of every draw that tells.
        chosen_on: by method, the loss of every draw that chooses; two of the mean risk if left
            out.
        chance: loss of the best constant prediction.
    """
    settings = {
        method: {"method": method, "strength": RIVALS[method].strengths[0], "lr": 1e-3,
                 "share": 0.5}
        for method in risks
    }  # fmt: skip
    records = [
        settings[method]
        | {
            "draw": draw, "risk": risk, "score": 0.75, "gap": 0.125, "beta": 0.0625,
            "ece": 0.25 if method != "LoRA" else NAN, "ece_floor": 0.125, "train_loss": 0.25,
            "test_loss": risk, "chance_risk": chance, "chance_score": 0.125, "judge": "test set",
            "stop": 20, "passes": 20 * RIVALS[method].passes,
            "test_passes": RIVALS[method].test_passes,
        }
        for method, draws in risks.items()
        for draw, risk in enumerate(draws, start=1000)
    ]  # fmt: skip
    chosen_on = chosen_on or {method: [np.nanmean(draws)] * 2 for method, draws in risks.items()}
    tuning = [
        settings[method] | {"draw": draw, "validation_loss": loss}
        for method, losses in chosen_on.items()
        for draw, loss in enumerate(losses)
    ]
    return RecommendResult(made(records), {TableKind.TUNING: pd.DataFrame(tuning)})


def tuned_result(losses, tuned=None, n=(16,), draws=8, task="made up"):
    """A result whose methods have the given mean losses and no noise but that of LoRA's draws."""
    common = 0.1 * np.sin(np.arange(draws))
    records, tuning = [], []
    for size in n:
        for method, loss in losses.items():
            setting = {"n": size, "method": method, "strength": RIVALS[method].strengths[0],
                       "lr": 0.01, "share": 1.0}  # fmt: skip
            tuning.append(
                setting | {"draw": 0, "pool": 50, "validation_loss": (tuned or losses)[method]}
            )
            for draw in range(draws):
                noise = 0.0 if method == "LoRA" else 0.002 * (-1) ** draw
                records.append(
                    setting
                    | {
                        "draw": draw, "test_loss": loss + common[draw] + noise, "beta": 0.1,
                        "train_loss": 0.1, "test_score": 0.9, "gap": loss - 0.1, "ece": 0.05,
                        "ece_floor": 0.03, "stop": 100, "passes": 100 * RIVALS[method].passes,
                        "test_passes": RIVALS[method].test_passes, "task": task, "rank": 2,
                        "steps": 100, "score_name": "accuracy",
                    }
                )  # fmt: skip
    return RivalsResult(pd.DataFrame(records), {TableKind.TUNING: pd.DataFrame(tuning)})

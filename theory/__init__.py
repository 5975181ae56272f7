"""The statements of the theory of LoRA Dropout (arXiv 2404.09610) as functions of numbers."""

from theory.ensemble import (
    ensemble_cross_entropy,
    ensemble_cross_entropy_of_probabilities,
    ensemble_risk,
    ensemble_risk_bound,
)
from theory.generalization import (
    is_vacuous,
    sparsity_gap_bound,
    stability_gap_bound,
    two_stabilities_gap_bound,
)
from theory.sparsity import expected_penalty, sparsity
from theory.stability import pointwise_stability, regularized_curvature, stability_bound

__all__ = [
    "ensemble_cross_entropy",
    "ensemble_cross_entropy_of_probabilities",
    "ensemble_risk",
    "ensemble_risk_bound",
    "expected_penalty",
    "is_vacuous",
    "pointwise_stability",
    "regularized_curvature",
    "sparsity",
    "sparsity_gap_bound",
    "stability_bound",
    "stability_gap_bound",
    "two_stabilities_gap_bound",
]

"""Calibration: whether predicted probabilities are as large as examples are often right."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

#: Bins of the calibration error, as in the experiments of Guo et al. 2017, arXiv 1706.04599.
ECE_BINS = 15
#: Bins of a reliability diagram.
DIAGRAM_BINS = 10

Reals = NDArray[np.float64]


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    r"""Expected calibration error (ECE) of the most probable class.

    .. math:: \sum_b \frac{m_b}{m}\, |\mathrm{acc}_b - \mathrm{conf}_b|

    An example's confidence is the probability of its most probable class. Bin b of ``ECE_BINS``
    holds the m_b examples with confidence in ((b-1)/15, b/15]; acc_b and conf_b are their accuracy
    and mean confidence. Noise makes it positive for a calibrated predictor, too: see
    :func:`calibration_floor` and :func:`debiased_calibration_error`.

    Source: Guo et al. 2017, arXiv 1706.04599, Eq. 3. Not by torchmetrics, whose version 1.9 gives a
    confidence of exactly 1 a bin of its own (its issue 3510) and a number to probabilities that are
    NaN.

    Args:
        probabilities: (m, classes), m at least 1, rows sum to 1.
        labels: (m,), int64.

    Returns:
        The error, in [0, 1]; NaN if a probability is NaN.

    Two examples in one bin, one of them right:

    >>> from torch import tensor
    >>> sure = tensor([[0.95, 0.05], [1.0, 0.0]])
    >>> round(calibration_error(sure, tensor([0, 1])), 4)
    0.475
    """
    confidence = _confidence(probabilities)
    if np.isnan(confidence).any():
        return float("nan")
    residuals = _right(probabilities, labels) - confidence
    return float(np.abs(np.bincount(_bins(confidence), residuals)).sum() / len(confidence))


def calibration_floor(probabilities: Tensor) -> float:
    r"""Noise floor of the ECE: what it is on average for a calibrated predictor.

    .. math:: \frac1m \sum_b \mathbb E\,\Big|\sum_{i\in b} (R_i - c_i)\Big|,
       \qquad R_i\sim\mathrm{Bernoulli}(c_i)

    It is the expected ECE if an example with confidence c is right with probability c, with
    exactly these confidences c_i, independently. The number of right examples in a bin then has a
    Poisson-binomial distribution, which is convolved exactly; nothing is sampled. An ECE near the
    floor is no evidence of miscalibration. The floor falls like 1/sqrt(m).

    Source: expected deviations of a calibrated forecast in reliability diagrams, by resampling:
    Bröcker & Smith 2007, Weather and Forecasting 22. Bias of the ECE of calibrated predictors:
    Roelofs et al. 2022, arXiv 2012.08668.

    Args:
        probabilities: (m, classes), m at least 1, rows sum to 1.

    Returns:
        The floor, in [0, 1/2]; NaN if a probability is NaN.

    One example is right with probability 0.9: 0.9 · 0.1 + 0.1 · 0.9.

    >>> from torch import tensor
    >>> round(calibration_floor(tensor([[0.9, 0.1]])), 4)
    0.18
    """
    confidence = _confidence(probabilities)
    if np.isnan(confidence).any():
        return float("nan")
    bins = _bins(confidence)
    noise = [_mean_distance(confidence[bins == one]) for one in np.unique(bins)]
    return float(np.sum(noise) / len(confidence))


def debiased_calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    r"""Debiased l2 calibration error: signed root of an unbiased estimate of its square.

    .. math:: \widehat{\mathrm{CE}_2^2} = \sum_{b:\, m_b\ge2} \frac{m_b}{m}\,
       \frac{\sum_{i\ne j\in b} d_i d_j}{m_b (m_b-1)}, \qquad d_i = R_i - c_i

    d_i is 1 or 0 (right or wrong) less the confidence. What is estimated is
    :math:`\sum_b \frac{m_b}{m} (\mathbb E[d\,|\,b])^2`, the square of the binned l2 calibration
    error, in the ECE's bins. The l2 error is at least the ECE without noise (Jensen), and equals it
    if all bins are off by the same amount.

    *Unbiased*: labels are independent given the confidences; so for i ≠ j the mean of d_i d_j is
    the product of the means, 0 for a calibrated predictor. Bins with one example say nothing
    about their own noise and count as 0.

    The square is unbiased, its root is not. It is not clipped at 0: a negative value says that the
    bins deviate by less than noise, and averages over draws keep their meaning. Average
    :func:`signed_square` of it, then take the :func:`signed_root`.

    Source: Lee et al. 2022, arXiv 2203.01850 (debiased plug-in estimator of T-Cal, which divides by
    m_b² for m_b (m_b-1), so that a miscalibrated predictor scores less); with m_b - 1 as in Kumar,
    Liang & Ma 2019, arXiv 1909.10155, after Bröcker 2012 and Ferro & Fricker 2012.

    Exact for m confidences spread evenly over (1/2, 1), computed and simulated in
    ``tests/probes/metrics/test_calibration_error.py``. The miscalibrated predictor is right with
    probability c - (c - 1/2)/4; its l2 error is 0.072, and its ECE would be 0.062 without noise.

    ====================================== ===== ===== =====
    m                                        100   300   900
    ====================================== ===== ===== =====
    mean ECE, calibrated (the floor)       0.090 0.052 0.030
    mean ECE, miscalibrated                0.117 0.085 0.071
    root of the mean square, calibrated    0.000 0.000 0.000
    root of the mean square, miscalibrated 0.072 0.072 0.072
    noise of a single draw, calibrated     0.089 0.050 0.029
    noise of a single draw, miscalibrated  0.103 0.067 0.047
    ====================================== ===== ===== =====

    Noise: root of the square's standard deviation. So a single draw says little more than its ECE
    beside the floor; means over draws do.

    Args:
        probabilities: (m, classes), m at least 1, rows sum to 1.
        labels: (m,), int64.

    Returns:
        The estimate, in [-1, 1]; NaN if a probability is NaN.

    Both wrong with confidence 0.8: every d is -0.8.

    >>> from torch import tensor
    >>> sure = tensor([[0.8, 0.2], [0.8, 0.2]])
    >>> round(debiased_calibration_error(sure, tensor([1, 1])), 4)
    0.8

    One right of two, with confidence 0.9: d is 0.1 and -0.9.

    >>> round(debiased_calibration_error(tensor([[0.9, 0.1], [0.9, 0.1]]), tensor([0, 1])), 4)
    -0.3
    """
    confidence = _confidence(probabilities)
    if np.isnan(confidence).any():
        return float("nan")
    bins, residuals = _bins(confidence), _right(probabilities, labels) - confidence
    counts, sums = np.bincount(bins), np.bincount(bins, residuals)
    # The sum over all pairs less that over i = j.
    pairs = sums**2 - np.bincount(bins, residuals**2)
    several = counts > 1
    square = (pairs[several] / (counts[several] - 1)).sum() / len(confidence)
    return float(signed_root(square))


def signed_root(values: float | Reals) -> Reals:
    """Root of the size, with the sign of the value; inverse of :func:`signed_square`.

    >>> signed_root(np.array([-4.0, 9.0])).tolist()
    [-2.0, 3.0]
    """
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)), np.float64)


def signed_square(values: float | Reals) -> Reals:
    """Square, with the sign of the value.

    >>> signed_square(np.array([-2.0, 3.0])).tolist()
    [-4.0, 9.0]
    """
    return np.asarray(np.sign(values) * np.square(values), np.float64)


def _confidence(probabilities: Tensor) -> Reals:
    """Probability of the most probable class, (m,); NaN if one of the row is NaN."""
    return np.asarray(probabilities.detach().double().cpu().numpy().max(1), np.float64)


def _right(probabilities: Tensor, labels: Tensor) -> Reals:
    """1 where the most probable class is the label, 0 elsewhere, (m,)."""
    return np.asarray((probabilities.argmax(1) == labels).double().cpu().numpy(), np.float64)


def _bins(confidence: Reals) -> NDArray[np.intp]:
    """Number of each example's bin, from 0; an inner edge belongs to the bin below it."""
    return np.searchsorted(np.linspace(0, 1, ECE_BINS + 1)[1:-1], confidence)


def _mean_distance(chances: Reals) -> float:
    """Mean of |number of successes - its mean|, for independent trials with these chances."""
    distances = np.abs(np.arange(len(chances) + 1) - chances.sum())
    return float(_successes(chances) @ distances)


def _successes(chances: Reals) -> Reals:
    """Probabilities of 0, 1, ... successes (Poisson-binomial): convolved, half by half."""
    if len(chances) == 1:
        return np.array([1 - chances[0], chances[0]])
    half = len(chances) // 2
    return np.convolve(_successes(chances[:half]), _successes(chances[half:]))

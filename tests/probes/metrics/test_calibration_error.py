"""The expected calibration error is its definition; its floor and its debiased form are exact."""

from itertools import product
from math import isnan

import numpy as np
import pytest
import torch
from scipy.stats import norm

from probes.metrics.calibration_error import (
    ECE_BINS,
    calibration_error,
    calibration_floor,
    debiased_calibration_error,
    signed_root,
    signed_square,
)
from probes.metrics.class_probabilities import class_probabilities, labels_of
from probes.models.losses import cross_entropy, logistic

SIZES = (100, 300, 900)
#: Probability that a simulation is off by more than its tolerance.
ERROR_RATE = 1e-6
RUNS = 1000


def by_hand(probabilities, labels):
    """Expected calibration error, bin by bin."""
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    total = 0.0
    for number in range(ECE_BINS):
        low, high = number / ECE_BINS, (number + 1) / ECE_BINS
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            distance = (right[inside].mean() - confidence[inside].mean()).abs()
            total += float(distance * inside.double().mean())
    return total


def two_classes(confidence):
    """Probabilities whose first class is the most probable one, (m, 2)."""
    sure = torch.as_tensor(np.asarray(confidence), dtype=torch.float64)
    return torch.stack([sure, 1 - sure], 1)


def labelled(right):
    """Labels that the first class is right for, or not."""
    return 1 - torch.as_tensor(np.asarray(right)).long()


def expectation(measure, confidence, chances):
    """Mean of a measure over all ways to be right or wrong, weighted by their probability."""
    probabilities, total = two_classes(confidence), 0.0
    for right in product((0, 1), repeat=len(chances)):
        weight = np.prod(np.where(right, chances, 1 - np.asarray(chances)))
        total += weight * measure(probabilities, labelled(right))
    return total


def square(probabilities, labels):
    return float(signed_square(debiased_calibration_error(probabilities, labels)))


@pytest.mark.parametrize("loss", [cross_entropy, logistic], ids=lambda loss: loss.name)
def test_calibration_error_is_the_definition(loss):
    generator = torch.Generator().manual_seed(0)
    rows = 4 if loss is cross_entropy else 1
    outputs = 2 * torch.randn(rows, 200, generator=generator, dtype=torch.float64)
    # Confidences of exactly 1 and of exactly 1/2 or 1/4.
    outputs[:, :20], outputs[0, 20:40] = 0, 800
    labels = torch.randint(4 if rows == 4 else 2, (200,), generator=generator)
    targets = torch.eye(4)[labels].T if rows == 4 else labels.unsqueeze(0)
    probabilities = class_probabilities(loss, outputs).T
    assert torch.equal(labels_of(targets.double()), labels)
    assert (probabilities.max(1).values == 1).sum() >= 20
    torch.testing.assert_close(probabilities.sum(1), torch.ones(200, dtype=torch.float64))
    assert calibration_error(probabilities, labels) == pytest.approx(by_hand(probabilities, labels))


def test_small_confidences_of_many_classes_have_bins_of_their_own():
    """One right and one wrong, in the first bin and in the second: their errors do not cancel."""
    sure = torch.tensor([[0.06], [0.12]], dtype=torch.float64)
    probabilities = torch.cat([sure, ((1 - sure) / 19).expand(-1, 19)], 1)
    found = calibration_error(probabilities, torch.tensor([0, 1]))
    assert found == pytest.approx((0.94 + 0.12) / 2)


def test_the_last_bin_is_closed_at_one():
    """|1/2 - 0.975|, where two bins would give (0.05 + 1) / 2."""
    assert calibration_error(two_classes([0.95, 1.0]), labelled([1, 0])) == pytest.approx(0.475)


def test_an_inner_edge_belongs_to_the_bin_below():
    edge = np.linspace(0, 1, ECE_BINS + 1)[12]
    shared = two_classes([edge - 0.01, edge])
    apart = two_classes([edge, edge + 0.01])
    assert calibration_error(shared, labelled([1, 0])) == pytest.approx(abs(0.5 - (edge - 0.005)))
    assert calibration_error(apart, labelled([1, 0])) == pytest.approx((1 - edge + edge + 0.01) / 2)


@pytest.mark.parametrize("where", [slice(None), 1, (1, 1)], ids=["all", "an example", "a class"])
def test_nan_gives_nan(where):
    probabilities = two_classes([0.9, 0.8, 0.7])
    probabilities[where] = float("nan")
    labels = labelled([1, 0, 1])
    found = [
        calibration_error(probabilities, labels), calibration_floor(probabilities),
        debiased_calibration_error(probabilities, labels),
    ]  # fmt: skip
    assert all(isinstance(value, float) and isnan(value) for value in found)


def test_outputs_that_are_infinite_give_nan():
    outputs = torch.tensor([[float("inf"), 0.0], [0.0, 1.0]])
    probabilities = class_probabilities(cross_entropy, outputs).T
    assert isnan(calibration_error(probabilities, labels_of(torch.eye(2))))


def test_who_is_sure_and_right_has_no_error_and_no_noise():
    probabilities, labels = two_classes([1.0, 1.0, 1.0]), labelled([1, 1, 1])
    assert calibration_error(probabilities, labels) == 0
    assert calibration_floor(probabilities) == 0
    assert debiased_calibration_error(probabilities, labels) == 0


#: In two bins, in several with one example alone, and with examples that are always right.
CONFIDENCES = [
    [0.9, 0.91, 0.89, 0.6, 0.62, 0.64, 0.61],
    [0.55, 0.7, 0.72, 0.86, 0.95, 0.99],
    [1.0, 1.0, 0.97, 0.95, 0.8],
]


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_the_floor_is_the_expected_error_of_a_calibrated_predictor(confidence):
    expected = expectation(calibration_error, confidence, confidence)
    assert calibration_floor(two_classes(confidence)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_the_debiased_square_of_a_calibrated_predictor_is_zero_on_average(confidence):
    assert expectation(square, confidence, confidence) == pytest.approx(0, abs=1e-14)


def test_the_debiased_square_is_unbiased():
    """Three of five are off by 0.2 and two by -0.1; the bins' weights are 3/5 and 2/5."""
    confidence, chances = [0.9] * 3 + [0.6] * 2, [0.7] * 3 + [0.7] * 2
    truth = 3 / 5 * 0.2**2 + 2 / 5 * 0.1**2
    assert expectation(square, confidence, chances) == pytest.approx(truth, rel=1e-12)


def test_the_debiased_square_is_the_mean_product_over_pairs():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1, 40)
    right = generator.uniform(size=40) < confidence
    bins = np.ceil(confidence * ECE_BINS)
    total = 0.0
    for one in np.unique(bins):
        inside = [int(i) for i in np.flatnonzero(bins == one)]
        residuals = {i: right[i] - confidence[i] for i in inside}
        products = [residuals[i] * residuals[j] for i in inside for j in inside if i != j]
        total += len(inside) / 40 * np.mean(products) if products else 0
    assert square(two_classes(confidence), labelled(right)) == pytest.approx(total, rel=1e-10)


def test_labels_that_depend_on_one_another_look_miscalibrated():
    """Outside what is assumed: every example stands there twice, so pairs share their noise."""
    confidence = [0.9, 0.91, 0.89]

    def twice(probabilities, labels):
        return square(probabilities.repeat(2, 1), labels.repeat(2))

    variance = np.mean([c * (1 - c) for c in confidence])
    # Of the 30 ordered pairs, 6 are of an example and its copy.
    found = expectation(twice, confidence, confidence)
    assert found == pytest.approx(6 / 30 * variance, rel=1e-10)


def test_one_example_in_a_bin_says_nothing():
    assert debiased_calibration_error(two_classes([0.95, 0.7]), labelled([0, 1])) == 0


# What the docstring says of m = 100, 300 and 900.


def predictor(size, calibrated):
    """Confidences spread evenly over (1/2, 1), and with which probability each is right."""
    confidence = 0.5 + 0.5 * (np.arange(size) + 0.5) / size
    return confidence, confidence if calibrated else confidence - (confidence - 0.5) / 4


def grouped(confidence):
    """The examples of each bin."""
    bins = np.ceil(confidence * ECE_BINS)
    return [np.flatnonzero(bins == one) for one in np.unique(bins)]


def mean_error(confidence, chances):
    """Expected ECE: the number of successes, one trial after the other."""
    total = 0.0
    for inside in grouped(confidence):
        successes = np.ones(1)
        for chance in chances[inside]:
            successes = np.append(successes * (1 - chance), 0) + np.append(0, successes * chance)
        total += successes @ np.abs(np.arange(len(inside) + 1) - confidence[inside].sum())
    return total / len(confidence)


def mean_and_deviation(confidence, chances):
    """Of the debiased square: d_i = bias + noise, so products are constant, linear, bilinear."""
    mean, variance = 0.0, 0.0
    for inside in grouped(confidence):
        biases = (chances - confidence)[inside]
        noise = (chances * (1 - chances))[inside]
        scale = len(confidence) * (len(inside) - 1)
        others = biases.sum() - biases
        mean += (biases * others).sum() / scale
        pairs = noise.sum() ** 2 - (noise**2).sum()
        variance += (4 * (noise * others**2).sum() + 2 * pairs) / scale**2
    return mean, np.sqrt(variance)


def test_bias_is_as_documented():
    def row(name, values):
        return f"{name:38} " + " ".join(f"{value:.3f}" for value in values)

    page = debiased_calibration_error.__doc__
    for calibrated, name in ((True, "calibrated"), (False, "miscalibrated")):
        held = [predictor(size, calibrated) for size in SIZES]
        squares = [mean_and_deviation(*one) for one in held]
        floor = " (the floor)" if calibrated else ""
        assert row(f"mean ECE, {name}{floor}", [mean_error(*one) for one in held]) in page
        roots = [np.sqrt(mean) for mean, _ in squares]
        assert row(f"root of the mean square, {name}", roots) in page
        noise = [np.sqrt(deviation) for _, deviation in squares]
        assert row(f"noise of a single draw, {name}", noise) in page


@pytest.mark.parametrize("size", SIZES)
def test_the_floor_is_that_of_trials_one_after_the_other(size):
    confidence, _ = predictor(size, calibrated=True)
    expected = mean_error(confidence, confidence)
    assert calibration_floor(two_classes(confidence)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_simulated_means_are_those_that_are_documented(size, calibrated):
    """The square's mean, within what its exact variance allows; that with i = j is out of it."""
    confidence, chances = predictor(size, calibrated)
    generator = np.random.default_rng(0)
    probabilities = two_classes(confidence)
    draws = generator.uniform(size=(RUNS, size)) < chances
    found = [square(probabilities, labelled(right)) for right in draws]
    mean, deviation = mean_and_deviation(confidence, chances)
    tolerance = norm.isf(ERROR_RATE / 2) * deviation / np.sqrt(RUNS)
    assert np.mean(found) == pytest.approx(mean, abs=tolerance)
    residuals, groups = draws - confidence, grouped(confidence)
    biased = sum(residuals[:, one].sum(1) ** 2 / len(one) for one in groups) / size
    assert np.mean(biased) > mean + tolerance


def test_root_and_square_undo_one_another():
    values = np.array([-0.5, 0.0, 0.25])
    assert signed_square(signed_root(values)) == pytest.approx(values)
    assert isnan(signed_root(float("nan")))

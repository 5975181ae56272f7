"""Learners that are trained on every selection of a supersample, so that information is exact.

A population is a few points; a learner is a function of the examples that it trains on, in any
order, and has no randomness of its own. Training sets that occur more than once are learned once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from probes.statements.linear_losses import Array
from theory.information import plug_in_information

Indices = NDArray[np.int64]
#: Predictions at points, in [0, 1], of what was learned from features and labels.
Learner = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Population:
    """Points of equal probability.

    Attributes:
        features: (m,), all different, sorted.
        labels: 0 or 1, (m,).
    """

    features: Array
    labels: Array

    @classmethod
    def random(cls, points: int, generator: np.random.Generator) -> "Population":
        """The numbers from 0 on, with labels that rise with the number but for noise.

        Args:
            points: number of points.
            generator: of the labels.

        Returns:
            The population.
        """
        features = np.arange(points, dtype=float)
        labels = generator.random(points) < 0.2 + 0.6 * features / points
        return cls(features, labels.astype(float))

    def predictions(self, learner: Learner, training: Indices) -> Array:
        """What a learner says at every point.

        Args:
            learner: that is trained.
            training: numbers of the points that it is trained on, (..., n).

        Returns:
            Predictions, (..., points).
        """
        sets, which = np.unique(
            np.sort(training, axis=-1).reshape(-1, training.shape[-1]), axis=0, return_inverse=True
        )
        learned = [learner(self.features[s], self.labels[s], self.features) for s in sets]
        return np.array(learned)[which.ravel()].reshape(*training.shape[:-1], len(self.features))

    def losses(self, predictions: Array) -> Array:
        """Squared error at every point, in [0, 1]; the 0-1 loss of predictions that are 0 or 1."""
        return np.square(predictions - self.labels)

    def expected_gap(self, learner: Learner, n: int) -> float:
        """Risk less train loss, over all draws of n examples with replacement.

        Args:
            learner: that is trained.
            n: size of the training set.

        Returns:
            The mean gap, in units of the loss.
        """
        training = np.array(list(product(range(len(self.features)), repeat=n)))
        losses = self.losses(self.predictions(learner, training))
        return float(losses.mean() - np.take_along_axis(losses, training, axis=1).mean())


@dataclass(frozen=True)
class Supersamples:
    """All selections of some supersamples of n pairs.

    Attributes:
        selections: U, (2^n, n).
        predictions: at both examples of every pair, (2^n, supersamples, n, 2).
        losses: there, in [0, 1], of that shape.
    """

    selections: Indices
    predictions: Array
    losses: Array

    @classmethod
    def of(cls, learner: Learner, population: Population, pairs: Indices) -> "Supersamples":
        """Train on every selection of supersamples.

        Args:
            learner: that is trained.
            population: whose points are paired.
            pairs: numbers of the points, (supersamples, n, 2).

        Returns:
            Selections, predictions and losses.
        """
        selections = every_selection(pairs.shape[1])
        training = np.where(selections[:, None, :] == 1, pairs[..., 1], pairs[..., 0])
        everywhere = population.predictions(learner, training)
        asked = pairs.reshape(1, len(pairs), -1)
        shape = (len(selections), *pairs.shape)
        predictions = np.take_along_axis(everywhere, asked, axis=2).reshape(shape)
        losses = np.take_along_axis(population.losses(everywhere), asked, axis=2).reshape(shape)
        return cls(selections, predictions, losses)

    @property
    def differences(self) -> Array:
        """Loss at the second example less that at the first, (2^n, supersamples, n)."""
        return self.losses[..., 1] - self.losses[..., 0]

    @property
    def gaps(self) -> Array:
        """Gap of every selection, (2^n, supersamples)."""
        signs = 1 - 2 * self.selections[:, None, :]
        return (signs * self.differences).mean(axis=2)

    @property
    def gap(self) -> Array:
        """Expected gap given the supersample, (supersamples,)."""
        return self.gaps.mean(axis=0)

    @property
    def train_loss(self) -> Array:
        """Expected train loss given the supersample, (supersamples,)."""
        chosen = self.selections[:, None, :, None]
        return np.take_along_axis(self.losses, chosen, axis=3).mean(axis=(0, 2, 3))

    @cached_property
    def of_predictions(self) -> Array:
        """Information of U_i with both predictions, in nats, (supersamples, n)."""
        return self._information(pair_codes(self.predictions))

    @cached_property
    def of_losses(self) -> Array:
        """Information of U_i with both losses, in nats, (supersamples, n)."""
        return self._information(pair_codes(self.losses))

    @cached_property
    def of_differences(self) -> Array:
        """Information of U_i with the difference of losses, in nats, (supersamples, n)."""
        return self._information(value_codes(self.differences))

    @cached_property
    def of_single_losses(self) -> Array:
        """Sum of the information of U_i with each loss, in nats, (supersamples, n)."""
        codes = value_codes(self.losses)
        return self._information(codes[..., 0]) + self._information(codes[..., 1])

    def _information(self, codes: Indices) -> Array:
        many, pairs = codes.shape[1:]
        selections = np.tile(self.selections, (1, many))
        found = plug_in_information(selections, codes.reshape(len(codes), -1))
        return found.reshape(many, pairs)


@dataclass(frozen=True)
class LeaveOneOuts:
    """Every leave-one-out of some sets of n + 1 examples.

    Attributes:
        losses: of every example, without one, (sets, n + 1 left out, n + 1).
    """

    losses: Array

    @classmethod
    def of(cls, learner: Learner, population: Population, examples: Indices) -> "LeaveOneOuts":
        """Leave out every one of the examples.

        Args:
            learner: that is trained.
            population: whose points these are.
            examples: numbers of the points, (sets, n + 1).

        Returns:
            The losses of the learners.
        """
        size = examples.shape[1]
        kept = np.array([np.delete(np.arange(size), left) for left in range(size)])
        everywhere = population.losses(population.predictions(learner, examples[:, kept]))
        return cls(np.take_along_axis(everywhere, examples[:, None, :], axis=2))

    @property
    def left_out_loss(self) -> Array:
        """Expected loss of the example that was left out, (sets,)."""
        return np.diagonal(self.losses, axis1=1, axis2=2).mean(axis=1)

    @property
    def train_loss(self) -> Array:
        """Expected loss of the others, (sets,)."""
        size = self.losses.shape[1]
        return (self.losses.mean(axis=(1, 2)) * size - self.left_out_loss) / (size - 1)


def every_selection(n: int) -> Indices:
    """All 2^n rows of n zeros and ones."""
    return np.array(list(product((0, 1), repeat=n)))


def value_codes(values: Array) -> Indices:
    """A whole number for every value, of the array's shape."""
    return np.unique(values, return_inverse=True)[1].reshape(values.shape).astype(np.int64)


def pair_codes(values: Array) -> Indices:
    """A whole number for every pair of values: (..., 2) to (...)."""
    codes = value_codes(values)
    return codes[..., 0] * (codes.max() + 1) + codes[..., 1]


def memoriser(features: Array, labels: Array, points: Array) -> Array:
    """The label of what was seen, 0 elsewhere.

    Args:
        features: of the training set, (n,).
        labels: 0 or 1, (n,).
        points: where it is asked, (m,).

    Returns:
        What it says there, in [0, 1], (m,).
    """
    return np.array([labels[features == point].max(initial=0.0) for point in points])


def nearest_neighbour(features: Array, labels: Array, points: Array) -> Array:
    """The label of the nearest example, the smaller in a tie; arguments as of :func:`memoriser`."""
    return labels[np.abs(features[None, :] - points[:, None]).argmin(axis=1)]


def majority(features: Array, labels: Array, points: Array) -> Array:
    """The more frequent label, 0 in a tie; arguments as of :func:`memoriser`."""
    return np.full(len(points), float(labels.mean() > 0.5))


def threshold(features: Array, labels: Array, points: Array) -> Array:
    """1 from the smallest threshold with the fewest errors; arguments as of :func:`memoriser`."""
    thresholds = np.append(points, np.inf)
    errors = ((features[None, :] >= thresholds[:, None]) != labels).sum(axis=1)
    return (points >= thresholds[errors.argmin()]).astype(float)


def ridge(features: Array, labels: Array, points: Array) -> Array:
    """Ridge regression with an intercept, cut off at 0 and 1; arguments as of :func:`memoriser`."""
    centred = features - features.mean()
    slope = centred @ (labels - labels.mean()) / (centred @ centred + 1)
    return np.clip(labels.mean() + slope * (points - features.mean()), 0, 1)


#: The last one has losses other than 0 and 1; the first two always fit their examples.
LEARNERS: dict[str, Learner] = {
    "memoriser": memoriser,
    "nearest neighbour": nearest_neighbour,
    "majority": majority,
    "threshold": threshold,
    "ridge": ridge,
}
FITTING = ("memoriser", "nearest neighbour")

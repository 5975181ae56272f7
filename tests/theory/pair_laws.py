"""Laws of a selection and what is observed of its pair: whatever a learner, random or not, can do.

Everything of them is exact: the gap, the train loss, and the information of anything observed.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from theory.domain import Real

#: Losses that a pair may have, in [0, 1].
LOSSES = st.sampled_from([0.0, 1.0]) | st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
WEIGHTS = st.sampled_from([0, 1, 2]) | st.integers(0, 1000)


@dataclass(frozen=True)
class PairLaw:
    """The law of one pair.

    Attributes:
        losses: at both examples, for each of k predictions of the pair, (k, 2).
        given: probability of each prediction given U = 0 and given U = 1, (2, k).
    """

    losses: Real
    given: Real

    @property
    def train_loss(self) -> float:
        """Mean loss at the example that was chosen."""
        return float(np.mean([self.given[u] @ self.losses[:, u] for u in (0, 1)]))

    @property
    def test_loss(self) -> float:
        """Mean loss at the other one."""
        return float(np.mean([self.given[u] @ self.losses[:, 1 - u] for u in (0, 1)]))

    @property
    def of_predictions(self) -> float:
        """Information of U with the prediction."""
        return divergence_from_mean(self.given)

    @property
    def of_losses(self) -> float:
        """Information of U with both losses."""
        return self.information([tuple(pair) for pair in self.losses])

    @property
    def of_differences(self) -> float:
        """Information of U with their difference."""
        return self.information(list(self.losses[:, 1] - self.losses[:, 0]))

    @property
    def of_single_losses(self) -> float:
        """Sum of the information of U with each loss."""
        return sum(self.information(list(self.losses[:, column])) for column in (0, 1))

    def information(self, labels: list) -> float:
        """Information of U with a function of the prediction, by its values."""
        parts = [np.array([label == one for one in labels]) for label in dict.fromkeys(labels)]
        return divergence_from_mean(np.array([self.given[:, part].sum(axis=1) for part in parts]).T)


def divergence_from_mean(given: Real) -> float:
    """Mean divergence of two laws, (2, k), from their mean: the information of a fair choice."""
    mean = np.broadcast_to(given.mean(axis=0), given.shape)
    seen = given > 0
    return max(float((given[seen] * np.log(given[seen] / mean[seen])).sum()) / 2, 0.0)


def law(losses, weights) -> PairLaw:
    """A law with probabilities in proportion to weights, (2, k)."""
    table = np.array(weights, dtype=float)
    return PairLaw(np.array(losses, dtype=float), table / table.sum(axis=1, keepdims=True))


@st.composite
def laws(draw, losses=LOSSES, fitted=False):
    """A law with up to four predictions; fitted, the chosen example's loss is always 0."""
    k = draw(st.integers(1, 4))
    table = [[draw(losses), draw(losses)] for _ in range(k)]
    rows = [draw(st.lists(WEIGHTS, min_size=k, max_size=k)) for _ in (0, 1)]
    if fitted:
        for u in (0, 1):
            rows[u] = [w if pair[u] == 0 else 0 for w, pair in zip(rows[u], table, strict=True)]
    for u, row in enumerate(rows):
        if sum(row) == 0:
            table.append([0.0, 0.0])
            for v in (0, 1):
                rows[v].append(int(v == u))
    return law(table, rows)


def means(several, name) -> list[float]:
    """A property of each of several laws: one a pair."""
    return [getattr(one, name) for one in several]


def gap(several) -> float:
    """Mean over pairs of test less train loss."""
    return float(np.mean(means(several, "test_loss")) - np.mean(means(several, "train_loss")))

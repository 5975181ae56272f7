"""What all comparisons of dropout with its controls at equal fit say alike."""

from probes.results.answer_words import not_reached_in_words
from probes.results.result import Result


class MatchedComparison(Result):
    """Dropout against its controls at equal fit.

    ``summary`` is of :func:`probes.cells.matched_controls.decide`.
    """

    @property
    def restrictions(self) -> list[str]:
        """What restricts the comparisons: also what "not reached" is."""
        return [*super().restrictions, *not_reached_in_words(self.summary)]

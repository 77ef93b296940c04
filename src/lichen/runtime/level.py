"""The quality of a file: what a person asks for, what the header states, and where between trained rates that is."""

from __future__ import annotations

from dataclasses import dataclass

from lichen.errors import UsageError

LEVEL_STEPS = 512  # steps of a header's quality index between two trained rates


@dataclass(frozen=True, order=True)
class Level:
    """A quality, made once and carried. `index` is what the header states: 1/512 of the way between trained rates."""

    index: int

    @staticmethod
    def of_quality(quality: float, rates: int) -> Level:
        """The level of a quality 0 ... 100 for a model of so many trained rates. Raises `UsageError` out of range."""
        if not 0 <= quality <= 100:
            raise UsageError(f"`quality` must lie in 0 ... 100, not {quality}")
        return Level(round(quality / 100 * Level.top(rates).index))

    @staticmethod
    def top(rates: int) -> Level:
        """The highest quality of a model of so many trained rates."""
        return Level((rates - 1) * LEVEL_STEPS)

    @property
    def rate_level(self) -> float:
        """The position between the trained rates: 0 is the first of them, 1.5 half-way from the second to the third."""
        return self.index / LEVEL_STEPS

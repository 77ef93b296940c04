"""A guard against bad gradients: steps that are not finite, or whose gradient explodes, are skipped and counted."""

from __future__ import annotations

import math

from lichen.errors import TrainingDiverged

BAD_STEPS_MAX = 50  # in a row; after more the training stops
EXPLODED = 100.0  # times the usual norm of the gradient
SETTLED = 100  # good steps before there is a usual norm
MEMORY = 0.99  # of the moving average of the norm's logarithm


class GradientGuard:
    """Decides for each step, by its loss and its gradient's norm, whether it is taken; `skipped` counts the others."""

    def __init__(self) -> None:
        self.skipped = 0
        self._bad_in_a_row = 0
        self._good = 0
        self._usual_log = 0.0

    def accepts(self, loss: float, norm: float) -> bool:
        """Whether to take the step. Raises `TrainingDiverged` after too many bad steps in a row."""
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite and not self._exploded(norm):
            self._learn(norm)
            return True
        self.skipped += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row > BAD_STEPS_MAX:
            what = "exploded" if finite else "were not finite"
            raise TrainingDiverged(f"{BAD_STEPS_MAX} steps in a row {what} (loss {loss:g}); lower learning_rate")
        return False

    def _exploded(self, norm: float) -> bool:
        return self._good >= SETTLED and norm > EXPLODED * math.exp(self._usual_log)

    def _learn(self, norm: float) -> None:
        memory = min(MEMORY, self._good / (self._good + 1))
        self._usual_log = memory * self._usual_log + (1 - memory) * math.log(max(norm, 1e-30))
        self._good += 1
        self._bad_in_a_row = 0

    def state(self) -> list[float]:
        """The state for a checkpoint; `restore` takes it."""
        return [self.skipped, self._bad_in_a_row, self._good, self._usual_log]

    def restore(self, state: list[float]) -> None:
        """Go on from a `state`."""
        skipped, bad_in_a_row, good, self._usual_log = state
        self.skipped, self._bad_in_a_row, self._good = int(skipped), int(bad_in_a_row), int(good)

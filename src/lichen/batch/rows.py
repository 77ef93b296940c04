"""What became of each picture of a job as a row of plain values: for lines, for JSON, and for the manifest."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lichen.batch.tasks import Done

if TYPE_CHECKING:
    import pyarrow


class Outcome(enum.Enum):
    """What became of a picture."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture of a job: names of its file and of its result as they were given, sizes, and what went wrong.

    Sizes are in bytes and pixels, `seconds` those of the work on it, waiting left out. `psnr_db` is that of the
    decoded 8-bit samples, where it was asked for. `error_kind` is the name of the error's class.
    """

    source: str
    target: str
    outcome: Outcome
    size_in_bytes: int = 0
    size_out_bytes: int = 0
    width: int = 0
    height: int = 0
    psnr_db: float | None = None
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    error: str | None = None
    error_kind: str | None = None

    @staticmethod
    def of(done: Done) -> Row:
        """The row of a task."""
        outcome = Outcome.FAILED if done.error is not None else Outcome.SKIPPED if done.skipped else Outcome.DONE
        return Row(
            source=str(done.task.source),
            target=str(done.task.target),
            outcome=outcome,
            size_in_bytes=done.size_in_bytes,
            size_out_bytes=done.size_out_bytes,
            width=done.width,
            height=done.height,
            psnr_db=done.psnr_db,
            seconds=done.seconds,
            notices=done.notices,
            error=None if done.error is None else str(done.error),
            error_kind=None if done.error is None else type(done.error).__name__,
        )

    @staticmethod
    def of_facts(facts: dict[str, Any]) -> Row:
        """The row that has these."""
        return Row(**facts | {"outcome": Outcome(facts["outcome"]), "notices": tuple(facts["notices"])})

    def facts(self) -> dict[str, Any]:
        """What JSON and the manifest have of it. A PSNR that is infinite is none: JSON has no such number."""
        psnr_db = self.psnr_db if self.psnr_db is None or math.isfinite(self.psnr_db) else None
        return {**vars(self), "outcome": self.outcome.value, "notices": list(self.notices), "psnr_db": psnr_db}


def columns() -> pyarrow.Schema:
    """The columns of a table of rows, with their types."""
    import pyarrow

    whole, real, text = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
    types = {"source": text, "target": text, "outcome": text, "size_in_bytes": whole, "size_out_bytes": whole}
    types |= {"width": whole, "height": whole, "psnr_db": real, "seconds": real}
    types |= {"notices": pyarrow.list_(text), "error": text, "error_kind": text}
    return pyarrow.schema(types)

"""The pictures that a result is a mean over: results of different pictures cannot be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DataSet:
    """How many pictures, and a digest of their pixels, as far as they are known.

    The digest does not depend on names: renamed pictures are the same ones, others under the same names are not.
    """

    pictures: int | None = None
    digest: str | None = None

    @staticmethod
    def of(pixels: Iterable[str]) -> DataSet:
        """The data set of pictures whose samples have these CRC-32, as a results table keeps them."""
        found = sorted(pixels)
        return DataSet(len(found), hashlib.sha256(" ".join(found).encode()).hexdigest()[:16])

    @staticmethod
    def of_meta(meta: object) -> DataSet:
        """What a summary's `meta` says: nothing in files of other tools, the number alone in older ones of ours."""
        said: dict[str, Any] = meta if isinstance(meta, dict) else {}
        pictures, digest = said.get("pictures"), said.get("data_set")
        return DataSet(pictures if isinstance(pictures, int) else None, digest if isinstance(digest, str) else None)

    def differs(self, other: DataSet) -> bool:
        """Whether the number of pictures or the digest is known of both and not the same."""
        pairs = (self.pictures, other.pictures), (self.digest, other.digest)
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def __str__(self) -> str:
        return f"{self.pictures} pictures" + (f" ({self.digest})" if self.digest else "")


UNKNOWN = DataSet()
KODAK = DataSet(24, "d025acdb9bbba7a8")
PUBLISHED_SETS = {"kodak": KODAK, "clic2020-professional": DataSet(41)}  # by their folder; CLIC's pixels are not known

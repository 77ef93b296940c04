"""The manifest of a job: a table with a row for each picture, which a job that was stopped goes on with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from lichen.batch.rows import Outcome, Row, columns
from lichen.errors import BadInput, OutputError, UsageError
from lichen.image.files import refuse_existing, write_atomically

ENDINGS = (".parquet", ".jsonl")
_ROWS_AT_ONCE = 50_000  # of a Parquet file


class Manifest:
    """Rows on their way to a `.parquet` or `.jsonl` file: each is in a journal beside it as soon as it is known.

    The file appears when the job ends, for whatever reason. What a killed process left in the journal is not lost: the
    next that begins there has it. With `resumed` the rows of the file are kept, and those of a picture that is skipped
    stand. Raises `UsageError` for another ending, `OutputExists` for a file that is neither to be continued nor
    replaced, `BadInput` for one that is no manifest, `OutputError` where it cannot be written.
    """

    def __init__(self, path: Path, resumed: bool = False, force: bool = False) -> None:
        if path.suffix.lower() not in ENDINGS:
            raise UsageError(f"{path}: a manifest ends with {' or '.join(ENDINGS)}")
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet  # noqa: F401 - said before the work, not behind it
        refuse_existing(path, overwrite=resumed or force)
        self.path, self._journal = path, path.with_name(f".{path.name}.journal")
        self._rows = self._known() if resumed else {}  # a line of JSON for each result: a million fit into memory
        self._resumed = resumed
        self._file: TextIO | None = None

    def size_bytes(self, target: str) -> int | None:
        """How large a result was when it was made; None where no row says so."""
        row = json.loads(self._rows.get(target, "{}"))
        return int(row["size_out_bytes"]) if row.get("outcome") == Outcome.DONE.value else None

    def __enter__(self) -> Manifest:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._journal.open("a" if self._resumed else "w", encoding="utf-8")
            self._file.write("\n" if self._file.tell() else "")  # behind a line that a killed process left half-written
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error
        return self

    def add(self, row: Row) -> None:
        """One more picture. One that is skipped leaves what is known of it."""
        if row.outcome is not Outcome.SKIPPED or self.size_bytes(row.target) is None:
            self._rows[row.target] = json.dumps(row.facts()) + "\n"
            self._write(self._rows[row.target])

    def __exit__(self, *error: object) -> None:
        assert self._file is not None
        self._file.close()
        lines = self._rows.values()
        data = _parquet(lines) if self.path.suffix.lower() == ".parquet" else "".join(lines).encode()
        write_atomically(self.path, data, overwrite=True)
        with contextlib.suppress(OSError):
            self._journal.unlink()

    def _write(self, line: str) -> None:
        assert self._file is not None
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}") from error

    def _known(self) -> dict[str, str]:
        """The rows of the file, and of the journal that a killed process left, by their targets."""
        rows = read_manifest(self.path) if self.path.exists() else []
        rows += _whole_lines(self._journal) if self._journal.exists() else []
        return {row["target"]: json.dumps(row) + "\n" for row in rows}


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """The rows of a manifest. Raises `BadInput` for what is none."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet

            rows: list[dict[str, Any]] = pyarrow.parquet.ParquetFile(path).read().to_pylist()
        else:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if any({"target", "outcome", "size_out_bytes"} - row.keys() for row in rows):
            raise ValueError("columns are missing")
    except (OSError, ValueError, AttributeError) as error:  # pyarrow's errors are of these kinds too
        raise BadInput(f"{path} is no manifest ({error}); name another, or remove it") from error
    return rows


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a journal, without lines that a killed process left half-written."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)


def _parquet(lines: Iterable[str]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    schema, sink, left = columns(), pyarrow.BufferOutputStream(), map(json.loads, lines)
    with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        while part := list(islice(left, _ROWS_AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))
    return bytes(sink.getvalue())

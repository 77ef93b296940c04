"""One file measured: bytes, distortion, seconds, memory; and the table that keeps such rows."""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lichen.errors import BadInput
from lichen.image.files import write_atomically
from lichen.lab.evaluation.codecs import CodecUnderTest, Entry
from lichen.metrics import decibels, ms_ssim, psnr_db


@dataclass(frozen=True)
class Row:
    """A file: `model` at `setting` on `picture`. Missing figures are nan, written as n/a.

    `version` is the weights' hash or the peer's library; `pixels` the CRC-32 of the picture's RGB
    samples; `bpp` 8 times the file's bytes over its pixels; `excess_bpp` the file less the estimate;
    `peak_mb` the memory that encoding and decoding took at their highest, above the loaded codec at rest;
    `load_average` how many processes wanted the machine in the minute before: seconds of a crowded one are too long.
    `machine`, `cpus`, `processes` and `threads` are of where the row was made; "" and 0 where that was not kept.
    """

    picture: str
    model: str
    version: str
    setting: float
    pixels: str
    width: int
    height: int
    size_bytes: int
    bpp: float
    estimated_bpp: float
    excess_bpp: float
    psnr_db: float
    ms_ssim: float
    ms_ssim_db: float
    encode_s: float
    decode_s: float
    peak_mb: float
    load_average: float = math.nan
    machine: str = ""
    cpus: int = 0
    processes: int = 0
    threads: int = 0

    @property
    def key(self) -> tuple[str, str, float]:
        return self.model, self.picture, self.setting

    def line(self) -> str:
        """The row as a line of a table."""
        return "\t".join(_text(f.name, getattr(self, f.name)) for f in dataclasses.fields(self))

    @staticmethod
    def of_line(line: str) -> Row:
        """The inverse of `line`, also of one of an older table. Raises `ValueError`."""
        fields, cells = dataclasses.fields(Row), line.rstrip("\n").split("\t")
        cells += ["n/a"] * (len(fields) - len(cells)) if len(cells) in _OLDER else []
        return Row(**{f.name: _value(str(f.type), cell) for f, cell in zip(fields, cells, strict=True)})


HEAD = "\t".join(f.name for f in dataclasses.fields(Row))
_OLDER = (17, 18)  # columns of tables from before the load, and the machine, were kept: read, and written anew
_KEPT_SINCE = ("machine", "cpus", "processes", "threads")
_HEADS = {"\t".join(HEAD.split("\t")[:count]) + "\n" for count in (*_OLDER, len(HEAD.split("\t")))}
_PLACES = {"psnr_db": 4, "ms_ssim": 6, "ms_ssim_db": 4, "encode_s": 4, "decode_s": 4, "peak_mb": 1, "load_average": 1}


def _text(name: str, value: object) -> str:
    if not isinstance(value, float):
        return "n/a" if name in _KEPT_SINCE and not value else str(value)
    if math.isnan(value):
        return "n/a"
    return f"{value:.10g}" if name == "setting" else f"{value:.{_PLACES.get(name, 5)}f}"


def _value(kind: str, text: str) -> Any:
    if kind == "str":
        return "" if text == "n/a" else text
    if kind == "int":
        return 0 if text == "n/a" else int(text)
    return math.nan if text == "n/a" else float(text)


def digest(pixels: NDArray[np.uint8]) -> str:
    """CRC-32 of a picture's samples, as a table keeps it."""
    return f"{zlib.crc32(pixels.tobytes()):08x}"


def measure(name: str, contestant: CodecUnderTest, entry: Entry, pixels: NDArray[np.uint8], setting: float) -> Row:
    """One picture, (H, W, 3) uint8, by one contestant at one setting: the whole file, and back."""
    image = Image.fromarray(pixels)
    at_rest = _rest()
    start = time.perf_counter()
    data = contestant.encode(image, setting)
    encoded = time.perf_counter()
    back = np.asarray(contestant.decode(data, setting))
    done = time.perf_counter()
    peak_mb = max(_status_mb("VmHWM") - at_rest, 0.0)
    estimate = contestant.estimated_bpp(image, setting)
    bpp, similarity = 8 * len(data) / (image.width * image.height), ms_ssim(pixels, back)
    return Row(
        picture=name,
        model=entry.name,
        version=entry.versions[setting],
        setting=setting,
        pixels=digest(pixels),
        width=image.width,
        height=image.height,
        size_bytes=len(data),
        bpp=bpp,
        estimated_bpp=math.nan if estimate is None else estimate,
        excess_bpp=math.nan if estimate is None else bpp - estimate,
        psnr_db=psnr_db(pixels, back),
        ms_ssim=similarity,
        ms_ssim_db=decibels(similarity),
        encode_s=encoded - start,
        decode_s=done - encoded,
        peak_mb=peak_mb,
        load_average=_load_average(),
    )


def _load_average() -> float:
    """Of the last minute; nan where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return math.nan


def _rest() -> float:
    """Give freed memory back, forget the peak so far, and return the resident memory in MB; nan but on Linux."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library of that name, None
        return math.nan
    return _status_mb("VmRSS")


def _status_mb(field: str) -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return math.nan
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith(field)]
    return int(kilobytes[0]) * 1024 / 1e6 if kilobytes else math.nan


class Table:
    """Rows in a TSV file, appended as they come: a run can be killed and goes on."""

    def __init__(self, path: Path) -> None:
        """Read what is there. Raises `BadInput` for another kind of file; a last line cut short is dropped."""
        self.path = path
        self.rows: dict[tuple[str, str, float], Row] = {}
        self._sound = path.exists()
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").split("\n")
        lines = [line + "\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
        if not lines or lines[0] not in _HEADS:
            raise BadInput(f"{path}: not a results table of this version; give another --output")
        self._sound = lines[0] == HEAD + "\n"
        for number, line in enumerate(lines[1:], 2):
            if not line.endswith("\n"):
                self._sound = False
                break
            try:
                row = Row.of_line(line)
            except (ValueError, KeyError) as error:
                raise BadInput(f"{path}, line {number}: {error}; mend or remove the line") from error
            self.rows[row.key] = row

    def add(self, rows: list[Row]) -> None:
        """Append rows to the file, at once."""
        if not self._sound:
            self.save()
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(row.line() + "\n" for row in rows))
        self.rows |= {row.key: Row.of_line(row.line()) for row in rows}  # rounded as in the file

    def save(self) -> None:
        """Write the whole table anew, in order."""
        order = {model: number for number, model in enumerate(dict.fromkeys(r.model for r in self.rows.values()))}
        rows = sorted(self.rows.values(), key=lambda r: (order[r.model], r.picture, r.setting))
        text = "".join(line + "\n" for line in [HEAD, *(row.line() for row in rows)])
        write_atomically(self.path, text.encode(), overwrite=True)
        self._sound = True

    def of(self, model: str) -> list[Row]:
        """The rows of one model."""
        return [row for row in self.rows.values() if row.model == model]

    def drop(self, rows: list[Row]) -> None:
        """Forget rows, in the file too."""
        gone = {row.key for row in rows}
        if gone:
            self.rows = {key: row for key, row in self.rows.items() if key not in gone}
            self.save()

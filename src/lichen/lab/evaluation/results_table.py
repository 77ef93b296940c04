"""Measurements of files, and the table that keeps them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lichen.errors import BadInput
from lichen.image.files import write_atomically


@dataclass(frozen=True)
class Measurement:
    """One file: `model` at `setting` on `picture`. Missing figures are nan, written as n/a.

    * `version`: the weights' hash, or the peer's library; `pixels`: CRC-32 of the picture's RGB samples.
    * `width`, `height` in pixels; `bpp`: 8 times the file's bytes over the pixels of the unpadded picture.
    * `estimated_bpp`: the model's estimate, headers not counted; `estimated_y_bpp` and `estimated_z_bpp`, the latents
      and the hyper-latents, add up to it; `excess_bpp`: the file less the estimate.
    * `psnr_db`, `ms_ssim` (0 ... 1), `ms_ssim_db`: on 8-bit RGB.
    * `encode_s`, `decode_s`: seconds of one call; `load_average`: processes that wanted the machine in the minute
      before. Seconds of a crowded machine are too long.
    * `peak_mb`: the most memory that both calls took, above the loaded codec at rest.
    * `machine`, `cpus`, `processes`, `threads`: where the file was made; "" and 0 where that was not kept.
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
    estimated_y_bpp: float = math.nan
    estimated_z_bpp: float = math.nan

    @property
    def key(self) -> tuple[str, str, float]:
        """What there is one measurement of: model, picture, setting."""
        return self.model, self.picture, self.setting

    def line(self) -> str:
        """The measurement as a line of a table."""
        return "\t".join(_text(f.name, getattr(self, f.name)) for f in dataclasses.fields(self))

    @staticmethod
    def of_line(line: str) -> Measurement:
        """The inverse of `line`, also of a line of an older table. Raises `ValueError`."""
        fields, cells = dataclasses.fields(Measurement), line.rstrip("\n").split("\t")
        cells += ["n/a"] * (len(fields) - len(cells)) if len(cells) in _OLDER else []
        return Measurement(**{f.name: _value(str(f.type), cell) for f, cell in zip(fields, cells, strict=True)})


HEAD = "\t".join(f.name for f in dataclasses.fields(Measurement))
_OLDER = (17, 18, 22)  # columns of older tables: before the load, the machine, and the bits of y and z were kept
_EMPTY_IS_UNKNOWN = ("machine", "cpus", "processes", "threads")
_HEADS = {"\t".join(HEAD.split("\t")[:count]) + "\n" for count in (*_OLDER, len(HEAD.split("\t")))}
_PLACES = {"psnr_db": 4, "ms_ssim": 6, "ms_ssim_db": 4, "encode_s": 4, "decode_s": 4, "peak_mb": 1, "load_average": 1}


def _text(name: str, value: object) -> str:
    if not isinstance(value, float):
        return "n/a" if name in _EMPTY_IS_UNKNOWN and not value else str(value)
    if math.isnan(value):
        return "n/a"
    return f"{value:.10g}" if name == "setting" else f"{value:.{_PLACES.get(name, 5)}f}"


def _value(field_type: str, text: str) -> Any:
    if field_type == "str":
        return "" if text == "n/a" else text
    if field_type == "int":
        return 0 if text == "n/a" else int(text)
    return math.nan if text == "n/a" else float(text)


class ResultsTable:
    """Measurements in a TSV file, appended as they come: a run can be killed and goes on."""

    def __init__(self, path: Path) -> None:
        """Read what is there. Raises `BadInput` for another kind of file; a last line cut short is dropped."""
        self.path = path
        self.rows: dict[tuple[str, str, float], Measurement] = {}
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
                row = Measurement.of_line(line)
            except (ValueError, KeyError) as error:
                raise BadInput(f"{path}, line {number}: {error}; mend or remove the line") from error
            self.rows[row.key] = row

    def add(self, rows: list[Measurement]) -> None:
        """Append rows to the file, at once."""
        if not self._sound:
            self.save()
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(row.line() + "\n" for row in rows))
        self.rows |= {row.key: Measurement.of_line(row.line()) for row in rows}  # rounded as in the file

    def save(self) -> None:
        """Write the whole table anew, in order."""
        order = {model: number for number, model in enumerate(dict.fromkeys(r.model for r in self.rows.values()))}
        rows = sorted(self.rows.values(), key=lambda r: (order[r.model], r.picture, r.setting))
        text = "".join(line + "\n" for line in [HEAD, *(row.line() for row in rows)])
        write_atomically(self.path, text.encode(), overwrite=True)
        self._sound = True

    def of(self, model: str) -> list[Measurement]:
        """The rows of one model."""
        return [row for row in self.rows.values() if row.model == model]

    def drop(self, rows: list[Measurement]) -> None:
        """Forget rows, in the file too."""
        gone = {row.key for row in rows}
        if gone:
            self.rows = {key: row for key, row in self.rows.items() if key not in gone}
            self.save()

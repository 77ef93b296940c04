"""The walk of the codec: the steps' predictions are graphs, coding and what is decoded are numpy.

The same loop as the lab's (`lab.prior.walk`), on maps (1, C, h, w) of the whole picture, tile by tile.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lichen.coding import trellis
from lichen.coding.coders import Reader, Writer
from lichen.coding.table_index import TableIndex, zero_mean_index
from lichen.runtime.correction import Corrector
from lichen.runtime.fixed_point import on_grid
from lichen.runtime.graphs import Graphs
from lichen.runtime.scale_index import at_rate, scale_index
from lichen.runtime.tiles import PriorTiling, Tile
from lichen.runtime.weights_file import WeightsFile

SIZES = 256  # of |s| that have scores of their own; the last stands for all beyond
CENTROID_MAX = 0.4375
Floats = NDArray[np.float32]


@functools.cache
def _scores(kind: str, skip: int) -> Floats:
    """Score and information of a symbol, by scale index * 256 + size: (64 * 256, 2); 0 where nothing is coded."""
    with (resources.files("lichen.coding") / "scores.npz").open("rb") as file, np.load(file) as stored:
        table = stored[kind].astype(np.float32)
    table[: skip + 1] = 0
    flat: Floats = table.reshape(-1, 2)
    return flat


@dataclass(frozen=True)
class Cell:
    """Every second row and column from `row` and `column` on, of every `every`th channel from `first` on."""

    row: int
    column: int
    first: int
    every: int

    def of(self, plane: NDArray[Any]) -> NDArray[Any]:
        """This cell of a map (C, h, w), as a view (h / 2, w / 2, c)."""
        return plane[self.first :: self.every, self.row :: 2, self.column :: 2].transpose(1, 2, 0)


class FileCoder:
    """Writes blocks when it is given y, else reads them: symbols (n,) int64, 0 where nothing is coded."""

    def __init__(self, payload: bytes | None = None) -> None:
        self._reader = None if payload is None else Reader([payload])
        self._writer = Writer() if payload is None else None

    def code(self, place: TableIndex, mean: NDArray[Any], y: NDArray[Any] | None) -> NDArray[np.int64]:
        """The symbols of a block; `mean` and `y` are (n,)."""
        if self._writer is not None and y is not None:
            return self._writer.write(place, y.astype(np.float64) - mean)
        assert self._reader is not None
        symbols = self._reader.read(place)
        assert symbols is not None
        return symbols

    def finish(self) -> tuple[bytes, ...]:
        """The payload that was written."""
        assert self._writer is not None
        return self._writer.finish()


class Walk:
    """A prior ready to walk: its graphs, and the tables that are numpy's business."""

    def __init__(self, manifest: dict[str, Any], weights: WeightsFile, graphs: Graphs) -> None:
        self._manifest, self._weights, self._graphs = manifest, weights, graphs
        self._steps = [[Cell(*cell) for cell in step] for step in manifest["steps"]]
        self._unit = manifest["hyper_stride"] // manifest["stride"]
        self._tables, self._skip = manifest["family"]["tables"], manifest["family"]["skip"]
        self._centroids: Floats | None = None
        if manifest["centroids"]:
            table = on_grid(weights.floats("prior.context.centroids.table").clip(-CENTROID_MAX, CENTROID_MAX))
            self._centroids = np.concatenate([np.zeros((len(table), 1)), table], axis=1).astype(np.float32)

    def run(
        self,
        coder: FileCoder,
        rate_level: float,
        tiling: PriorTiling,
        *,
        y: Floats | None,
        z: Floats | None,
        trellis_coded: bool,
        correct: Corrector | None = None,
    ) -> Floats:
        """Code z (1, Z, h', w') and y (1, M, h, w), `correct`ing what is left, or read them: y_hat (1, M, h, w)."""
        rate_levels, unit = np.array([rate_level], np.float64), self._unit
        features = self._features(self._hyper(coder, rate_level, tiling.whole, z), rate_levels, tiling)
        known = np.zeros((1, self._manifest["latents"], *features.shape[2:]), np.float32)
        before, after = (np.zeros((1, 2, known.shape[1], *tiling.whole.shape), np.float32) for _ in range(2))
        several = len(tiling.tiles) > 1
        halo = max(tiling.halos.context, 1) if several else 0
        for number, cells in enumerate(self._steps):
            before, after = (after, before) if number > 0 else (before, after)
            if y is not None and correct is not None and correct.due(number):
                y = correct(known, y, self._left(number, known))
            for tile in tiling.tiles:
                outer = tile.grown(halo, tiling.whole)
                predicted = self._graphs.run(
                    f"predict{number}",
                    features=np.ascontiguousarray(outer.of(features, unit)),
                    known=self._unknown(outer.of(known, unit), cells, several),
                    counts=np.ascontiguousarray(outer.of(before, 1)),
                    rate_level=rate_levels,
                )
                own = [self._within(values, cells, outer, tile.seen_from(outer)) for values in predicted]
                block = None if y is None else self._gathered(tile.of(y, unit)[0], cells)
                symbols = coder.code(zero_mean_index(own[1], self._tables, self._skip, trellis_coded), own[0], block)
                self._put(tile.of(known, unit)[0], cells, self._decoded(own, symbols, trellis_coded))
                if number + 1 < len(self._steps):
                    tile.of(after, 1)[:] = tile.of(before, 1)
                    self._count(tile.of(after, 1)[0], cells, own[2], symbols)
        return known

    def _hyper(self, coder: FileCoder, rate_level: float, whole: Tile, z: Floats | None) -> Floats:
        """z_hat (1, Z, h', w')."""
        mean, raw_scale = (
            at_rate(self._weights.floats(f"prior.hyper_prior.{name}.table"), rate_level)
            for name in ("mean", "raw_scale")
        )
        positions = whole.area
        block = None if z is None else z[0].transpose(1, 2, 0).reshape(-1)
        place = zero_mean_index(np.tile(scale_index(raw_scale), positions), "gaussian", self._manifest["hyper_skip"])
        means = np.tile(mean, positions)
        z_hat = (means + coder.code(place, means, block)).astype(np.float32)
        return np.ascontiguousarray(z_hat.reshape(*whole.shape, -1).transpose(2, 0, 1)[None])

    def _features(self, z_hat: Floats, rate_levels: NDArray[np.float64], tiling: PriorTiling) -> Floats:
        rows, columns = (side * self._unit for side in tiling.whole.shape)
        features = np.empty((1, self._manifest["features"], rows, columns), np.float32)
        for tile in tiling.tiles:
            outer = tile.grown(tiling.halos.synthesis, tiling.whole)
            near = np.ascontiguousarray(outer.of(z_hat, 1))
            (part,) = self._graphs.run("hyper_synthesis", z_hat=near, rate_level=rate_levels)
            tile.of(features, self._unit)[:] = tile.seen_from(outer).of(part, self._unit)
        return features

    def _left(self, number: int, known: Floats) -> NDArray[np.bool_]:
        """Which latents (1, M, h, w) are of this coding step or a later one."""
        left = np.zeros(known.shape, bool)
        for cells in self._steps[number:]:
            for cell in cells:
                cell.of(left[0])[:] = True
        return left

    def _unknown(self, known: Floats, cells: Sequence[Cell], several: bool) -> Floats:
        """A tile's y_hat without what tiles before have decoded of the step."""
        near = np.array(known) if several else known
        for cell in cells if several else ():
            cell.of(near[0])[:] = 0
        return near

    def _within(self, values: NDArray[Any], cells: Sequence[Cell], outer: Tile, inside: Tile) -> NDArray[Any]:
        """A block of a tile with its halo -> that of the tile itself."""
        if inside.shape == outer.shape:
            return values
        half = self._unit // 2
        blocks = values.reshape(len(cells), outer.shape[0] * half, outer.shape[1] * half, -1)
        rows, columns = slice(inside.top * half, inside.bottom * half), slice(inside.left * half, inside.right * half)
        return np.ascontiguousarray(blocks[:, rows, columns]).reshape(-1)

    def _gathered(self, y: Floats, cells: Sequence[Cell]) -> Floats:
        return np.concatenate([cell.of(y).reshape(-1) for cell in cells])

    def _decoded(self, own: Sequence[NDArray[Any]], symbols: NDArray[np.int64], trellis_coded: bool) -> Floats:
        """y_hat (n,) of a block: mean + symbol, its point moved, or what a trellis latent's symbol stands for."""
        mean, index, _ = own
        y_hat = mean + symbols.astype(np.float32)
        if self._centroids is not None:
            where = np.flatnonzero(symbols)
            found = symbols[where]
            shift = self._centroids[index[where], np.minimum(np.abs(found), 2)] * np.sign(found).astype(np.float32)
            y_hat[where] += shift
        if trellis_coded:
            where = trellis.taking_part(index)
            away = trellis.values(symbols[where], index[where], self._tables)
            y_hat[where] = mean[where] + away.astype(np.float32)
        return y_hat

    def _put(self, known: Floats, cells: Sequence[Cell], y_hat: Floats) -> None:
        """Write a block (n,) into the cells of a map (M, h, w)."""
        for cell, values in zip(cells, np.split(y_hat, len(cells)), strict=True):
            target = cell.of(known)
            target[:] = values.reshape(target.shape)

    def _count(
        self, counts: Floats, cells: Sequence[Cell], unmoved: NDArray[np.uint8], symbols: NDArray[np.int64]
    ) -> None:
        """Add a step's scores and information to those of a tile, (2, M, h', w')."""
        if not self._manifest["adaptation"]:
            return
        height, width = counts.shape[2:]
        rows = unmoved.astype(np.int32) * SIZES + np.minimum(np.abs(symbols), SIZES - 1).astype(np.int32)
        found = _scores(self._tables, self._skip)[rows]
        for cell, values in zip(cells, np.split(found, len(cells)), strict=True):
            sums = values.reshape(height, 2, width, 2, -1, 2).sum(axis=(1, 3))
            counts[:, cell.first :: cell.every] += sums.transpose(3, 2, 0, 1)

import type { Table } from "../coding/tables.js";
import type { Trellis } from "../coding/trellis.js";
import { atRate, scaleIndex } from "./fixed_point.js";
import type { Graphs, Manifest } from "./graphs.js";
import { type EntropyParameters, Reconstruction, Scores } from "./latents.js";
import { codingTiles, Plane, Tile } from "./tiles.js";
import type { WeightsFile } from "./weights_file.js";

/** Reads or writes blocks: the symbols (n) of latents with these means and table indices, y (n) where it is known. */
export interface Coder {
  code(index: Uint8Array, tables: Table[], skip: number, mean: ArrayLike<number>, y?: Float32Array): Int32Array;
}

/** The frozen tables of the package. */
export interface Tables {
  gaussian: Table[];
  logistic: Table[];
  scores: Record<"gaussian" | "logistic", ArrayLike<number>>;
  trellis: Record<"gaussian" | "logistic", Trellis>;
}

/** How a picture is walked: y (M, h, w) and z (Z, h', w') of one that is written, and whether y is trellis-coded. */
export interface How {
  y?: Plane;
  z?: Plane;
  trellis?: boolean;
}

type Cell = Manifest["steps"][number][number];

/** A prior ready to walk (docs/walk.md): the steps' predictions are graphs, the rest is here. */
export class Walk {
  private readonly reconstruction: Reconstruction;
  private readonly scores: Scores | undefined;
  private readonly unit: number;

  constructor(
    private readonly manifest: Manifest,
    private readonly weights: WeightsFile,
    private readonly graphs: Graphs,
    private readonly tables: Tables,
  ) {
    const { tables: kind, skip } = manifest.family;
    this.reconstruction = new Reconstruction(manifest, weights);
    if (manifest.adaptation) this.scores = new Scores(tables.scores[kind], skip);
    this.unit = manifest.hyper_stride / manifest.stride;
  }

  /** Code z and y, or read them: y_hat (M, h, w). */
  async run(coder: Coder, rateLevel: number, whole: Tile, how: How = {}): Promise<Plane> {
    const { manifest, unit } = this;
    const tiles = codingTiles(whole);
    const features = await this.features(this.hyper(coder, rateLevel, whole, how.z), rateLevel, whole, tiles);
    const known = new Plane(manifest.latents, whole.height * unit, whole.width * unit);
    const { tables: kind, skip } = manifest.family;
    const trellis = how.trellis ? this.tables.trellis[kind] : undefined;
    const tables = trellis?.tables ?? this.tables[kind];
    let before = new Plane(2 * manifest.latents, whole.height, whole.width);
    for (const [number, cells] of manifest.steps.entries()) {
      const after = new Plane(before.channels, before.height, before.width, before.data.slice());
      for (const tile of tiles) {
        const parameters = await this.parameters(number, tile, whole, { features, known, counts: before }, rateLevel);
        const y = how.y && gathered(how.y, tile, unit, cells);
        const symbols = coder.code(parameters.index, tables, skip, parameters.mean, y);
        const latents = this.reconstruction.latents(parameters, symbols, trellis);
        eachLatent(known, tile, unit, cells, (at, i) => (known.data[at] = latents[i]));
        if (number + 1 < manifest.steps.length) this.count(after, tile, cells, parameters, symbols);
      }
      before = after;
    }
    return known;
  }

  /** z_hat (Z, h', w'). */
  private hyper(coder: Coder, rateLevel: number, whole: Tile, z?: Plane): Plane {
    const { hyper_latents: channels, hyper_skip: skip } = this.manifest;
    const [mean, rawScale] = ["mean", "raw_scale"].map((name) => {
      const { values, shape } = this.weights.tensor(`prior.hyper_prior.${name}.table`);
      return atRate(values, shape[0], rateLevel);
    });
    const area = whole.height * whole.width;
    const index = new Uint8Array(area * channels);
    const means = new Float64Array(index.length);
    const own = rawScale.map(scaleIndex);
    for (let position = 0; position < area; position++) {
      index.set(own, position * channels);
      means.set(mean, position * channels);
    }
    const block =
      z && new Float32Array(index.length).map((_, i) => z.data[(i % channels) * area + Math.floor(i / channels)]);
    const symbols = coder.code(index, this.tables.gaussian, skip, means, block);
    const found = new Plane(channels, whole.height, whole.width);
    symbols.forEach((symbol, i) => {
      found.data[(i % channels) * area + Math.floor(i / channels)] = means[i] + symbol;
    });
    return found;
  }

  private async features(zHat: Plane, rateLevel: number, whole: Tile, tiles: Tile[]): Promise<Plane> {
    const { manifest, unit } = this;
    const features = new Plane(manifest.features, whole.height * unit, whole.width * unit);
    for (const tile of tiles) {
      const outer = tile.grown(tiles.length > 1 ? manifest.halos.prior_synthesis : 0, whole);
      const near = zHat.of(outer, 1);
      const [part] = await this.graphs.run("hyper_synthesis", { z_hat: near, rate_level: scalar(rateLevel) });
      const found = new Plane(manifest.features, outer.height * unit, outer.width * unit, part as Float32Array);
      features.put(tile, unit, found, tile.seenFrom(outer));
    }
    return features;
  }

  /** What a step predicts for a tile, which sees a halo of what was known before the step. */
  private async parameters(
    step: number,
    tile: Tile,
    whole: Tile,
    seen: { features: Plane; known: Plane; counts: Plane },
    rateLevel: number,
  ): Promise<EntropyParameters> {
    const { unit, manifest } = this;
    const cells = manifest.steps[step];
    const several = tile.height < whole.height || tile.width < whole.width;
    const outer = tile.grown(several ? Math.max(manifest.halos.prior_context, 1) : 0, whole);
    const known = seen.known.of(outer, unit);
    if (several) {
      const all = new Tile(0, 0, outer.height, outer.width);
      eachLatent(known, all, unit, cells, (at) => (known.data[at] = 0));
    }
    const counts = seen.counts.of(outer, 1);
    const [mean, index, unmoved] = await this.graphs.run(`predict${step}`, {
      features: seen.features.of(outer, unit),
      known,
      counts: { data: counts.data, shape: [1, 2, manifest.latents, counts.height, counts.width] },
      rate_level: scalar(rateLevel),
    });
    const cut = <T extends Float32Array | Uint8Array>(values: T) =>
      within(values, cells.length, outer, tile.seenFrom(outer), unit / 2);
    return { mean: cut(mean as Float32Array), index: cut(index as Uint8Array), unmoved: cut(unmoved as Uint8Array) };
  }

  /** Add a step's scores and information to those of a tile; `counts` are (2 M, h', w'), scores first. */
  private count(counts: Plane, tile: Tile, cells: Cell[], parameters: EntropyParameters, symbols: Int32Array): void {
    if (!this.scores) return;
    const places = new Uint32Array(symbols.length);
    const { height, width, data } = counts;
    eachLatent(
      { height: height * this.unit, width: width * this.unit, channels: this.manifest.latents },
      tile,
      this.unit,
      cells,
      (_, i, channel, row, column) => {
        places[i] = (channel * height + Math.floor(row / this.unit)) * width + Math.floor(column / this.unit);
      },
    );
    const information = this.manifest.latents * height * width;
    this.scores.each(parameters, symbols, (i, score, more) => {
      data[places[i]] += score;
      data[places[i] + information] += more;
    });
  }
}

/** What graphs take for a number, such as a rate level. */
export function scalar(value: number): { data: Float64Array; shape: number[] } {
  return { data: Float64Array.of(value), shape: [1] };
}

/** Calls `visit` for each latent of a tile's cells in coding order, with its place in the map (C, h, w), its number. */
function eachLatent(
  { channels, height, width }: Pick<Plane, "channels" | "height" | "width">,
  tile: Tile,
  unit: number,
  cells: Cell[],
  visit: (at: number, i: number, channel: number, row: number, column: number) => void,
): void {
  let i = 0;
  for (const [rowOff, columnOff, first, every] of cells) {
    for (let row = tile.top * unit + rowOff; row < tile.bottom * unit; row += 2) {
      for (let column = tile.left * unit + columnOff; column < tile.right * unit; column += 2) {
        for (let channel = first; channel < channels; channel += every) {
          visit((channel * height + row) * width + column, i++, channel, row, column);
        }
      }
    }
  }
}

function gathered(y: Plane, tile: Tile, unit: number, cells: Cell[]): Float32Array {
  const found: number[] = [];
  eachLatent(y, tile, unit, cells, (at) => found.push(y.data[at]));
  return Float32Array.from(found);
}

/** A block of a tile with its halo -> that of the tile itself; `half` rows of a cell to a hyper-latent. */
function within<T extends Float32Array | Uint8Array>(
  values: T,
  cells: number,
  outer: Tile,
  inside: Tile,
  half: number,
): T {
  if (inside.height === outer.height && inside.width === outer.width) return values;
  const [height, width] = [outer.height * half, outer.width * half];
  const channels = values.length / (cells * height * width);
  const [top, bottom, left, right] = [inside.top, inside.bottom, inside.left, inside.right].map((side) => side * half);
  const run = (right - left) * channels;
  const found = values.slice(0, cells * (bottom - top) * run) as T;
  for (let cell = 0, at = 0; cell < cells; cell++) {
    for (let row = top; row < bottom; row++, at += run) {
      const start = ((cell * height + row) * width + left) * channels;
      found.set(values.subarray(start, start + run), at);
    }
  }
  return found;
}

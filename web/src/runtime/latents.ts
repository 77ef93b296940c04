import { FIRST, type Trellis, trellisValues } from "../coding/trellis.js";
import { onGrid } from "./fixed_point.js";
import type { Manifest } from "./graphs.js";
import type { WeightsFile } from "./weights_file.js";

const CENTROID_MAX = 0.4375;
const SIZES = 256;

/** A block's means and table indices in coding order, and the indices before they were moved. */
export interface EntropyParameters {
  mean: Float32Array;
  index: Uint8Array;
  unmoved: Uint8Array;
}

/** Symbols of a block -> latents, both (n): mean + s, moved by the learned point of reconstruction. */
export class Reconstruction {
  private readonly shifts: Float32Array | undefined;

  constructor(manifest: Manifest, weights: WeightsFile) {
    if (!manifest.centroids) return;
    const table = weights.tensor("prior.context.centroids.table").values;
    this.shifts = table.map((shift) => onGrid(Math.min(Math.max(shift, -CENTROID_MAX), CENTROID_MAX)));
  }

  /** In single precision, as the format says: each sum is rounded to 24 bits. With `trellis` larger scales are such. */
  latents({ mean, index }: EntropyParameters, symbols: Int32Array, trellis?: Trellis): Float32Array {
    const away = trellis && trellisValues(trellis, symbols, index);
    const found = new Float32Array(symbols.length);
    for (let i = 0; i < symbols.length; i++) {
      found[i] = away && index[i] >= FIRST ? mean[i] + away[i] : this.latent(mean[i], index[i], symbols[i]);
    }
    return found;
  }

  private latent(mean: number, index: number, symbol: number): number {
    const value = Math.fround(mean + symbol);
    if (symbol === 0 || !this.shifts) return value;
    const shift = this.shifts[2 * index + (symbol === 1 || symbol === -1 ? 0 : 1)];
    return symbol > 0 ? value + shift : value - shift;
  }
}

/** Scores and information of symbols by table index and magnitude: how well scales fitted. */
export class Scores {
  constructor(
    private readonly table: ArrayLike<number>,
    private readonly skip: number,
  ) {}

  /** Calls `add` with score and information of each latent of a block that was coded. */
  each(
    { unmoved }: EntropyParameters,
    symbols: Int32Array,
    add: (at: number, score: number, information: number) => void,
  ): void {
    for (let i = 0; i < symbols.length; i++) {
      if (unmoved[i] <= this.skip) continue;
      const row = 2 * (unmoved[i] * SIZES + Math.min(Math.abs(symbols[i]), SIZES - 1));
      add(i, this.table[row], this.table[row + 1]);
    }
  }
}

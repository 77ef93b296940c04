import { onGrid, scaleIndex } from "./fixed_point.js";
import type { Graphs } from "./graphs.js";
import type { Plane } from "./tiles.js";
import type { Coder, Tables } from "./walk.js";
import type { Tensor, WeightsFile } from "./weights_file.js";

const SKIP = 3;
const USUAL = 7;
const LIMIT = 2 ** 52;

/** The adaptive post-filter of a file (docs/format.md, section 6). */
export class PostFilter {
  private readonly filters: Tensor;
  private readonly offsets: Tensor;
  private readonly steps: Tensor;
  private readonly rawScales: Tensor;

  constructor(
    weights: WeightsFile,
    private readonly graphs: Graphs,
    private readonly tables: Tables,
    private readonly side: number,
  ) {
    [this.filters, this.offsets, this.steps, this.rawScales] = ["filters", "offsets", "steps", "raw_scales"].map(
      (name) => weights.tensor(`post_filter.${name}`),
    );
  }

  /** The coefficients (K) that stand behind the latents of a picture of so many hyper-latents. */
  read(coder: Coder, qualityIndex: number, hyperLatents: number): Float64Array {
    const octaves = (32 - Math.clz32(hyperLatents) - USUAL) / 2;
    const row = Math.floor(qualityIndex / 512 + 0.5);
    const [rates, count] = this.rawScales.shape;
    const raw = this.rawScales.values.subarray(row * count, (row + 1) * count);
    const index = Uint8Array.from(raw, (value) => scaleIndex(onGrid(value, LIMIT) + octaves));
    const symbols = coder.code(index, this.tables.logistic, SKIP, new Float64Array(count));
    const step = 2 ** (this.steps.values[Math.min(row, rates - 1)] - octaves);
    return Float64Array.from(symbols, (symbol) => symbol * step);
  }

  /** x_hat (3, H, W), filtered. */
  async apply(xHat: Plane, coefficients: Float64Array): Promise<Float32Array> {
    const { side } = this;
    const amounts = Float32Array.from(coefficients);
    const taps = 9 * side * side;
    const kernel = new Float32Array(taps);
    const offsets = new Float32Array(3);
    amounts.forEach((amount, k) => {
      for (let i = 0; i < taps; i++) kernel[i] += amount * this.filters.values[k * taps + i];
      for (let i = 0; i < 3; i++) offsets[i] += amount * this.offsets.values[3 * k + i];
    });
    const middle = (side * side - 1) / 2;
    for (let colour = 0; colour < 3; colour++) kernel[(colour * 3 + colour) * side * side + middle] += 1;
    const [filtered] = await this.graphs.run("post_filter", {
      x_hat: xHat,
      kernel: { data: kernel, shape: [3, 3, side, side] },
      offsets: { data: offsets, shape: [3] },
    });
    return filtered as Float32Array;
  }
}

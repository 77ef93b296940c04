import { Kind, writeContainer } from "./bitstream/container.js";
import { RangeEncoder, writeBlock } from "./coding/range_encoder.js";
import { PictureTooLarge, UsageError } from "./errors.js";
import { writePng } from "./png.js";
import type { Source } from "./runtime/assets.js";
import { rint } from "./runtime/fixed_point.js";
import { LEVEL_STEPS, mapOf, type Model, Models } from "./runtime/models.js";
import { Plane, Tile, transformTiles } from "./runtime/tiles.js";
import { type Coder, scalar } from "./runtime/walk.js";

const SYMBOL_MAX = 2 ** 20;
const MAX_PIXELS = 2 ** 26;

/** RGBA samples of a picture in sRGB, row by row. */
export interface Samples {
  width: number;
  height: number;
  data: Uint8ClampedArray;
}

/** Encodes pictures with the first weights of a site, without an adaptive filter. */
export class Encoder {
  private readonly models: Models;

  constructor(source: Source, threads: number) {
    this.models = new Models(source, threads);
  }

  /** A `.lic` file of a quality 0 ... 100. Throws `UsageError`, `PictureTooLarge`, `BadAssets` and `OutOfMemory`. */
  async encode(picture: Samples, quality: number): Promise<Uint8Array> {
    const { width, height, data } = picture;
    if (!(quality >= 0 && quality <= 100)) throw new UsageError(`quality must lie in 0 ... 100, not ${quality}`);
    if (width * height > MAX_PIXELS) throw new PictureTooLarge(`${width} x ${height} pixels are over ${MAX_PIXELS}`);
    const [first] = await this.models.entries();
    if (!first) throw new UsageError("the site has no weights; build it with some");
    const model = await this.models.named(first.hash, first.model);
    const qualityIndex = Math.round((quality / 100) * (model.weights.rates - 1) * LEVEL_STEPS);
    const payload = await this.written(model, picture, qualityIndex / LEVEL_STEPS);
    const sections = new Map<number, Uint8Array>([[Kind.LATENTS, payload]]);
    const alpha = data.filter((_, i) => i % 4 === 3);
    if (alpha.some((value) => value < 255)) {
      sections.set(Kind.ALPHA, await writePng({ width, height, channels: 1, data: alpha }, {}));
    }
    return writeContainer({ model: first.model, weights: first.hash, width, height, qualityIndex, flags: 0 }, sections);
  }

  private async written(model: Model, { width, height, data }: Samples, rateLevel: number): Promise<Uint8Array> {
    const { manifest, walk } = model;
    const whole = mapOf(manifest, height, width);
    const unit = manifest.hyper_stride / manifest.stride;
    const { analysis, hyper_analysis } = manifest.halos;
    const pixels = (tile: Tile) => cut(data, width, height, tile, manifest.hyper_stride);
    const y = await mapped(model, "analysis", whole, [manifest.latents, unit, analysis], rateLevel, pixels);
    const near = (tile: Tile) => y.of(tile, unit);
    const z = await mapped(
      model,
      "hyper_analysis",
      whole,
      [manifest.hyper_latents, 1, hyper_analysis],
      rateLevel,
      near,
    );
    const encoder = new RangeEncoder();
    const coder: Coder = {
      code(index, tables, skip, mean, y) {
        const symbols = Int32Array.from(index, (table, i) => {
          return table > skip ? Math.min(Math.max(rint(y![i] - mean[i]), -SYMBOL_MAX), SYMBOL_MAX) : 0;
        });
        writeBlock(encoder, index, tables, skip, symbols);
        return symbols;
      },
    };
    await walk.run(coder, rateLevel, whole, { y, z });
    return encoder.finish();
  }
}

/** A transform of the whole map in tiles: what `of` gives of each, with its halo, -> (channels, unit h, unit w). */
async function mapped(
  { graphs }: Model,
  name: string,
  whole: Tile,
  [channels, unit, halo]: [channels: number, unit: number, halo: number],
  rateLevel: number,
  of: (tile: Tile) => Plane,
): Promise<Plane> {
  const found = new Plane(channels, whole.height * unit, whole.width * unit);
  const tiles = transformTiles(whole);
  for (const tile of tiles) {
    const outer = tile.grown(tiles.length > 1 ? halo : 0, whole);
    const near = of(outer);
    const [part] = await graphs.run(name, { x: near, y: near, rate_level: scalar(rateLevel) });
    const plane = new Plane(channels, outer.height * unit, outer.width * unit, part as Float32Array);
    found.put(tile, unit, plane, tile.seenFrom(outer));
  }
  return found;
}

/** The pixels (3, H, W) in [0, 1] under a tile, the picture's edge repeated beyond it. */
function cut(data: Uint8ClampedArray, width: number, height: number, tile: Tile, stride: number): Plane {
  const found = new Plane(3, tile.height * stride, tile.width * stride);
  const area = found.height * found.width;
  for (let y = 0, at = 0; y < found.height; y++) {
    const row = Math.min(tile.top * stride + y, height - 1) * width;
    for (let x = 0; x < found.width; x++, at++) {
      const from = 4 * (row + Math.min(tile.left * stride + x, width - 1));
      for (let colour = 0; colour < 3; colour++) found.data[at + colour * area] = data[from + colour] / 255;
    }
  }
  return found;
}

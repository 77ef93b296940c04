import { type Container, Kind, readContainer } from "./bitstream/container.js";
import { FILTERED, GREY, type Header, hex, TRELLIS } from "./bitstream/fields.js";
import { RangeDecoder, readBlock } from "./coding/range_decoder.js";
import { BadFile, PictureTooLarge } from "./errors.js";
import { completed, type Picture } from "./picture.js";
import type { Source } from "./runtime/assets.js";
import { rint } from "./runtime/fixed_point.js";
import { LEVEL_STEPS, mapOf, type Model, Models } from "./runtime/models.js";
import { Plane, Tile, transformTiles } from "./runtime/tiles.js";
import { type Coder, scalar } from "./runtime/walk.js";

export const MAX_PIXELS = 2 ** 26;

/** What a file says of itself. `quality` is 0 ... 100, null where the site does not have its weights. */
export interface Info {
  width: number;
  height: number;
  bytes: number;
  bpp: number;
  qualityIndex: number;
  quality: number | null;
  model: string | null;
  trainedFor: string | null;
  weights: string;
  grey: boolean;
  alpha: boolean;
  filtered: boolean;
  trellis: boolean;
  extras: Record<string, number>;
}

/** Latents of a file, (M, h, w) in quantisation steps, and the coefficients of its post-filter. */
export interface Latents {
  latents: Plane;
  coefficients: Float64Array | undefined;
}

/** Decodes files with the weights of a site. Pictures are decoded one after the other. */
export class Engine {
  private readonly models: Models;

  constructor(source: Source, threads: number) {
    this.models = new Models(source, threads);
  }

  /** Facts of a file; its latents are not read. Throws `BadFile`. */
  async info(data: Uint8Array): Promise<Info> {
    const { header, sections } = readContainer(data);
    const entry = (await this.models.entries()).find((one) => one.hash === header.weights);
    const top = entry && (entry.rates - 1) * LEVEL_STEPS;
    const named = { [Kind.ICC]: "icc", [Kind.ALPHA]: "alpha", [Kind.EXIF]: "exif", [Kind.XMP]: "xmp" };
    const extras = Object.entries(named).filter(([kind]) => sections.has(Number(kind)));
    return {
      width: header.width,
      height: header.height,
      bytes: data.length,
      bpp: (8 * data.length) / (header.width * header.height),
      qualityIndex: header.qualityIndex,
      quality: top ? (100 * header.qualityIndex) / top : null,
      model: entry?.name ?? null,
      trainedFor: entry?.trained_for ?? null,
      weights: header.weights,
      grey: (header.flags & GREY) !== 0,
      alpha: sections.has(Kind.ALPHA),
      filtered: (header.flags & FILTERED) !== 0,
      trellis: (header.flags & TRELLIS) !== 0,
      extras: Object.fromEntries(extras.map(([kind, name]) => [name, sections.get(Number(kind))!.length])),
    };
  }

  /** Fetch and load the first model of the site. Throws `BadAssets`. */
  async prepare(): Promise<void> {
    const [first] = await this.models.entries();
    if (!first) return;
    const { graphs, manifest, filter } = await this.models.named(first.hash, first.model);
    const steps = manifest.steps.map((_, step) => `predict${step}`);
    await graphs.load(["hyper_synthesis", ...steps, "synthesis", ...(filter ? ["post_filter"] : [])]);
  }

  /** The picture of a file. Throws `BadFile`, `PictureTooLarge`, `UnknownWeights`, `BadAssets` and `OutOfMemory`. */
  async decode(data: Uint8Array, maxPixels = MAX_PIXELS): Promise<Picture> {
    const container = readContainer(data);
    const model = await this.opened(container, maxPixels);
    const { latents, coefficients } = await this.read(model, container);
    return completed(container, await this.pixels(model, container.header, latents, coefficients));
  }

  /** The SHA-256 of a file's latents as doubles in (channel, row, column) order: the same on every machine. */
  async latentsDigest(data: Uint8Array): Promise<string> {
    const container = readContainer(data);
    const { latents } = await this.read(await this.opened(container, MAX_PIXELS), container);
    return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", Float64Array.from(latents.data))));
  }

  private async opened({ header, groups }: Container, maxPixels: number): Promise<Model> {
    checkSize(header.width, header.height, maxPixels);
    const model = await this.models.named(header.weights, header.model);
    if (header.qualityIndex > (model.weights.rates - 1) * LEVEL_STEPS) {
      throw new BadFile("the file's quality is beyond its model's: the file is damaged; get it anew");
    }
    if (groups.length > 0)
      throw new BadFile("its latents are not in the sections of their model: the file is damaged; get it anew");
    return model;
  }

  private async read(model: Model, { header, sections }: Container): Promise<Latents> {
    const filtered = (header.flags & FILTERED) !== 0;
    if (filtered && !model.filter)
      throw new BadFile("the file states a filter and its model has none: it is damaged; get it anew");
    const decoder = new RangeDecoder(sections.get(Kind.LATENTS)!);
    const coder: Coder = { code: (index, tables, skip) => readBlock(decoder, index, tables, skip) };
    const whole = mapOf(model.manifest, header.height, header.width);
    const latents = await model.walk.run(coder, header.qualityIndex / LEVEL_STEPS, whole, {
      trellis: (header.flags & TRELLIS) !== 0,
    });
    const coefficients = filtered
      ? model.filter!.read(coder, header.qualityIndex, whole.height * whole.width)
      : undefined;
    return { latents, coefficients };
  }

  private async pixels(
    model: Model,
    header: Header,
    latents: Plane,
    coefficients?: Float64Array,
  ): Promise<Picture["data"]> {
    const { manifest, graphs, filter } = model;
    const { width, height } = header;
    const stride = manifest.hyper_stride;
    const whole = mapOf(manifest, height, width);
    const tiles = transformTiles(whole);
    const data = new Uint8ClampedArray(width * height * 4);
    const rateLevel = scalar(header.qualityIndex / LEVEL_STEPS);
    for (const tile of tiles) {
      const outer = tile.grown(tiles.length > 1 ? manifest.halos.synthesis : 0, whole);
      const near = latents.of(outer, stride / manifest.stride);
      let [made] = (await graphs.run("synthesis", { y_hat: near, rate_level: rateLevel })) as Float32Array[];
      const rows = outer.height * stride;
      const columns = outer.width * stride;
      if (coefficients) made = await filter!.apply(new Plane(3, rows, columns, made), coefficients);
      place(data, width, height, new Plane(3, rows, columns, made), tile, outer, stride);
    }
    return data;
  }
}

/** What is computed is the size in whole blocks of 64; a line of pixels costs as much as its blocks. */
function checkSize(width: number, height: number, most: number): void {
  const computed = Math.ceil(width / 64) * Math.ceil(height / 64) * 64 ** 2;
  if (width * height <= most && computed <= 2 * most + 64 ** 3) return;
  throw new PictureTooLarge(`${width} x ${height} is beyond the limit of ${most} pixels; raise maxPixels`);
}

/** Put a tile's pixels, clamped and rounded, into the picture's RGBA samples. */
function place(
  data: Uint8ClampedArray,
  width: number,
  height: number,
  made: Plane,
  tile: Tile,
  outer: Tile,
  stride: number,
): void {
  const plane = made.height * made.width;
  const right = Math.min(tile.right * stride, width);
  for (let y = tile.top * stride; y < Math.min(tile.bottom * stride, height); y++) {
    let from = (y - outer.top * stride) * made.width + (tile.left - outer.left) * stride;
    for (let x = tile.left * stride, to = 4 * (y * width + x); x < right; x++, from++, to += 4) {
      for (let colour = 0; colour < 3; colour++) {
        const sample = Math.fround(Math.min(Math.max(made.data[from + colour * plane], 0), 1) * 255);
        data[to + colour] = rint(sample);
      }
      data[to + 3] = 255;
    }
  }
}

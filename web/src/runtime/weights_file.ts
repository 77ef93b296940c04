import { BadAssets } from "../errors.js";

/** Names in older weights files, and today's (docs/format.md, section 4). */
const TENSORS: [string, string][] = [
  ["prior.hyper_mean.", "prior.hyper_prior.mean."],
  ["prior.hyper_raw.", "prior.hyper_prior.raw_scale."],
  ["prior.side.", "prior.hyper_prior."],
  ["picture_filter.", "post_filter."],
];
const PARTS = new Map([
  ["raw", "raw_scale"],
  ["base_raw", "base_raw_scale"],
  ["raws", "raw_scales"],
]);

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A tensor of a weights file in float32. */
export interface Tensor {
  shape: number[];
  values: Float32Array;
}

/** A weights file in memory: how many rates it has, and its tensors by today's names. */
export class WeightsFile {
  readonly rates: number;
  private readonly entries = new Map<string, Entry>();
  private readonly start: number;

  constructor(private readonly data: Uint8Array) {
    const size = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
    const header: Record<string, Entry> = JSON.parse(new TextDecoder().decode(data.subarray(8, 8 + size)));
    const { __metadata__: metadata, ...tensors } = header as Record<string, Entry> & { __metadata__: unknown };
    const { rates } = JSON.parse((metadata as { lichen: string }).lichen).config;
    this.rates = rates.count ?? 1;
    this.start = 8 + size;
    for (const [name, entry] of Object.entries(tensors)) this.entries.set(today(name), entry);
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  /** The tensor of this name. Throws `BadAssets` where there is none. */
  tensor(name: string): Tensor {
    const entry = this.entries.get(name);
    if (!entry) throw new BadAssets(`the weights have no tensor ${name}; build the site anew`);
    const [first, last] = entry.data_offsets;
    const bytes = this.data.slice(this.start + first, this.start + last);
    const halves = entry.dtype === "F16";
    if (!halves && entry.dtype !== "F32") throw new BadAssets(`the weights have numbers of type ${entry.dtype}`);
    return {
      shape: entry.shape,
      values: halves ? floats(new Uint16Array(bytes.buffer)) : new Float32Array(bytes.buffer),
    };
  }
}

function today(name: string): string {
  for (const [old, now] of TENSORS) if (name.startsWith(old)) name = now + name.slice(old.length);
  return name
    .split(".")
    .map((part) => PARTS.get(part) ?? part)
    .join(".");
}

let singles: Float32Array | undefined;

/** Numbers of half precision in single. */
function floats(halves: Uint16Array): Float32Array {
  singles ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => {
    const [sign, exponent, mantissa] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return mantissa ? NaN : sign * Infinity;
    return sign * (exponent ? (1024 + mantissa) * 2 ** (exponent - 25) : mantissa * 2 ** -24);
  });
  const table = singles;
  const found = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) found[i] = table[halves[i]];
  return found;
}

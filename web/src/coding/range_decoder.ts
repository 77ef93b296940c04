import { BadFile } from "../errors.js";
import { type Halves, multiply, scaleOf, WORD } from "./halves.js";
import { ESCAPES, type Table, TOTAL } from "./tables.js";

/**
 * The range decoder of docs/format.md, 2.1: `far` is point - low, `width` the range. A quotient of doubles may be off
 * by one, which only matters at an entry's border.
 */
export class RangeDecoder {
  private words: Uint32Array;
  private at = 2;
  private readonly far: Halves;
  private readonly width: Halves = { high: WORD - 1, low: WORD - 1 };
  private readonly product: Halves = { high: 0, low: 0 };

  constructor(payload: Uint8Array) {
    const padded = new Uint8Array(Math.ceil(payload.length / 4) * 4 + 8);
    padded.set(payload);
    this.words = new Uint32Array(padded.buffer);
    this.far = { high: this.words[0], low: this.words[1] };
  }

  /** The next entry of a table. Throws `BadFile` where there is none. */
  entry(table: Table): number {
    const { starts } = table;
    const scale = scaleOf(this.width);
    const near = this.quotient(scale);
    let entry = entryAt(table, near);
    if (near <= starts[entry] || near >= starts[entry + 1] - 1) entry = entryAt(table, this.place(scale));
    this.take(scale, starts[entry], starts[entry + 1] - starts[entry]);
    return entry;
  }

  /** One of 2^n equally likely numbers. */
  bits(count: number): number {
    const scale = scaleOf(this.width);
    const each = 2 ** (24 - count);
    const found = Math.floor(this.place(scale) / each);
    this.take(scale, found * each, each);
    return found;
  }

  /** The place, or the number before or behind it. */
  private quotient(scale: number): number {
    return Math.min(Math.floor((this.far.high * WORD + this.far.low) / scale), TOTAL);
  }

  private place(scale: number): number {
    let place = this.quotient(scale);
    if (!this.reaches(scale, place)) place--;
    else if (this.reaches(scale, place + 1)) place++;
    if (place >= TOTAL) throw new BadFile("the latents are damaged; get the file anew");
    return place;
  }

  private reaches(scale: number, place: number): boolean {
    const { far, product } = this;
    multiply(scale, place, product);
    return far.high > product.high || (far.high === product.high && far.low >= product.low);
  }

  private take(scale: number, start: number, frequency: number): void {
    const { far, width, product } = this;
    multiply(scale, start, product);
    far.low -= product.low;
    far.high -= product.high;
    if (far.low < 0) {
      far.low += WORD;
      far.high--;
    }
    multiply(scale, frequency, width);
    if (width.high > 0) return;
    width.high = width.low;
    width.low = 0;
    far.high = far.low;
    far.low = this.at < this.words.length ? this.words[this.at++] : 0;
  }
}

/** The entry of a table at a place. */
function entryAt({ starts, likeliest }: Table, place: number): number {
  if (place >= starts[likeliest] && place < starts[likeliest + 1]) return likeliest;
  let low = 0;
  for (let high = starts.length - 1; high - low > 1;) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= place) low = middle;
    else high = middle;
  }
  return low;
}

/** Positions of a block's latents in the order of their tables, ascending; table t's are order[stops[t-1]] ... */
export function grouped(index: Uint8Array, tables: number): { order: Uint32Array; stops: Uint32Array } {
  const stops = new Uint32Array(tables);
  for (let i = 0; i < index.length; i++) stops[index[i]]++;
  const next = new Uint32Array(tables);
  for (let t = 1; t < tables; t++) {
    next[t] = stops[t - 1];
    stops[t] += stops[t - 1];
  }
  const order = new Uint32Array(index.length);
  for (let i = 0; i < index.length; i++) order[next[index[i]]++] = i;
  return { order, stops };
}

/** The symbols (n) of a block, each by the table of its index (n); 0 where the index is at most `skip`. */
export function readBlock(decoder: RangeDecoder, index: Uint8Array, tables: Table[], skip: number): Int32Array {
  const { order, stops } = grouped(index, tables.length);
  const symbols = new Int32Array(index.length);
  const escaped: number[] = [];
  for (let t = skip + 1; t < tables.length; t++) {
    const { radius } = tables[t];
    for (let i = t > 0 ? stops[t - 1] : 0; i < stops[t]; i++) {
      const entry = decoder.entry(tables[t]);
      if (entry > 2 * radius) escaped.push(order[i]);
      else symbols[order[i]] = entry - radius;
    }
  }
  const lengths = escaped.map(() => decoder.entry(ESCAPES));
  escaped.forEach((at, i) => {
    const value = 2 ** lengths[i] + (lengths[i] ? decoder.bits(lengths[i]) : 0);
    const size = Math.floor((value - 1) / 2) + tables[index[at]].radius + 1;
    symbols[at] = value % 2 ? size : -size;
  });
  return symbols;
}

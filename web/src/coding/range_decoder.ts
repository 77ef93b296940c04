import { BadFile } from "../errors.js";
import { ESCAPES, type Table, TOTAL } from "./tables.js";

const WORD = 2 ** 32;

/**
 * The range decoder of docs/format.md, 2.1. Numbers of 64 bits are two halves of 32 in doubles, exactly: `far` is
 * point - low, `width` the range. A quotient of doubles may be off by one, which only matters at an entry's border.
 */
export class RangeDecoder {
  private words: Uint32Array;
  private at = 2;
  private farHigh: number;
  private farLow: number;
  private widthHigh = WORD - 1;
  private widthLow = WORD - 1;
  private productHigh = 0;
  private productLow = 0;

  constructor(payload: Uint8Array) {
    const padded = new Uint8Array(Math.ceil(payload.length / 4) * 4 + 8);
    padded.set(payload);
    this.words = new Uint32Array(padded.buffer);
    [this.farHigh, this.farLow] = this.words;
  }

  /** The next entry of a table. Throws `BadFile` where there is none. */
  entry(table: Table): number {
    const { starts, likeliest } = table;
    const scale = this.scale();
    const place = this.place(scale);
    let low = likeliest;
    if (place < starts[low] || place >= starts[low + 1]) {
      let high = starts.length - 1;
      for (low = 0; high - low > 1;) {
        const middle = (low + high) >> 1;
        if (starts[middle] <= place) low = middle;
        else high = middle;
      }
    }
    this.take(scale, starts[low], starts[low + 1] - starts[low]);
    return low;
  }

  /** One of 2^n equally likely numbers. */
  bits(count: number): number {
    const scale = this.scale();
    const each = 2 ** (24 - count);
    const found = Math.floor(this.place(scale) / each);
    this.take(scale, found * each, each);
    return found;
  }

  private scale(): number {
    return this.widthHigh * 256 + Math.floor(this.widthLow / TOTAL);
  }

  private place(scale: number): number {
    let place = Math.floor((this.farHigh * WORD + this.farLow) / scale);
    if (place > TOTAL) place = TOTAL;
    if (!this.reaches(scale, place)) place--;
    else if (this.reaches(scale, place + 1)) place++;
    if (place >= TOTAL) throw new BadFile("the latents are damaged; get the file anew");
    return place;
  }

  /** scale < 2^40 times number <= 2^24, in halves. */
  private multiply(scale: number, number: number): void {
    const scaleLow = scale % TOTAL;
    const up = ((scale - scaleLow) / TOTAL) * number;
    const upLow = up % 256;
    const low = number * scaleLow + upLow * TOTAL;
    this.productLow = low % WORD;
    this.productHigh = (up - upLow) / 256 + (low - this.productLow) / WORD;
  }

  private reaches(scale: number, place: number): boolean {
    this.multiply(scale, place);
    return this.farHigh > this.productHigh || (this.farHigh === this.productHigh && this.farLow >= this.productLow);
  }

  private take(scale: number, start: number, frequency: number): void {
    this.multiply(scale, start);
    this.farLow -= this.productLow;
    this.farHigh -= this.productHigh;
    if (this.farLow < 0) {
      this.farLow += WORD;
      this.farHigh--;
    }
    this.multiply(scale, frequency);
    this.widthHigh = this.productHigh;
    this.widthLow = this.productLow;
    if (this.widthHigh === 0) {
      this.widthHigh = this.widthLow;
      this.widthLow = 0;
      this.farHigh = this.farLow;
      this.farLow = this.at < this.words.length ? this.words[this.at++] : 0;
    }
  }
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

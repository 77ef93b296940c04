import { type Halves, multiply, scaleOf, WORD } from "./halves.js";
import { grouped } from "./range_decoder.js";
import { ESCAPES, type Table } from "./tables.js";

/** The inverse of `RangeDecoder`, to the words that Lichen writes. */
export class RangeEncoder {
  private readonly low: Halves = { high: 0, low: 0 }; // its high half, and words, may hold a carry until `finish`
  private readonly width: Halves = { high: WORD - 1, low: WORD - 1 };
  private readonly product: Halves = { high: 0, low: 0 };
  private readonly words: number[] = [];

  /** Write an entry of a table. */
  entry(table: Table, entry: number): void {
    this.put(table.starts[entry], table.starts[entry + 1] - table.starts[entry]);
  }

  /** Write one of 2^count equally likely numbers. */
  bits(count: number, value: number): void {
    const each = 2 ** (24 - count);
    this.put(value * each, each);
  }

  /** The bytes, without zeros at their end. */
  finish(): Uint8Array {
    const words = [...this.words, this.low.high + (this.low.low > 0 ? 1 : 0)];
    for (let i = words.length - 1; i > 0; i--) {
      words[i - 1] += Math.floor(words[i] / WORD);
      words[i] %= WORD;
    }
    const bytes = new Uint8Array(Uint32Array.from(words).buffer);
    return bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1);
  }

  private put(start: number, frequency: number): void {
    const { low, width, product } = this;
    const scale = scaleOf(width);
    multiply(scale, start, product);
    low.low += product.low;
    low.high += product.high;
    if (low.low >= WORD) {
      low.low -= WORD;
      low.high++;
    }
    multiply(scale, frequency, width);
    if (width.high > 0) return;
    this.words.push(low.high);
    low.high = low.low;
    low.low = 0;
    width.high = width.low;
    width.low = 0;
  }
}

/** Write the symbols (n) of a block, each by the table of its index (n), as `readBlock` reads them. */
export function writeBlock(
  encoder: RangeEncoder,
  index: Uint8Array,
  tables: Table[],
  skip: number,
  symbols: Int32Array,
): void {
  const { order, stops } = grouped(index, tables.length);
  const escaped: number[] = [];
  for (let i = skip < 0 ? 0 : stops[skip]; i < order.length; i++) {
    const at = order[i];
    const table = tables[index[at]];
    const beyond = Math.abs(symbols[at]) > table.radius;
    encoder.entry(table, beyond ? 2 * table.radius + 1 : symbols[at] + table.radius);
    if (beyond) escaped.push(at);
  }
  const excess = escaped.map((at) => {
    return 2 * (Math.abs(symbols[at]) - tables[index[at]].radius - 1) + (symbols[at] < 0 ? 1 : 0) + 1;
  });
  const lengths = excess.map((value) => 31 - Math.clz32(value));
  for (const length of lengths) encoder.entry(ESCAPES, length);
  excess.forEach((value, i) => {
    if (lengths[i] > 0) encoder.bits(lengths[i], value - 2 ** lengths[i]);
  });
}

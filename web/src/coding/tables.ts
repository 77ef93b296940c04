import type { NpyArray } from "./npz.js";

export const TOTAL = 2 ** 24;

/** A table of frequencies: entry e begins at `starts[e]`; symbols -R ... R, then the escape; `likeliest` is one. */
export interface Table {
  starts: Float64Array;
  radius: number;
  likeliest: number;
}

/** The table of these frequencies. */
export function tableOf(frequencies: ArrayLike<number>): Table {
  const starts = new Float64Array(frequencies.length + 1);
  let likeliest = 0;
  for (let i = 0; i < frequencies.length; i++) {
    starts[i + 1] = starts[i] + frequencies[i];
    if (frequencies[i] > frequencies[likeliest]) likeliest = i;
  }
  return { starts, radius: frequencies.length / 2 - 1, likeliest };
}

/** The frozen tables of a file of the package, by scale index. */
export function frozenTables(stored: Map<string, NpyArray>): Table[] {
  const { values } = stored.get("frequencies")!;
  let at = 0;
  return Array.from(stored.get("sizes")!.values, (size) => tableOf(values.subarray(at, (at += size))));
}

/** Of how many binary digits, 1 ... 22, the excess of an escaped symbol has. */
export const ESCAPES = tableOf(Array.from({ length: 22 }, (_, i) => 2 ** Math.max(23 - i, 3)));

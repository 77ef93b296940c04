/** Trellis-coded latents (docs/format.md, 2.4): which of two lattices a symbol is of follows from those before it. */
import type { NpyArray } from "./npz.js";
import { frozenTables, type Table } from "./tables.js";

/** The smallest scale index that takes part. */
export const FIRST = 10;
const CHAIN = 256;
const NEXT = [0, 1, 2, 3, 5, 4, 7, 6, 1, 0, 3, 2, 4, 5, 6, 7]; // by state, for even and odd symbols
const POINTS = 3;
const POINT = 2 ** -12;

/** The frozen numbers of a family: tables by scale index, and `points` (64, 7). */
export interface Trellis {
  tables: Table[];
  points: ArrayLike<number>;
}

/** Those of a file of the package, with the plain tables below `FIRST`. */
export function trellisOf(stored: Map<string, NpyArray>, plain: Table[]): Trellis {
  return { tables: [...plain.slice(0, FIRST), ...frozenTables(stored)], points: stored.get("points")!.values };
}

/** What the trellis latents of a block are away from their means, by symbols and scale indices (n); others stay 0. */
export function trellisValues({ points }: Trellis, symbols: Int32Array, index: Uint8Array): Float32Array {
  const found = new Float32Array(symbols.length);
  const states = new Uint8Array(Math.ceil(index.reduce((count, one) => count + (one >= FIRST ? 1 : 0), 0) / CHAIN));
  for (let i = 0, chain = 0; i < symbols.length; i++) {
    if (index[i] < FIRST) continue;
    const symbol = symbols[i];
    const point = points[7 * index[i] + Math.min(Math.max(symbol, -POINTS), POINTS) + POINTS];
    const away = symbol - 0.25 + point * POINT;
    const state = states[chain];
    found[i] = state & 1 ? -away : away;
    states[chain] = NEXT[2 * state + (symbol & 1)];
    chain = chain + 1 < states.length ? chain + 1 : 0;
  }
  return found;
}

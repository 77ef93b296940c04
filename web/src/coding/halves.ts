import { TOTAL } from "./tables.js";

export const WORD = 2 ** 32;

/** A number below 2^64 as two halves of 32 bits in doubles. */
export interface Halves {
  high: number;
  low: number;
}

/** scale < 2^40 times number <= 2^24 + 1, exactly. */
export function multiply(scale: number, number: number, into: Halves): void {
  const scaleLow = scale % TOTAL;
  const up = ((scale - scaleLow) / TOTAL) * number;
  const upLow = up % 256;
  const low = number * scaleLow + upLow * TOTAL;
  into.low = low % WORD;
  into.high = (up - upLow) / 256 + (low - into.low) / WORD;
}

/** A range divided by 2^24, rounded down. */
export function scaleOf(width: Halves): number {
  return width.high * 256 + Math.floor(width.low / TOTAL);
}

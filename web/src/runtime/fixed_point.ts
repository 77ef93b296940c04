/** Weights of a prior in fixed point (docs/format.md, section 3), and scale indices: exact in doubles. */

const GRID = 2 ** 12;
const MAGIC = 1.5 * 2 ** 52;
export const FLOAT32_MAX = 1024 - 2 ** -12;
const FLOAT64_MAX = 2048 - 2 ** -12;
const FLOAT32_ROUNDER = 1.5 * 2 ** 11;
const WEIGHT_BITS = 9;
const WEIGHT_SMALLEST = 2 ** -24;
const REACH_BITS = 7;
const LOG_MIN = Math.log2(0.11);
const LOG_STEP = (8 - LOG_MIN) / 63;
const THRESHOLDS = Array.from({ length: 63 }, (_, i) => Math.round((LOG_MIN + (i + 0.5) * LOG_STEP) * GRID));

/** The nearest whole number, half to even, of |x| < 2^51. */
export function rint(x: number): number {
  return x + MAGIC - MAGIC;
}

/** A number as a multiple of 2^-12 within +-most. */
export function onGrid(x: number, most = FLOAT64_MAX): number {
  return Math.min(Math.max(rint(x * GRID) / GRID, -most), most);
}

/** The coder's scale index, 0 ... 63, of a raw scale on the grid. */
export function scaleIndex(rawScale: number): number {
  const units = rint(rawScale * GRID);
  let index = 0;
  while (index < 63 && THRESHOLDS[index] <= units) index++;
  return index;
}

/** A table (rates, C) on the grid, interpolated at a rate level and rounded to the grid: (C). */
export function atRate(table: Float32Array, rates: number, rateLevel: number): Float64Array {
  const channels = table.length / rates;
  const below = Math.min(Math.floor(rateLevel), Math.max(rates - 2, 0));
  const above = Math.min(below + 1, rates - 1);
  return Float64Array.from({ length: channels }, (_, c) => {
    const [low, high] = [onGrid(table[below * channels + c]), onGrid(table[above * channels + c])];
    return onGrid(low + (high - low) * (rateLevel - below));
  });
}

/** Weights (outputs, ...) as multiples of each output's step, and the bits of its sum of magnitudes in steps. */
export function stepped(weight: Float32Array, outputs: number): { exact: Float32Array; bits: number[] } {
  const each = weight.length / outputs;
  const exact = new Float32Array(weight.length);
  const bits = Array.from({ length: outputs }, (_, o) => {
    const row = weight.subarray(o * each, (o + 1) * each);
    const largest = row.reduce((most, value) => Math.max(most, Math.abs(value)), WEIGHT_SMALLEST);
    let step = 2 ** (exponent(largest) - WEIGHT_BITS);
    if (rint(largest / step) >= 2 ** WEIGHT_BITS) step *= 2;
    let sum = 0;
    row.forEach((value, i) => {
      const whole = rint(value / step);
      sum += Math.abs(whole);
      exact[o * each + i] = whole * step;
    });
    return Math.max(32 - Math.clz32(sum - 1), 2);
  });
  return { exact, bits };
}

/** e where 2^(e - 1) <= x < 2^e. */
function exponent(x: number): number {
  let e = Math.floor(Math.log2(x)) + 1;
  while (2 ** e <= x) e++;
  while (2 ** (e - 1) > x) e--;
  return e;
}

/** Minus the biases on the grid, and minus what rounds to the grid when added. */
export function minusOffset(bias: Float32Array): Float32Array {
  return bias.map((value) => -(onGrid(value, FLOAT32_MAX) + FLOAT32_ROUNDER));
}

/** What a pointwise layer's input is rounded by. */
export function coarseness(bits: number[]): Float32Array {
  return Float32Array.of(1.5 * 2 ** bits.reduce((most, one) => Math.max(most, one), 0));
}

/** What rounds a depthwise layer's input to each channel's step when added. */
export function depthwiseRounder(bits: number[]): Float32Array {
  return Float32Array.from(bits, (one) => 1.5 * 2 ** (one + REACH_BITS - 1));
}

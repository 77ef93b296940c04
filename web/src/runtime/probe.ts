/**
 * Sums whose results are known, as `lichen.runtime.probe` has them: what runs graphs is tried before it decides a bit.
 * They come near 2^24 units, beyond which single precision is not exact, so faster, rounder sums are found out.
 */
import { FLOAT32_MAX, onGrid } from "./fixed_point.js";
import type { Tensor } from "./weights_file.js";

const ROWS = 9;
const AREA = ROWS * ROWS;

/** A layer of the probe: its tensors, and its input (1, inputs, 9, 9). */
interface Layer {
  inputs: number;
  outputs: number;
  kernel: number;
  weight: Float32Array;
  bias: Float32Array;
  x: Float32Array;
}

function layer(inputs: number, outputs: number, kernel: number, largest: number): Layer {
  const seen = kernel === 1 ? inputs : kernel ** 2;
  const weight = Float32Array.from({ length: outputs * seen }, (_, i) => {
    return i % 4 === 0 ? (((i * 7907) % 511) * 2 - 511) * 2 ** -9 : 2 ** -9;
  });
  const bias = Float32Array.from({ length: outputs }, (_, i) => (((i * 37) % 101) - 50) / 64);
  const x = Float32Array.from({ length: inputs * AREA }, (_, i) => {
    return (((i * 7919) % (2 * largest - 1)) - (largest - 1)) * 2 ** -5;
  });
  return { inputs, outputs, kernel, weight, bias, x };
}

const LAYERS: Record<string, Layer> = {
  narrow: layer(64, 24, 1, 2 ** 11),
  wide: layer(320, 32, 1, 2 ** 9),
  near: layer(64, 64, 3, 2 ** 12),
  far: layer(64, 64, 5, 2 ** 12),
};

/** The tensors that fill the probe, by name. */
export const PROBE_TENSORS = {
  has: (name: string) => name.endsWith(".weight") || name.endsWith(".bias"),
  tensor(name: string): Tensor {
    const [own, part] = name.split(".");
    const { inputs, outputs, kernel, weight, bias } = LAYERS[own];
    if (part === "bias") return { shape: [outputs], values: bias };
    return { shape: [outputs, kernel === 1 ? inputs : 1, kernel, kernel], values: weight };
  },
};

/** Its inputs by name. */
export const PROBE_INPUTS = Object.fromEntries(
  Object.entries(LAYERS).map(([name, { inputs, x }]) => [name, { data: x, shape: [1, inputs, ROWS, ROWS] }]),
);

/** Whether its outputs, which are those of its layers and of the widest one by rows, are what they must be. */
export function isExact(outputs: ArrayLike<number>[]): boolean {
  const wanted = Object.values(LAYERS).map(results);
  const { outputs: width } = LAYERS.wide;
  const wide = wanted[1];
  const rows = wide.map((_, i) => wide[(i % width) * AREA + Math.floor(i / width)]);
  return [...wanted, rows].every(
    (values, i) => values.length === outputs[i].length && values.every((v, at) => v === outputs[i][at]),
  );
}

/** Sums in double precision, rounded to the grid and clamped. */
function results({ inputs, outputs, kernel, weight, bias, x }: Layer): Float32Array {
  const found = new Float32Array(outputs * AREA);
  const middle = (kernel - 1) / 2;
  for (let at = 0; at < found.length; at++) {
    const [output, row, column] = [Math.floor(at / AREA), Math.floor((at % AREA) / ROWS), (at % AREA) % ROWS];
    let sum = bias[output];
    if (kernel === 1) for (let i = 0; i < inputs; i++) sum += weight[output * inputs + i] * x[i * AREA + (at % AREA)];
    else {
      for (let tap = 0; tap < kernel ** 2; tap++) {
        const [y, z] = [row + Math.floor(tap / kernel) - middle, column + (tap % kernel) - middle];
        if (y < 0 || z < 0 || y >= ROWS || z >= ROWS) continue;
        sum += weight[output * kernel ** 2 + tap] * x[output * AREA + y * ROWS + z];
      }
    }
    found[at] = onGrid(sum, FLOAT32_MAX);
  }
  return found;
}

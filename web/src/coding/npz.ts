import { BadAssets } from "../errors.js";
import { through } from "./streams.js";

const ENTRY = 0x02014b50;
const END = 0x06054b50;
const TYPES = { "<u4": Uint32Array, "<i4": Int32Array, "<i2": Int16Array, "<f4": Float32Array } as const;

/** An array of numpy's as a flat typed array; whole numbers of 64 bits become doubles. */
export interface NpyArray {
  shape: number[];
  values: Uint32Array | Int32Array | Int16Array | Float32Array | Float64Array;
}

/** The arrays of a `.npz` file by name. Throws `BadAssets`. */
export async function readNpz(bytes: Uint8Array): Promise<Map<string, NpyArray>> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - 22;
  if (end < 0 || view.getUint32(end, true) !== END) throw new BadAssets("a table is no .npz file; build the site anew");
  const found = new Map<string, NpyArray>();
  for (let at = view.getUint32(end + 16, true), i = view.getUint16(end + 10, true); i > 0; i--) {
    if (view.getUint32(at, true) !== ENTRY) throw new BadAssets("a table is no .npz file; build the site anew");
    const [size, nameSize, extraSize] = [
      view.getUint32(at + 20, true),
      view.getUint16(at + 28, true),
      view.getUint16(at + 30, true),
    ];
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = bytes.subarray(start, start + size);
    const deflated = view.getUint16(at + 10, true) === 8;
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameSize));
    const data = deflated ? await through(new DecompressionStream("deflate-raw"), packed) : packed.slice();
    found.set(name.replace(/\.npy$/, ""), npy(data));
    at += 46 + nameSize + extraSize + view.getUint16(at + 32, true);
  }
  return found;
}

function npy(data: Uint8Array<ArrayBuffer>): NpyArray {
  const view = new DataView(data.buffer);
  const long = data[6] > 1;
  const start = long ? 12 + view.getUint32(8, true) : 10 + view.getUint16(8, true);
  const header = new TextDecoder().decode(data.subarray(long ? 12 : 10, start));
  const type = /'descr': '([^']+)'/.exec(header)?.[1] ?? "";
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "")
    .split(",")
    .filter((side) => side.trim())
    .map(Number);
  const buffer = data.buffer.slice(start);
  if (type === "<i8") return { shape, values: Float64Array.from(new BigInt64Array(buffer), Number) };
  if (!(type in TYPES)) throw new BadAssets(`a table has numbers of type ${type}; upgrade this page's Lichen`);
  return { shape, values: new TYPES[type as keyof typeof TYPES](buffer) };
}

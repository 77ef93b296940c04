import { BadFile, TruncatedFile, UnsupportedFile } from "../errors.js";

export const GREY = 1;
export const FILTERED = 2;
export const TRELLIS = 4;
const MAGIC = [0x8b, 0x4c, 0x43];
const VERSION = 1;
const SIDE_MAX = 2 ** 24 - 1;

/** What stands before the sections. `qualityIndex` counts 1/512 of the way between two trained rates. */
export interface Header {
  model: number;
  weights: string;
  width: number;
  height: number;
  qualityIndex: number;
  flags: number;
}

/** Reads a file's bytes from the front. */
export class Cursor {
  at = 0;

  constructor(readonly data: Uint8Array) {}

  take(count: number): Uint8Array {
    if (count > this.data.length - this.at) throw new TruncatedFile("the file is truncated; get it anew");
    this.at += count;
    return this.data.subarray(this.at - count, this.at);
  }

  /** Unsigned LEB128 within [low, high], shortest form only. */
  varint(low: number, high: number): number {
    let value = 0;
    for (let place = 0; ; place++) {
      if (place > 5) throw new BadFile("a number in the file is too long: the file is damaged; get it anew");
      const byte = this.take(1)[0];
      value += (byte & 127) * 128 ** place;
      if (byte >= 128) continue;
      if ((byte === 0 && place > 0) || value < low || value > high) {
        throw new BadFile(`a number in the file is impossible (${value}): the file is damaged; get it anew`);
      }
      return value;
    }
  }
}

/** The bytes of an unsigned number in LEB128. */
export function varint(value: number): number[] {
  const out = [];
  for (; value >= 128; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return [...out, value];
}

/** Magic, version and the fields. Throws `BadFile`, `TruncatedFile` or `UnsupportedFile`. */
export function readHeader(cursor: Cursor): Header {
  const { data } = cursor;
  if (data.length === 0 || MAGIC.some((byte, i) => i < data.length && data[i] !== byte)) {
    throw new BadFile("not a .lic file; give one that Lichen wrote");
  }
  cursor.take(MAGIC.length);
  const version = cursor.take(1)[0];
  if (version !== VERSION) {
    throw new UnsupportedFile(
      `the file has format version ${version}, this page reads ${VERSION}; reload or upgrade it`,
    );
  }
  const header = {
    model: cursor.varint(0, 2 ** 16 - 1),
    weights: hex(cursor.take(4)),
    width: cursor.varint(1, SIDE_MAX),
    height: cursor.varint(1, SIDE_MAX),
    qualityIndex: cursor.varint(0, 2 ** 16 - 1),
    flags: cursor.varint(0, 2 ** 28 - 1),
  };
  if (header.flags & ~(GREY | FILTERED | TRELLIS)) {
    throw new UnsupportedFile("the file uses features of a newer Lichen; upgrade this page's");
  }
  return header;
}

/** The inverse of `readHeader`. */
export function writeHeader(header: Header): Uint8Array {
  const weights = header.weights.match(/../g)!.map((digits) => parseInt(digits, 16));
  const { model, width, height, qualityIndex, flags } = header;
  const fields = [varint(model), weights, varint(width), varint(height), varint(qualityIndex), varint(flags)];
  return Uint8Array.from([...MAGIC, VERSION, ...fields.flat()]);
}

/** Bytes as hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

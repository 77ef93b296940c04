import { joined } from "./bitstream/container.js";
import { crc32 } from "./bitstream/crc32.js";
import { through, unpacked } from "./coding/streams.js";
import { BadFile, UnsupportedFile } from "./errors.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const DAMAGED = "the file is damaged; get it anew";
const COLOUR_TYPES = [0, 0, 4, 2, 6]; // by the number of samples of a pixel

/** Samples of a PNG, `channels` a pixel: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. */
export interface Samples {
  width: number;
  height: number;
  channels: number;
  data: Uint8Array | Uint8ClampedArray;
}

/** The plane (height x width) of a PNG of 8-bit greyscale, which must have this size. Throws `BadFile`. */
export async function readGreyPng(png: Uint8Array, width: number, height: number): Promise<Uint8Array> {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  if (png.length < 33 || SIGNATURE.some((byte, i) => png[i] !== byte))
    throw new BadFile(`its alpha is no PNG: ${DAMAGED}`);
  if (view.getUint32(16) !== width || view.getUint32(20) !== height) {
    throw new BadFile(`its alpha has another size than its picture: ${DAMAGED}`);
  }
  const packed = chunksOf(png, view);
  if (png[24] !== 8 || png[25] !== 0) throw new BadFile(`its alpha is not one plane of 8 bits: ${DAMAGED}`);
  if (png[28] !== 0) throw new UnsupportedFile("its alpha is interlaced; encode the picture anew");
  const size = (width + 1) * height;
  const rows = await unpacked(joined(packed), "alpha", size);
  if (rows.length !== size) throw new BadFile(`its alpha is too short: ${DAMAGED}`);
  return unfiltered(rows, width, height);
}

/** The data chunks of a PNG whose checksums match. Throws `BadFile`. */
function chunksOf(png: Uint8Array, view: DataView): Uint8Array[] {
  const packed: Uint8Array[] = [];
  for (let at = 8, end = false; !end;) {
    if (at + 12 > png.length) throw new BadFile(`its alpha is cut: ${DAMAGED}`);
    const size = view.getUint32(at);
    if (at + 12 + size > png.length) throw new BadFile(`its alpha is cut: ${DAMAGED}`);
    const kind = String.fromCharCode(...png.subarray(at + 4, at + 8));
    if (crc32(png.subarray(at + 4, at + 8 + size)) !== view.getUint32(at + 8 + size)) {
      throw new BadFile(`a checksum of its alpha does not match: ${DAMAGED}`);
    }
    if (kind === "IDAT") packed.push(png.subarray(at + 8, at + 8 + size));
    end = kind === "IEND";
    at += 12 + size;
  }
  return packed;
}

function unfiltered(rows: Uint8Array, width: number, height: number): Uint8Array {
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const kind = rows[y * (width + 1)];
    if (kind > 4) throw new BadFile(`its alpha has rows of an unknown kind: ${DAMAGED}`);
    for (let x = 0, at = y * width; x < width; x++, at++) {
      const left = x ? out[at - 1] : 0;
      const above = y ? out[at - width] : 0;
      const corner = x && y ? out[at - width - 1] : 0;
      out[at] = rows[y * (width + 1) + 1 + x] + predicted(kind, left, above, corner);
    }
  }
  return out;
}

function predicted(kind: number, left: number, above: number, corner: number): number {
  if (kind === 1) return left;
  if (kind === 2) return above;
  if (kind === 3) return (left + above) >> 1;
  if (kind !== 4) return 0;
  const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

/** What goes into a PNG beside its samples. */
export interface Blocks {
  icc?: Uint8Array;
  exif?: Uint8Array;
  xmp?: Uint8Array;
}

/** A PNG file of samples, losslessly, with its profile, EXIF and XMP. */
export async function writePng(
  { width, height, channels, data }: Samples,
  blocks: Blocks,
): Promise<Uint8Array<ArrayBuffer>> {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, COLOUR_TYPES[channels]);
  const parts = [Uint8Array.from(SIGNATURE), ...chunk("IHDR", new Uint8Array(header.buffer))];
  if (blocks.icc) parts.push(...chunk("iCCP", joined([text("ICC Profile\0\0"), await packed(blocks.icc)])));
  if (blocks.exif) parts.push(...chunk("eXIf", withoutPrefix(blocks.exif)));
  if (blocks.xmp) parts.push(...chunk("iTXt", joined([text("XML:com.adobe.xmp\0\0\0\0\0"), blocks.xmp])));
  parts.push(
    ...chunk("IDAT", await packed(filtered(width, height, channels, data))),
    ...chunk("IEND", new Uint8Array()),
  );
  return joined(parts);
}

/** Rows behind the number of their filter: each byte less that of the pixel above it. */
function filtered(width: number, height: number, channels: number, data: Samples["data"]): Uint8Array {
  const line = width * channels;
  const rows = new Uint8Array((line + 1) * height);
  for (let y = 0, to = 0; y < height; y++) {
    rows[to++] = y ? 2 : 0;
    for (let x = 0, at = y * line; x < line; x++, at++) rows[to++] = data[at] - (y ? data[at - line] : 0);
  }
  return rows;
}

function packed(bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return through(new CompressionStream("deflate"), bytes);
}

function text(characters: string): Uint8Array {
  return new TextEncoder().encode(characters);
}

/** A PNG's EXIF has no `Exif\0\0` before it. */
function withoutPrefix(exif: Uint8Array): Uint8Array {
  return String.fromCharCode(...exif.subarray(0, 6)) === "Exif\0\0" ? exif.subarray(6) : exif;
}

function chunk(kind: string, bytes: Uint8Array): Uint8Array[] {
  const inside = joined([text(kind), bytes]);
  const [size, check] = [bytes.length, crc32(inside)].map((number) => {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, number);
    return new Uint8Array(view.buffer);
  });
  return [size, inside, check];
}

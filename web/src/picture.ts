import { type Container, Kind } from "./bitstream/container.js";
import { GREY } from "./bitstream/fields.js";
import { unpacked } from "./coding/streams.js";
import { readGreyPng, writePng } from "./png.js";

const BLOCK_BYTES_MAX = 16_000_000;

/** A decoded picture: RGBA samples row by row (alpha 255 where there is none), and what belongs to them. */
export interface Picture {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
  grey: boolean;
  alpha: boolean;
  icc?: Uint8Array;
  exif?: Uint8Array;
  xmp?: Uint8Array;
}

/** RGBA samples with the alpha and the blocks of a file. Throws `BadFile`. */
export async function completed(container: Container, data: Uint8ClampedArray<ArrayBuffer>): Promise<Picture> {
  const { header, sections } = container;
  const { width, height } = header;
  const grey = (header.flags & GREY) !== 0;
  if (grey) toGrey(data);
  const png = sections.get(Kind.ALPHA);
  if (png) {
    const plane = await readGreyPng(png, width, height);
    for (let i = 0; i < plane.length; i++) data[4 * i + 3] = plane[i];
  }
  const [icc, exif, xmp] = await Promise.all(
    (
      [
        [Kind.ICC, "ICC profile"],
        [Kind.EXIF, "EXIF"],
        [Kind.XMP, "XMP"],
      ] as const
    ).map(([kind, name]) => {
      const packed = sections.get(kind);
      return packed && unpacked(packed, name, BLOCK_BYTES_MAX);
    }),
  );
  return { width, height, data, grey, alpha: png !== undefined, icc, exif, xmp };
}

/** Each pixel becomes the mean of its three samples, rounded. */
function toGrey(data: Uint8ClampedArray): void {
  for (let i = 0; i < data.length; i += 4) {
    const mean = Math.floor((data[i] + data[i + 1] + data[i + 2] + 1) / 3);
    data[i] = data[i + 1] = data[i + 2] = mean;
  }
}

/** The picture as a PNG file, losslessly, with its profile and metadata. */
export function toPng(picture: Picture): Promise<Uint8Array<ArrayBuffer>> {
  const { width, height, data, grey, alpha, icc, exif, xmp } = picture;
  const kept = [...(grey ? [0] : [0, 1, 2]), ...(alpha ? [3] : [])];
  const samples = new Uint8Array(width * height * kept.length);
  for (let i = 0, to = 0; i < data.length; i += 4) for (const channel of kept) samples[to++] = data[i + channel];
  return writePng({ width, height, channels: kept.length, data: samples }, { icc, exif, xmp });
}

/** The picture as a bitmap in sRGB: where it has a profile, the browser converts by it. */
export async function toBitmap(picture: Picture): Promise<ImageBitmap> {
  if (!picture.icc) return createImageBitmap(new ImageData(picture.data, picture.width, picture.height));
  return createImageBitmap(new Blob([await toPng(picture)], { type: "image/png" }));
}

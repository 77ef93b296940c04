import { joined } from "../bitstream/container.js";
import { BadFile } from "../errors.js";

/** The bytes that come out of a stream of the platform (`DecompressionStream`, `CompressionStream`). */
export async function through(
  stream: GenericTransformStream,
  bytes: Uint8Array,
  most = Infinity,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = new Blob([bytes as BlobPart]).stream().pipeThrough(stream).getReader();
  const parts: Uint8Array[] = [];
  for (let size = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return joined(parts);
    size += value.length;
    if (size > most) {
      await reader.cancel();
      throw new RangeError("it unpacks to more than it may");
    }
    parts.push(value);
  }
}

/** One zlib stream with nothing after it, unpacked to at most so many bytes. Throws `BadFile`. */
export async function unpacked(bytes: Uint8Array, what: string, most: number): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await through(new DecompressionStream("deflate"), bytes, most);
  } catch (error) {
    throw new BadFile(`its ${what} cannot be unpacked (${(error as Error).message}): the file is damaged; get it anew`);
  }
}

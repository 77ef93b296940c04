/** In Node: the same decoder in the calling thread, with files of a folder. */
import { readFile } from "node:fs/promises";

import { Encoder, type Samples } from "./encoder.js";
import { Engine, type Info, MAX_PIXELS } from "./engine.js";
import { BadAssets } from "./errors.js";
import type { Picture } from "./picture.js";
import type { Asset, Source } from "./runtime/assets.js";

export * from "./errors.js";
export { toPng } from "./picture.js";
export type { Info, Picture, Samples };

class FolderSource implements Source {
  constructor(private readonly base: URL) {}

  async get(path: string): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return new Uint8Array(await readFile(new URL(path, this.base)));
    } catch (error) {
      throw new BadAssets(`${path} cannot be read (${(error as Error).message}); build the package anew`);
    }
  }

  async keep(): Promise<void> {}

  async kept(_asset: Asset): Promise<undefined> {
    return undefined;
  }
}

/** A decoder with the files of a folder (a URL that ends with a slash; the package's own without one). */
export function open(folder: URL | string = new URL("./", import.meta.url)): Engine {
  return new Engine(new FolderSource(new URL(folder)), 1); // ONNX Runtime's WebAssembly has one thread in Node
}

/** An encoder with the first weights of a folder. */
export function openEncoder(folder: URL | string = new URL("./", import.meta.url)): Encoder {
  return new Encoder(new FolderSource(new URL(folder)), 1);
}

let own: Engine | undefined;

/** Bytes of a .lic file -> its picture. Throws what `Engine.decode` does. */
export function decode(data: Uint8Array, maxPixels = MAX_PIXELS): Promise<Picture> {
  return (own ??= open()).decode(data, maxPixels);
}

/** Facts of a .lic file. Throws `BadFile`. */
export function info(data: Uint8Array): Promise<Info> {
  return (own ??= open()).info(data);
}

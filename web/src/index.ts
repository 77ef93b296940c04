/** In a browser: `.lic` files are decoded in a worker; `<lic-img>` shows them. */
import { type Info, MAX_PIXELS } from "./engine.js";
import { BadAssets, errorOf, OutOfMemory, UsageError } from "./errors.js";
import type { Picture } from "./picture.js";
import type { Answer, Request, Start } from "./worker.js";

export * from "./errors.js";
export type { Info, Picture };

/** Bytes of a .lic file. */
export type Data = ArrayBuffer | ArrayBufferView | Blob;

/** How files are decoded. */
export interface Settings {
  /** The folder with the decoder's files, where it is not that of this script. */
  base: string;
  /** Of WebAssembly; more than one only where the page is cross-origin isolated. */
  threads: number;
  /** Whether weights are kept in the browser's cache for the next visit. */
  keep: boolean;
}

const settings: Settings = {
  base: new URL("./", import.meta.url).href,
  threads: globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1,
  keep: true,
};
let worker: Worker | undefined;
let asked = 0;
const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();

/** Change settings, before the first picture is decoded. Throws `UsageError` afterwards. */
export function configure(changed: Partial<Settings>): void {
  if (worker) throw new UsageError("the decoder runs already; call configure before the first picture");
  Object.assign(settings, changed);
}

/** The picture of a file as a bitmap in sRGB. Throws the errors of this package. */
export async function decode(data: Data, maxPixels = MAX_PIXELS): Promise<ImageBitmap> {
  return (await ask("bitmap", data, maxPixels)) as ImageBitmap;
}

/** The samples of a file as they are, with its profile and metadata. Throws as `decode`. */
export async function decodePicture(data: Data, maxPixels = MAX_PIXELS): Promise<Picture> {
  return (await ask("picture", data, maxPixels)) as Picture;
}

/** The picture of a file as a PNG file, losslessly, with its profile and metadata. Throws as `decode`. */
export async function decodeToPng(data: Data, maxPixels = MAX_PIXELS): Promise<Blob> {
  return (await ask("png", data, maxPixels)) as Blob;
}

/** Facts of a file, whose latents are not read. Throws `BadFile`. */
export async function info(data: Data): Promise<Info> {
  return (await ask("info", data)) as Info;
}

/** Fetch and load the site's first model, before the first picture. Throws `BadAssets`. */
export async function prepare(): Promise<void> {
  await ask("prepare", new Uint8Array());
}

/** The SHA-256 of a file's latents, by which decoders are compared. Throws as `decode`. */
export async function latentsDigest(data: Data): Promise<string> {
  return (await ask("digest", data)) as string;
}

async function ask(what: Request["what"], data: Data, maxPixels = MAX_PIXELS): Promise<unknown> {
  const request: Request = { id: asked++, what, data: await bytesOf(data), maxPixels };
  const running = started();
  return new Promise((resolve, reject) => {
    waiting.set(request.id, { resolve, reject });
    running.postMessage(request);
  });
}

/** A copy of their own, so that the caller's stay. */
async function bytesOf(data: Data): Promise<Uint8Array> {
  if (data instanceof Blob) return new Uint8Array(await data.arrayBuffer());
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return new Uint8Array(data.slice(0));
}

function started(): Worker {
  if (worker) return worker;
  worker = new Worker(new URL("./lichen-worker.js", import.meta.url), { type: "module", name: "lichen" });
  worker.onmessage = ({ data }: MessageEvent<Answer>) => settle(data);
  worker.onerror = (event) => {
    event.preventDefault();
    stop(
      new BadAssets(`the decoder's worker failed (${event.message || "it cannot be loaded"}); check the site's files`),
    );
  };
  const start: Start = {
    base: new URL(settings.base, document.baseURI).href,
    threads: settings.threads,
    keep: settings.keep,
  };
  worker.postMessage(start);
  return worker;
}

function settle({ id, result, error }: Answer): void {
  const asker = waiting.get(id);
  waiting.delete(id);
  if (!error) asker?.resolve(result);
  else {
    const typed = errorOf(error.name, error.message);
    asker?.reject(typed);
    if (typed instanceof OutOfMemory) stop(typed); // WebAssembly cannot go on; the next picture gets a new worker
  }
}

function stop(error: Error): void {
  worker?.terminate();
  worker = undefined;
  for (const { reject } of waiting.values()) reject(error);
  waiting.clear();
}

export { LicImage, upgrade } from "./element.js";

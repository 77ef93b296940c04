/** In a browser: `.lic` files are decoded in a worker; `<lic-img>` shows them. */
import { type Info, MAX_PIXELS } from "./engine.js";
import { Caller, type Settings } from "./caller.js";
import type { Picture } from "./picture.js";
import type { Request } from "./worker.js";

export * from "./errors.js";
export type { Info, Picture, Settings };

/** Bytes of a .lic file. */
export type Data = ArrayBuffer | ArrayBufferView | Blob;

const decoder = new Caller(new URL("./lichen-worker.js", import.meta.url));

/** Change settings, before the first picture is decoded. Throws `UsageError` afterwards. */
export function configure(changed: Partial<Settings>): void {
  decoder.configure(changed);
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
  return decoder.ask({ what, data: await bytesOf(data), maxPixels });
}

/** A copy of their own, so that the caller's stay. */
async function bytesOf(data: Data): Promise<Uint8Array> {
  if (data instanceof Blob) return new Uint8Array(await data.arrayBuffer());
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return new Uint8Array(data.slice(0));
}

export { LicImage, upgrade } from "./element.js";

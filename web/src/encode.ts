/** In a browser: pictures become `.lic` files in a worker of their own, which is loaded with the first of them. */
import { Caller, type Settings } from "./caller.js";
import type { Samples } from "./encoder.js";

export * from "./errors.js";
export type { Samples, Settings };

const encoder = new Caller(new URL("./lichen-encoder-worker.js", import.meta.url));

/** Change settings, before the first picture is encoded. Throws `UsageError` afterwards. */
export function configure(changed: Partial<Settings>): void {
  encoder.configure(changed);
}

/** A `.lic` file of RGBA samples (an `ImageData`, say) at a quality 0 ... 100. Throws the errors of this package. */
export async function encode({ width, height, data }: Samples, quality = 50): Promise<Uint8Array> {
  return (await encoder.ask({ width, height, data, quality })) as Uint8Array;
}

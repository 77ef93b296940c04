import { BadAssets } from "./errors.js";
import type { Asset, Source } from "./runtime/assets.js";

const CACHE = "lichen-image";

/** A site's files by `fetch`, kept in the Cache API by their hash where `keeps`. */
export class FetchedSource implements Source {
  constructor(
    private readonly base: string,
    private readonly keeps: boolean,
  ) {
    if (!globalThis.crypto?.subtle) {
      throw new BadAssets("browsers check hashes in secure contexts only; serve the page by https, or from localhost");
    }
  }

  async get(path: string, fresh: boolean): Promise<Uint8Array<ArrayBuffer>> {
    const url = new URL(path, this.base);
    let response: Response;
    try {
      response = await fetch(url, { cache: fresh ? "no-cache" : "default" });
    } catch (error) {
      throw new BadAssets(`${url} cannot be fetched (${(error as Error).message}); check the connection`);
    }
    if (!response.ok) throw new BadAssets(`${url} cannot be fetched (${response.status}); check the site's files`);
    return new Uint8Array(await response.arrayBuffer());
  }

  async keep(asset: Asset, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!this.keeps) return;
    try {
      const cache = await caches.open(CACHE);
      const length = String(bytes.length);
      await cache.put(this.key(asset), new Response(bytes, { headers: { "Content-Length": length } }));
    } catch (error) {
      console.info(`lichen-image: ${asset.path} is not kept for the next visit (${(error as Error).message})`);
    }
  }

  async kept(asset: Asset): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (!this.keeps) return undefined;
    const found = await globalThis.caches?.match(this.key(asset), { cacheName: CACHE }).catch(() => undefined);
    return found && new Uint8Array(await found.arrayBuffer());
  }

  private key(asset: Asset): string {
    return new URL(`${asset.path}?sha256=${asset.sha256}`, this.base).href;
  }
}

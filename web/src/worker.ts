/** The decoder in a worker. */
import { answering } from "./answering.js";
import { Engine } from "./engine.js";
import { toBitmap, toPng } from "./picture.js";

/** What is asked of it. */
export interface Request {
  id: number;
  what: "bitmap" | "picture" | "png" | "info" | "digest" | "prepare";
  data: Uint8Array;
  maxPixels: number;
}

answering<Request, Engine>(
  (source, threads) => new Engine(source, threads),
  async (engine, { what, data, maxPixels }) => {
    if (what === "prepare") return [await engine.prepare(), []];
    if (what === "info") return [await engine.info(data), []];
    if (what === "digest") return [await engine.latentsDigest(data), []];
    const picture = await engine.decode(data, maxPixels);
    if (what === "picture") return [picture, [picture.data.buffer]];
    if (what === "png") return [new Blob([await toPng(picture)], { type: "image/png" }), []];
    const bitmap = await toBitmap(picture);
    return [bitmap, [bitmap]];
  },
);

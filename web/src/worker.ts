/** The decoder in a worker: answers one message after the other. */
import { Engine } from "./engine.js";
import { type Picture, toBitmap, toPng } from "./picture.js";
import { FetchedSource } from "./sources.js";

/** What is asked of a worker. */
export interface Request {
  id: number;
  what: "bitmap" | "picture" | "png" | "info" | "digest" | "prepare";
  data: Uint8Array;
  maxPixels: number;
}

/** What it is started with. */
export interface Start {
  base: string;
  threads: number;
  keep: boolean;
}

/** Its answer; `error` is the name and the message of what was thrown. */
export interface Answer {
  id: number;
  result?: unknown;
  error?: { name: string; message: string };
}

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<Start | Request>) => void) | null;
  postMessage(answer: Answer, transfer: Transferable[]): void;
};
let engine: Promise<Engine> | undefined;
let last: Promise<unknown> = Promise.resolve();

scope.onmessage = ({ data: message }) => {
  if ("base" in message) {
    const { base, threads, keep } = message;
    engine = (async () => new Engine(new FetchedSource(base, keep), threads))();
    engine.catch(() => {}); // said in the answer to each request
  } else last = last.then(() => answer(message));
};

async function answer(request: Request): Promise<void> {
  const { id } = request;
  try {
    const [result, transfer] = await done(await engine!, request);
    scope.postMessage({ id, result }, transfer);
  } catch (error) {
    const { name, message } = error as Error;
    scope.postMessage({ id, error: { name, message } }, []);
  }
}

async function done(engine: Engine, { what, data, maxPixels }: Request): Promise<[unknown, Transferable[]]> {
  if (what === "prepare") return [await engine.prepare(), []];
  if (what === "info") return [await engine.info(data), []];
  if (what === "digest") return [await engine.latentsDigest(data), []];
  const picture: Picture = await engine.decode(data, maxPixels);
  if (what === "picture") return [picture, [picture.data.buffer]];
  if (what === "png") return [new Blob([await toPng(picture)], { type: "image/png" }), []];
  const bitmap = await toBitmap(picture);
  return [bitmap, [bitmap]];
}

import { FetchedSource } from "./sources.js";

/** What a worker is started with. */
export interface Start {
  base: string;
  threads: number;
  keep: boolean;
}

/** Its answer to a request; `error` is the name and the message of what was thrown. */
export interface Answer {
  id: number;
  result?: unknown;
  error?: { name: string; message: string };
}

const scope = self as unknown as {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(answer: Answer, transfer: Transferable[]): void;
};

/** In a worker: answer requests one after the other, by what is made of the start. */
export function answering<Request extends { id: number }, Engine>(
  make: (source: FetchedSource, threads: number) => Engine,
  done: (engine: Engine, request: Request) => Promise<[result: unknown, transfer: Transferable[]]>,
): void {
  let engine: Promise<Engine> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const answer = async (request: Request) => {
    const { id } = request;
    try {
      const [result, transfer] = await done(await engine!, request);
      scope.postMessage({ id, result }, transfer);
    } catch (error) {
      const { name, message } = error as Error;
      scope.postMessage({ id, error: { name, message } }, []);
    }
  };
  scope.onmessage = ({ data: message }: MessageEvent<Start | Request>) => {
    if ("base" in message) {
      engine = (async () => make(new FetchedSource(message.base, message.keep), message.threads))();
      engine.catch(() => {}); // said in the answer to each request
    } else last = last.then(() => answer(message));
  };
}

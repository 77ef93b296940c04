import { BadAssets, errorOf, OutOfMemory, UsageError } from "./errors.js";
import type { Answer, Start } from "./answering.js";

/** How files are decoded. */
export interface Settings {
  /** The folder with the decoder's files, where it is not that of this script. */
  base: string;
  /** Of WebAssembly; more than one only where the page is cross-origin isolated. */
  threads: number;
  /** Whether weights are kept in the browser's cache for the next visit. */
  keep: boolean;
}

/** A worker that is started when it is first asked something, and anew after it failed. */
export class Caller {
  readonly settings: Settings;
  private worker: Worker | undefined;
  private asked = 0;
  private readonly waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();

  constructor(private readonly script: URL) {
    const threads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
    this.settings = { base: new URL("./", script).href, threads, keep: true };
  }

  /** Throws `UsageError` when the worker runs already. */
  configure(changed: Partial<Settings>): void {
    if (this.worker) throw new UsageError("the worker runs already; call configure before the first picture");
    Object.assign(this.settings, changed);
  }

  /** The answer to a request. Throws what the worker does. */
  ask(request: object): Promise<unknown> {
    const running = this.started();
    const id = this.asked++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      running.postMessage({ ...request, id });
    });
  }

  private started(): Worker {
    if (this.worker) return this.worker;
    const worker = (this.worker = new Worker(this.script, { type: "module" }));
    worker.onmessage = ({ data }: MessageEvent<Answer>) => this.settle(data);
    worker.onerror = (event) => {
      event.preventDefault();
      const said = event.message || "it cannot be loaded";
      this.stop(new BadAssets(`the decoder's worker failed (${said}); check the site's files`));
    };
    const start: Start = { ...this.settings, base: new URL(this.settings.base, document.baseURI).href };
    worker.postMessage(start);
    return worker;
  }

  private settle({ id, result, error }: Answer): void {
    const asker = this.waiting.get(id);
    this.waiting.delete(id);
    if (!error) return asker?.resolve(result);
    const typed = errorOf(error.name, error.message);
    asker?.reject(typed);
    if (typed instanceof OutOfMemory) this.stop(typed); // WebAssembly cannot go on; the next picture gets a new worker
  }

  private stop(error: Error): void {
    this.worker?.terminate();
    this.worker = undefined;
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}

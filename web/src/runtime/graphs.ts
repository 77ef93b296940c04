import * as ort from "onnxruntime-web/wasm";

import { BadAssets, OutOfMemory } from "../errors.js";
import * as fixedPoint from "./fixed_point.js";
import type { ModelAssets } from "./assets.js";
import { withWeights } from "./onnx_file.js";
import type { WeightsFile } from "./weights_file.js";

/** What a manifest of exported graphs says (`lichen.lab.export`). */
export interface Manifest {
  stride: number;
  hyper_stride: number;
  latents: number;
  hyper_latents: number;
  features: number;
  family: { tables: "gaussian" | "logistic"; skip: number };
  hyper_skip: number;
  adaptation: boolean;
  centroids: boolean;
  steps: [row: number, column: number, first: number, every: number][][];
  post_filter_side: number | null;
  halos: Record<"analysis" | "hyper_analysis" | "synthesis" | "prior_synthesis" | "prior_context", number>;
  tensors: Record<string, number[]>;
  weights: Record<string, Record<string, [kind: string, source: string]>>;
}

/** What goes into a graph. */
export type Input = { data: Float32Array | Float64Array; shape: readonly number[] };
export type Output = Float32Array | Uint8Array;

/** A set of graphs with the weights of a file; each is loaded when it is first run. */
export class Graphs {
  private readonly sessions = new Map<string, Promise<ort.InferenceSession>>();

  constructor(
    private readonly assets: ModelAssets,
    private readonly manifest: Manifest,
    private readonly weights: WeightsFile,
  ) {}

  /** Fetch and load graphs before they are needed, one after the other. */
  async load(names: string[]): Promise<void> {
    for (const name of names) await this.session(name);
  }

  /** The outputs of a graph, for its inputs by name. Throws `BadAssets` as loading it, and `OutOfMemory`. */
  async run(name: string, inputs: Record<string, Input>): Promise<Output[]> {
    const session = await this.session(name);
    const feeds: Record<string, ort.Tensor> = {};
    for (const wanted of session.inputNames) {
      const { data, shape } = inputs[wanted];
      feeds[wanted] =
        data instanceof Float32Array ? new ort.Tensor("float32", data, shape) : new ort.Tensor("float64", data, shape);
    }
    try {
      const outputs = await session.run(feeds);
      return session.outputNames.map((output) => outputs[output].data as Output);
    } catch (error) {
      throw failed(error, `graph ${name} failed`);
    }
  }

  private session(name: string): Promise<ort.InferenceSession> {
    let found = this.sessions.get(name);
    if (!found) {
      found = this.loaded(name);
      this.sessions.set(name, found);
      found.catch(() => this.sessions.delete(name));
    }
    return found;
  }

  private async loaded(name: string): Promise<ort.InferenceSession> {
    const model = await this.assets.graph(name);
    const fills = this.manifest.weights[name];
    const layers = new Map<string, Record<string, Float32Array>>();
    const filled = withWeights(model, (weight) => this.fill(fills[weight], layers));
    try {
      return await ort.InferenceSession.create(filled, {
        executionProviders: ["wasm"],
        graphOptimizationLevel: "all",
        logSeverityLevel: 3,
        extra: { session: { intra_op: { allow_spinning: "0" } } },
      });
    } catch (error) {
      throw failed(error, `graph ${name} cannot be loaded`);
    }
  }

  /** A weight of a graph: a tensor of the file as it is, or of a layer in fixed point. */
  private fill(
    [kind, source]: [string, string],
    layers: Map<string, Record<string, Float32Array>>,
  ): Float32Array | Float64Array {
    if (kind === "plain") return this.weights.tensor(source).values;
    if (kind === "table.table") {
      return Float64Array.from(this.weights.tensor(`${source}.table`).values, (value) => fixedPoint.onGrid(value));
    }
    const [layer, part] = kind.split(".");
    if (!layers.has(source)) layers.set(source, this.layer(source, layer));
    return layers.get(source)![part];
  }

  private layer(source: string, kind: string): Record<string, Float32Array> {
    const { values, shape } = this.weights.tensor(`${source}.weight`);
    const bias = `${source}.bias`;
    const { exact, bits } = fixedPoint.stepped(values, shape[0]);
    const given = this.weights.has(bias) ? this.weights.tensor(bias).values : new Float32Array(shape[0]);
    const common = { weight: exact, minus_offset: fixedPoint.minusOffset(given) };
    if (kind === "pointwise") return { ...common, coarseness: fixedPoint.coarseness(bits) };
    if (kind === "depthwise") return { ...common, rounder: fixedPoint.depthwiseRounder(bits) };
    throw new BadAssets(`layers of kind ${kind} are unknown; upgrade this page's Lichen`);
  }
}

/** An exception of ONNX Runtime, which knows only texts, as one of ours. */
function failed(error: unknown, what: string): Error {
  const said = error instanceof Error ? error.message : String(error);
  if (/bad_alloc|allocate|memory|OOM|Aborted|^\d+$/i.test(said)) {
    return new OutOfMemory("the browser has too little memory for this picture; close other pages, or use a computer");
  }
  return new BadAssets(`${what} (${said}); build the site anew`);
}

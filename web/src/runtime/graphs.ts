import * as ort from "onnxruntime-web/wasm";

import { BadAssets, InexactEngine, OutOfMemory } from "../errors.js";
import * as fixedPoint from "./fixed_point.js";
import type { ModelAssets } from "./assets.js";
import { withWeights } from "./onnx_file.js";
import { isExact, PROBE_INPUTS, PROBE_TENSORS } from "./probe.js";
import type { Tensor } from "./weights_file.js";

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

const EXACT = /^(hyper_synthesis|predict)/; // graphs that decide bits

/** Tensors by name: a weights file, or the probe's. */
export interface Tensors {
  has(name: string): boolean;
  tensor(name: string): Tensor;
}

/** What goes into a graph. */
export type Input = { data: Float32Array | Float64Array; shape: readonly number[] };
export type Output = Float32Array | Uint8Array;

/** A set of graphs with the weights of a file; each is loaded when it is first run. */
export class Graphs {
  private readonly sessions = new Map<string, Promise<ort.InferenceSession>>();
  private probed: Promise<void> | undefined;

  constructor(
    private readonly assets: ModelAssets,
    private readonly manifest: Manifest,
    private readonly weights: Tensors,
  ) {}

  /** Fetch and load graphs before they are needed, one after the other. */
  async load(names: string[]): Promise<void> {
    for (const name of names) await this.session(name);
  }

  /** The outputs of a graph, for its inputs by name. Throws `BadAssets`, `InexactEngine` and `OutOfMemory`. */
  async run(name: string, inputs: Record<string, Input>): Promise<Output[]> {
    if (EXACT.test(name)) await (this.probed ??= this.trySums());
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

  /** Throws `InexactEngine` where sums of known results come out otherwise. */
  private async trySums(): Promise<void> {
    if (isExact(await this.run("probe", PROBE_INPUTS))) return;
    throw new InexactEngine(
      "the sums of this browser are not exact, so its pictures would be wrong; try another browser",
    );
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
    const tensors = name === "probe" ? PROBE_TENSORS : this.weights;
    const filled = withWeights(model, (weight) => fillOf(tensors, fills[weight], layers));
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
}

/** A weight of a graph: a tensor of the file as it is, or of a layer in fixed point. */
function fillOf(
  tensors: Tensors,
  [kind, source]: [string, string],
  layers: Map<string, Record<string, Float32Array>>,
): Float32Array | Float64Array {
  if (kind === "plain") return tensors.tensor(source).values;
  if (kind === "table.table") {
    return Float64Array.from(tensors.tensor(`${source}.table`).values, (value) => fixedPoint.onGrid(value));
  }
  const [layer, part] = kind.split(".");
  if (!layers.has(source)) layers.set(source, layerOf(tensors, source, layer));
  return layers.get(source)![part];
}

function layerOf(tensors: Tensors, source: string, kind: string): Record<string, Float32Array> {
  const { values, shape } = tensors.tensor(`${source}.weight`);
  const bias = `${source}.bias`;
  const { exact, bits } = fixedPoint.stepped(values, shape[0]);
  const given = tensors.has(bias) ? tensors.tensor(bias).values : new Float32Array(shape[0]);
  const common = { weight: exact, minus_offset: fixedPoint.minusOffset(given) };
  if (kind === "pointwise") return { ...common, coarseness: fixedPoint.coarseness(bits) };
  if (kind === "depthwise") return { ...common, rounder: fixedPoint.depthwiseRounder(bits) };
  throw new BadAssets(`layers of kind ${kind} are unknown; upgrade this page's Lichen`);
}

/** An exception of ONNX Runtime, which knows only texts, as one of ours. */
function failed(error: unknown, what: string): Error {
  const said = error instanceof Error ? error.message : String(error);
  if (/bad_alloc|allocate|memory|OOM|Aborted|^\d+$/i.test(said)) {
    return new OutOfMemory("the browser has too little memory for this picture; close other pages, or use a computer");
  }
  return new BadAssets(`${what} (${said}); build the site anew`);
}

import * as ort from "onnxruntime-web/wasm";

import { Assets, type ModelAssets, type ModelEntry, type Source } from "./assets.js";
import { Graphs, type Manifest } from "./graphs.js";
import { PostFilter } from "./post_filter.js";
import { Tile } from "./tiles.js";
import { Walk } from "./walk.js";
import { WeightsFile } from "./weights_file.js";

export const LEVEL_STEPS = 512;

/** Weights that are ready to run. */
export interface Model {
  entry: ModelEntry;
  manifest: Manifest;
  weights: WeightsFile;
  graphs: Graphs;
  walk: Walk;
  filter: PostFilter | undefined;
}

/** The models of a site, each fetched and made ready when it is first asked for. */
export class Models {
  private readonly assets: Assets;
  private readonly loaded = new Map<string, Promise<Model>>();

  constructor(source: Source, threads: number) {
    this.assets = new Assets(source);
    ort.env.wasm.numThreads = threads;
  }

  /** What there is. Throws `BadAssets`. */
  async entries(): Promise<ModelEntry[]> {
    return (await this.assets.models()).models;
  }

  /** The model that a file names. Throws `UnknownWeights`, `UnsupportedFile`, `BadFile` and `BadAssets`. */
  async named(hash: string, model: number): Promise<Model> {
    const assets = await this.assets.model(hash, model);
    let found = this.loaded.get(hash);
    if (!found) {
      found = this.load(assets);
      this.loaded.set(hash, found);
      found.catch(() => this.loaded.delete(hash));
    }
    return found;
  }

  private async load(assets: ModelAssets): Promise<Model> {
    const [manifest, data, tables] = await Promise.all([assets.manifest(), assets.weights(), this.assets.tables()]);
    const weights = new WeightsFile(data);
    const graphs = new Graphs(assets, manifest, weights);
    const side = manifest.post_filter_side;
    const filter = side ? new PostFilter(weights, graphs, tables, side) : undefined;
    return {
      entry: assets.entry,
      manifest,
      weights,
      graphs,
      walk: new Walk(manifest, weights, graphs, tables),
      filter,
    };
  }
}

/** The map of hyper-latents of a picture. */
export function mapOf({ hyper_stride: stride }: Manifest, height: number, width: number): Tile {
  return new Tile(0, 0, Math.ceil(height / stride), Math.ceil(width / stride));
}

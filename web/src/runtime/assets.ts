import { hex } from "../bitstream/fields.js";
import { readNpz } from "../coding/npz.js";
import { frozenTables } from "../coding/tables.js";
import { trellisOf } from "../coding/trellis.js";
import { BadAssets, BadFile, UnknownWeights, UnsupportedFile } from "../errors.js";
import type { Manifest } from "./graphs.js";
import type { Tables } from "./walk.js";

const INDEX = "models.json";
const FORMAT = 1;

/** A file of the site: its path, the SHA-256 of its bytes, and how many they are. */
export interface Asset {
  path: string;
  sha256: string;
  bytes: number;
}

/** Weights with their graphs. `hash` is what a .lic file names them by. */
export interface ModelEntry {
  hash: string;
  model: number;
  name: string;
  rates: number;
  trained_for: string;
  weights: Asset;
  manifest: Asset;
  graphs: Record<string, Asset>;
}

/** What `models.json` says is there. */
export interface Index {
  format: number;
  models: ModelEntry[];
  tables: Record<"gaussian" | "logistic" | "scores" | "gaussian_trellis" | "logistic_trellis", Asset>;
}

/** Where bytes come from: `get` gives those of a path below the site's folder. Throws `BadAssets`. */
export interface Source {
  get(path: string, fresh: boolean): Promise<Uint8Array<ArrayBuffer>>;
  keep(asset: Asset, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  kept(asset: Asset): Promise<Uint8Array<ArrayBuffer> | undefined>;
}

/** The files of a site, each fetched once, checked by its hash and kept. */
export class Assets {
  private index: Promise<Index> | undefined;
  private stored: Promise<Tables> | undefined;

  constructor(private readonly source: Source) {}

  /** What is there. */
  models(): Promise<Index> {
    this.index ??= this.readIndex();
    this.index.catch(() => (this.index = undefined));
    return this.index;
  }

  /** The files of the weights that a file names. Throws `UnknownWeights`, `UnsupportedFile`, `BadFile`. */
  async model(hash: string, model: number): Promise<ModelAssets> {
    const { models } = await this.models();
    if (!models.some((one) => one.model === model)) {
      const known = [...new Set(models.map((one) => `${one.model} ${one.name}`))].join(", ");
      throw new UnsupportedFile(`the file's model ${model} is not on this site (it has ${known}); decode it in Python`);
    }
    const entry = models.find((one) => one.hash === hash);
    if (!entry) {
      const known = models.map((one) => one.hash).join(", ");
      throw new UnknownWeights(`no weights with hash ${hash} on this site (it has ${known}); build it with them`);
    }
    if (entry.model === model) return new ModelAssets(this, entry);
    throw new BadFile("the file's model and weights do not belong together: it is damaged; get it anew");
  }

  /** The frozen tables. */
  tables(): Promise<Tables> {
    this.stored ??= this.readTables();
    this.stored.catch(() => (this.stored = undefined));
    return this.stored;
  }

  /** The bytes of a file. Throws `BadAssets` where they are not those that were built. */
  async file(asset: Asset): Promise<Uint8Array<ArrayBuffer>> {
    const kept = await this.source.kept(asset);
    if (kept && (await matches(kept, asset))) return kept;
    const bytes = await this.source.get(asset.path, false);
    if (!(await matches(bytes, asset))) {
      throw new BadAssets(
        `${asset.path} is not the file that this site was built with; reload, or build the site anew`,
      );
    }
    await this.source.keep(asset, bytes);
    return bytes;
  }

  private async readIndex(): Promise<Index> {
    const bytes = await this.source.get(INDEX, true);
    try {
      const index: Index = JSON.parse(new TextDecoder().decode(bytes));
      if (index.format === FORMAT) return index;
    } catch (error) {
      throw new BadAssets(`${INDEX} cannot be read (${(error as Error).message}); build the site anew`);
    }
    throw new BadAssets(`${INDEX} is of another version; build the site anew`);
  }

  private async readTables(): Promise<Tables> {
    const { tables } = await this.models();
    const read = async (asset: Asset) => readNpz(await this.file(asset));
    const [scores, gaussian, logistic] = await Promise.all([tables.scores, tables.gaussian, tables.logistic].map(read));
    const trellis = await Promise.all([tables.gaussian_trellis, tables.logistic_trellis].map(read));
    const plain = { gaussian: frozenTables(gaussian), logistic: frozenTables(logistic) };
    return {
      ...plain,
      scores: { gaussian: scores.get("gaussian")!.values, logistic: scores.get("logistic")!.values },
      trellis: { gaussian: trellisOf(trellis[0], plain.gaussian), logistic: trellisOf(trellis[1], plain.logistic) },
    };
  }
}

/** The files of one model. */
export class ModelAssets {
  constructor(
    private readonly assets: Assets,
    readonly entry: ModelEntry,
  ) {}

  async manifest(): Promise<Manifest> {
    return JSON.parse(new TextDecoder().decode(await this.assets.file(this.entry.manifest)));
  }

  weights(): Promise<Uint8Array> {
    return this.assets.file(this.entry.weights);
  }

  graph(name: string): Promise<Uint8Array> {
    return this.assets.file(this.entry.graphs[name]);
  }
}

async function matches(bytes: Uint8Array<ArrayBuffer>, asset: Asset): Promise<boolean> {
  return (
    bytes.length === asset.bytes && hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))) === asset.sha256
  );
}

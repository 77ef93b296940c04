import type { Info, Picture } from "../index.js";
import { exifFacts } from "./exif.js";

const KEYS: [string, string][] = [
  ["← →", "other file"],
  ["+ −", "zoom"],
  ["0", "fit"],
  ["1", "full size"],
  ["S", "save PNG"],
  ["I", "facts"],
  ["O", "open"],
  ["Del", "close"],
];

/** Bytes as people write them. */
export function sizeOf(bytes: number): string {
  return bytes < 1000
    ? `${bytes} bytes`
    : bytes < 1e6
      ? `${(bytes / 1e3).toFixed(1)} kB`
      : `${(bytes / 1e6).toFixed(2)} MB`;
}

/** The panel's contents: of a file, of its decoded picture where there is one, and the keys. */
export function panel(name: string, info: Info, picture: Picture | undefined, ms: number | undefined): Node[] {
  const { width, height } = info;
  const channels = (info.grey ? 1 : 3) + (info.alpha ? 1 : 0);
  const file: [string, string][] = [
    ["Name", name],
    ["Pixels", `${width} × ${height}`],
    ["Size", sizeOf(info.bytes)],
    ["Bits per pixel", info.bpp.toFixed(3)],
    ["Of the samples", `1 : ${Math.round((width * height * channels) / info.bytes)}`],
    ["Colour", `${info.grey ? "grey" : "RGB"}${info.alpha ? " and alpha" : ""}`],
  ];
  const coding: [string, string][] = [
    ["Quality", info.quality === null ? `index ${info.qualityIndex}` : info.quality.toFixed(1)],
    ["Model", info.model ?? "unknown"],
    ["Trained for", info.trainedFor?.toUpperCase() ?? "unknown"],
    ["Weights", info.weights],
    ["Trellis-coded", info.trellis ? "yes" : "no"],
    ["Post-filter", info.filtered ? "yes" : "no"],
    ...(ms === undefined ? [] : ([["Decoded in", `${(ms / 1000).toFixed(2)} s`]] as [string, string][])),
  ];
  const names: Record<string, string> = { icc: "ICC profile", alpha: "Alpha", exif: "EXIF", xmp: "XMP" };
  const extras = Object.entries(info.extras).map(([kind, bytes]): [string, string] => [names[kind], sizeOf(bytes)]);
  const known = picture?.exif ? exifFacts(picture.exif) : [];
  const parts = [...titled("File", file), ...titled("Coding", coding)];
  if (extras.length > 0) parts.push(...titled("Beside the pixels", extras));
  if (known.length > 0) parts.push(...titled("Photograph", known));
  return [...parts, ...titled("Keys", KEYS, "kbd")];
}

function titled(title: string, facts: [string, string][], term = ""): Node[] {
  const list = document.createElement("dl");
  for (const [name, value] of facts) {
    const dt = document.createElement("dt");
    dt.append(term ? Object.assign(document.createElement(term), { textContent: name }) : name);
    list.append(dt, Object.assign(document.createElement("dd"), { textContent: value }));
  }
  return [Object.assign(document.createElement("h2"), { textContent: title }), list];
}

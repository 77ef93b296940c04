import { configure as configureEncoder, encode } from "../encode.js";
import { configure, decodePicture } from "../index.js";
import { onDrop } from "./drop.js";
import { sizeOf } from "./facts.js";
import { Zoom } from "./zoom.js";

const OTHERS: [string, string][] = [
  ["JPEG", "image/jpeg"],
  ["WebP", "image/webp"],
  ["AVIF", "image/avif"],
];
const WAIT_MS = 250; // after the slider stopped

/** A version of the picture: its samples, its size, and how far it is from the picture. */
interface Version {
  name: string;
  data: Uint8ClampedArray<ArrayBuffer>;
  bytes: number;
  psnr: number;
  smallest?: boolean;
}

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const canvas = element<HTMLCanvasElement>("picture");
const scale = element("scale");
const zoom = new Zoom(element("stage"), canvas, (found, fits) => {
  scale.textContent = fits && found < 1 ? "Fit" : `${Math.round(found * 100)} %`;
});
let original: ImageData | undefined;
let name = "picture";
let versions: Version[] = [];
let shown = 0;
let file: Uint8Array | undefined;
let turn = 0;

function say(text: string, bad = false): void {
  element("status").textContent = text;
  element("status").classList.toggle("bad", bad);
}

async function open(given: File): Promise<void> {
  try {
    const bitmap = await createImageBitmap(given);
    original = samplesOf(bitmap);
    name = given.name.replace(/\.[^.]*$/, "");
  } catch {
    return say(`${given.name} is no picture that this browser reads`, true);
  }
  document.body.classList.remove("empty");
  element("title").textContent = document.title = given.name;
  [canvas.width, canvas.height, canvas.hidden] = [original.width, original.height, false];
  [versions, shown] = [[{ name: "Picture", data: original.data, bytes: given.size, psnr: Infinity }], 0];
  show();
  zoom.fit();
  await make();
}

function samplesOf(bitmap: ImageBitmap): ImageData {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d")!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** The file of the quality that the slider has, and what the browser's own codecs make of as many bytes. */
async function make(): Promise<void> {
  if (!original) return;
  const [mine, picture, own] = [++turn, original, versions[0]];
  say("Encoding …");
  try {
    const made = await encode(picture, Number(element<HTMLInputElement>("quality").value));
    if (mine !== turn) return;
    const { data } = await decodePicture(made);
    const found = [own, { name: "Lichen", data, bytes: made.length, psnr: psnrOf(picture.data, data) }];
    for (const [label, type] of OTHERS) {
      const other = await fitted(picture, label, type, made.length);
      if (mine !== turn) return;
      if (other) found.push(other);
    }
    [file, versions] = [made, found];
    if (shown === 0 || shown >= found.length) shown = 1;
    element<HTMLButtonElement>("save").disabled = false;
    show();
    say("");
  } catch (error) {
    if (mine === turn) say((error as Error).message, true);
  }
}

/** The best file of a codec of the browser that has at most so many bytes, or its smallest; none where it has none. */
async function fitted(picture: ImageData, label: string, type: string, bytes: number): Promise<Version | undefined> {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d")!.putImageData(picture, 0, 0);
  let best = await canvas.convertToBlob({ type, quality: 0 });
  if (best.type !== type) return undefined;
  for (let low = 0, high = 1, step = 0; step < 7 && best.size <= bytes; step++) {
    const quality = (low + high) / 2;
    const blob = await canvas.convertToBlob({ type, quality });
    if (blob.size <= bytes) [low, best] = [quality, blob];
    else high = quality;
  }
  const { data } = samplesOf(await createImageBitmap(best));
  return { name: label, data, bytes: best.size, psnr: psnrOf(picture.data, data), smallest: best.size > bytes };
}

/** Over red, green and blue, in decibels. */
function psnrOf(one: Uint8ClampedArray, other: Uint8ClampedArray): number {
  let sum = 0;
  for (let i = 0; i < one.length; i++) if (i % 4 < 3) sum += (one[i] - other[i]) ** 2;
  return 10 * Math.log10((255 ** 2 * 0.75 * one.length) / sum);
}

function show(): void {
  const version = versions[shown];
  if (!original || !version) return;
  canvas.getContext("2d")!.putImageData(new ImageData(version.data, original.width, original.height), 0, 0);
  const pixels = original.width * original.height;
  element("rows").replaceChildren(
    ...versions.map(({ name, bytes, psnr, smallest }, at) => {
      const button = document.createElement("button");
      button.setAttribute("role", "radio");
      button.ariaChecked = String(at === shown);
      const bpp = `${((8 * bytes) / pixels).toFixed(2)} bpp`;
      const size = `${sizeOf(bytes)}${smallest ? ", its least" : ""}`;
      const parts = [name, size, bpp, Number.isFinite(psnr) ? `${psnr.toFixed(2)} dB` : "as given"];
      button.append(...parts.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
      button.addEventListener("click", () => select(at));
      return button;
    }),
  );
}

function select(at: number): void {
  if (at >= versions.length) return;
  shown = at;
  show();
}

function save(): void {
  if (!file) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([file as BlobPart], { type: "image/x-lichen" }));
  link.download = `${name}.lic`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

if (new URLSearchParams(location.search).has("local")) {
  for (const one of [configure, configureEncoder]) one({ keep: false });
}
const choose = () => element("files").click();
const clicks: [string, () => void][] = [
  ["smaller", () => zoom.smaller()],
  ["scale", () => zoom.toggle()],
  ["larger", () => zoom.larger()],
  ["save", save],
  ["open", choose],
  ["choose", choose],
];
for (const [id, action] of clicks) element(id).addEventListener("click", action);
let waiting: ReturnType<typeof setTimeout>;
element<HTMLInputElement>("quality").addEventListener("input", ({ target }) => {
  element("asked").textContent = (target as HTMLInputElement).value;
  clearTimeout(waiting);
  waiting = setTimeout(make, WAIT_MS);
});
element<HTMLInputElement>("files").addEventListener("change", ({ target }) => {
  const [given] = (target as HTMLInputElement).files ?? [];
  if (given) void open(given);
});
addEventListener("keydown", ({ key, ctrlKey, metaKey, altKey }) => {
  if (ctrlKey || metaKey || altKey) return;
  if (key >= "1" && key <= "9") select(Number(key) - 1);
  else if (key === "0") zoom.fit();
  else if (key === "+" || key === "=") zoom.larger();
  else if (key === "-") zoom.smaller();
  else if (key === "s") save();
});
onDrop(([given]) => {
  if (given) void open(given);
});

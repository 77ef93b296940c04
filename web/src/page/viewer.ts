import { configure, decodePicture, info, type Info, type Picture, prepare } from "../index.js";
import { toBitmap, toPng } from "../picture.js";
import { onDrop } from "./drop.js";
import { panel, sizeOf } from "./facts.js";
import { Zoom } from "./zoom.js";

const KEPT_PIXELS = 50e6; // of decoded pictures that are kept for when one comes back to them
const THUMBNAIL = 160;

/** A file of the strip, and what is known of it so far. */
interface Item {
  name: string;
  bytes(): Promise<Uint8Array>;
  tile: HTMLButtonElement;
  data?: Uint8Array;
  about?: Info;
  picture?: Picture;
  bitmap?: ImageBitmap;
  ms?: number;
  error?: Error;
  running?: Promise<void>;
}

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const canvas = element<HTMLCanvasElement>("picture");
const scale = element("scale");
const zoom = new Zoom(element("stage"), canvas, (found, fits) => {
  scale.textContent = fits && found < 1 ? "Fit" : `${Math.round(found * 100)} %`;
});
const items: Item[] = [];
let current: Item | undefined;
let queue: Promise<unknown> = Promise.resolve();
const query = new URLSearchParams(location.search);
const local = query.has("local");

function say(text: string, bad = false): void {
  const status = element("status");
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

/** Put files into the strip, and show the first of them. */
function add(files: { name: string; bytes(): Promise<Uint8Array> }[]): void {
  const added = files.map((file): Item => {
    const tile = document.createElement("button");
    tile.append(Object.assign(document.createElement("span"), { textContent: file.name }));
    tile.title = tile.ariaLabel = file.name;
    const item = { ...file, tile };
    tile.addEventListener("click", () => select(item));
    element("strip").append(tile);
    return item;
  });
  items.push(...added);
  if (added.length > 0) select(added[0]);
  for (const item of added) queue = queue.then(() => thumbnail(item));
}

async function thumbnail(item: Item): Promise<void> {
  if (!items.includes(item) || item.tile.querySelector("canvas")) return;
  await decoded(item);
  if (item !== current) forget();
}

/** The picture of an item, decoded where it is not; whatever goes wrong is kept with it. */
async function decoded(item: Item): Promise<void> {
  if (item.bitmap || item.error) return;
  item.running ??= decode(item).finally(() => (item.running = undefined));
  await item.running;
}

async function decode(item: Item): Promise<void> {
  try {
    item.data ??= await item.bytes();
    item.about ??= await info(item.data);
    if (item === current) showFacts();
    const start = performance.now();
    const picture = await decodePicture(item.data);
    item.ms ??= performance.now() - start;
    [item.picture, item.bitmap] = [picture, await toBitmap(picture)];
    await drawThumbnail(item, item.bitmap);
  } catch (error) {
    item.error = error as Error;
    item.tile.classList.add("bad");
    item.tile.title = `${item.name}: ${item.error.message}`;
  }
}

async function drawThumbnail(item: Item, bitmap: ImageBitmap): Promise<void> {
  const ratio = THUMBNAIL / Math.min(bitmap.width, bitmap.height);
  const small = Object.assign(document.createElement("canvas"), {
    width: Math.max(Math.round(bitmap.width * Math.min(ratio, 1)), 1),
    height: Math.max(Math.round(bitmap.height * Math.min(ratio, 1)), 1),
  });
  const context = small.getContext("2d")!;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, small.width, small.height);
  item.tile.replaceChildren(small);
}

/** Drop pictures that are not shown where there are too many of them, the first shown first. */
function forget(): void {
  let pixels = 0;
  for (const item of [...(current ? [current] : []), ...items.filter((one) => one !== current).reverse()]) {
    if (!item.bitmap) continue;
    pixels += item.bitmap.width * item.bitmap.height;
    if (item === current || pixels <= KEPT_PIXELS) continue;
    item.bitmap.close();
    item.bitmap = item.picture = undefined;
  }
}

async function select(item: Item): Promise<void> {
  current = item;
  document.body.classList.remove("empty");
  element("strip").hidden = items.length < 2;
  for (const one of items) one.tile.setAttribute("aria-current", String(one === item));
  item.tile.scrollIntoView({ block: "nearest", inline: "nearest" });
  element("title").textContent = document.title = item.name;
  if (!item.bitmap && !item.error) say(`Decoding ${item.name} …`);
  await decoded(item);
  if (item === current) show(item);
}

function show({ bitmap, error, name }: Item): void {
  element<HTMLButtonElement>("save").disabled = !bitmap;
  if (bitmap) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
    zoom.fit();
  }
  canvas.hidden = !bitmap;
  say(error ? `${name}: ${error.message}` : "", Boolean(error));
  showFacts();
  forget();
}

function showFacts(): void {
  const facts = element("facts");
  const known = current?.about;
  const unknown = current?.error ? [`Nothing is known of ${current.name}: ${current.error.message}`] : [];
  facts.replaceChildren(...(known ? panel(current!.name, known, current!.picture, current!.ms) : unknown));
  if (known) document.title = `${current!.name} – ${known.width} × ${known.height}, ${sizeOf(known.bytes)}`;
}

function step(by: number): void {
  if (items.length > 1 && current) select(items[(items.indexOf(current) + by + items.length) % items.length]);
}

function close(): void {
  if (!current) return;
  const at = items.indexOf(current);
  const [gone] = items.splice(at, 1);
  gone.bitmap?.close();
  gone.tile.remove();
  current = undefined;
  if (items.length > 0) return void select(items[Math.min(at, items.length - 1)]);
  document.body.classList.add("empty");
  element("facts").replaceChildren();
  element("title").textContent = document.title = "Lichen";
  canvas.hidden = true;
  say("");
}

async function save(): Promise<void> {
  if (!current?.picture) return;
  const { name, picture } = current;
  say("Writing the PNG …");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([await toPng(picture)], { type: "image/png" }));
  link.download = name.replace(/\.lic$/i, "") + ".png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say("");
}

function toggleFacts(): void {
  const facts = element("facts");
  facts.hidden = !facts.hidden;
  element("facts-button").ariaExpanded = String(!facts.hidden);
}

function addFiles(list: Iterable<File>): void {
  add(Array.from(list, (file) => ({ name: file.name, bytes: async () => new Uint8Array(await file.arrayBuffer()) })));
}

const choose = () => element("files").click();
const actions: Record<string, () => void> = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  "+": () => zoom.larger(),
  "=": () => zoom.larger(),
  "-": () => zoom.smaller(),
  "0": () => zoom.fit(),
  "1": () => zoom.full(),
  s: () => void save(),
  i: toggleFacts,
  o: choose,
  Delete: close,
};

addEventListener("keydown", (event) => {
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!current && action !== choose) return;
  event.preventDefault();
  action();
});
const clicks: [string, () => void][] = [
  ["smaller", () => zoom.smaller()],
  ["scale", () => zoom.toggle()],
  ["larger", () => zoom.larger()],
  ["save", () => void save()],
  ["facts-button", toggleFacts],
  ["open", choose],
  ["choose", choose],
];
for (const [id, action] of clicks) element(id).addEventListener("click", action);
element<HTMLInputElement>("files").addEventListener("change", ({ target }) => {
  const input = target as HTMLInputElement;
  addFiles(input.files ?? []);
  input.value = "";
});
onDrop(addFiles);

async function fetched(url: string): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`cannot be fetched (${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Keep the page for when there is no network; its first visit is loaded again, then it may have threads. */
async function install(): Promise<void> {
  if (local || !("serviceWorker" in navigator)) return;
  await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  if (crossOriginIsolated || items.length > 0 || sessionStorage.getItem("reloaded")) return;
  sessionStorage.setItem("reloaded", "yes");
  location.reload();
}

if (local) {
  configure({ keep: false }); // another port would keep them again
  for (const link of document.querySelectorAll("a")) link.search = "?local";
}
const sources = query.getAll("src");
add(sources.map((url) => ({ name: decodeURIComponent(url.split("/").at(-1)!), bytes: () => fetched(url) })));
canvas.hidden = items.length === 0;
await install().catch((error: Error) => console.info(`the page is not kept: ${error.message}`));
await prepare().catch((error: Error) => say(error.message, true));

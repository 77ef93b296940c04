import { Cursor, readHeader } from "./bitstream/fields.js";
import { decode, decodeToPng } from "./index.js";

const STYLE = `
:host { display: inline-block; vertical-align: bottom; overflow-wrap: anywhere }
:host([hidden]) { display: none }
canvas, slot img { display: block; width: 100%; height: 100%; object-fit: inherit; object-position: inherit }
canvas[hidden], span[hidden] { display: none }`;
const AHEAD = "600px"; // lazy pictures are loaded when they are so near
const TYPE = "image/x-lichen";

const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

/**
 * `<lic-img src alt width height loading fallback>`: a .lic file as `<img>` shows others, with events load and error.
 * Where it cannot be shown, the picture named by `fallback` is, or the text of `alt`.
 */
export class LicImage extends Base {
  static observedAttributes = ["src", "alt", "width", "height", "loading"];
  /** Width and height of the picture in pixels; 0 before it is known. */
  naturalWidth = 0;
  naturalHeight = 0;
  /** Whether nothing is being loaded. */
  complete = true;
  /** What went wrong, where something did. */
  error: Error | null = null;
  private readonly canvas = document.createElement("canvas");
  private readonly text = document.createElement("span");
  private readonly size = document.createElement("style");
  private nearby: IntersectionObserver | undefined;
  private turn = 0;

  constructor() {
    super();
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.canvas.setAttribute("role", "img");
    this.canvas.hidden = this.text.hidden = true;
    this.attachShadow({ mode: "open" }).append(style, this.size, this.canvas, this.text);
  }

  get src(): string {
    const given = this.getAttribute("src");
    return given ? new URL(given, document.baseURI).href : "";
  }

  set src(url: string) {
    this.setAttribute("src", url);
  }

  get alt(): string {
    return this.getAttribute("alt") ?? "";
  }

  set alt(text: string) {
    this.setAttribute("alt", text);
  }

  connectedCallback(): void {
    this.describe();
    this.start();
  }

  disconnectedCallback(): void {
    this.nearby?.disconnect();
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (!this.isConnected || before === after) return;
    if (name === "src" || (name === "loading" && !this.complete)) this.start();
    else this.describe();
  }

  /** Alt text, and the size that attributes ask for, which the page's styles may change. */
  private describe(): void {
    this.canvas.ariaLabel = this.text.textContent = this.alt;
    const [width, height] = ["width", "height"].map((side) => Number.parseInt(this.getAttribute(side) ?? "", 10));
    const rules = [
      ...(width >= 0 ? [`width: ${width}px`] : []),
      ...(height >= 0 ? [`height: ${height}px`] : []),
      ...(width > 0 && height > 0 ? [`aspect-ratio: auto ${width} / ${height}`] : []),
    ];
    this.size.textContent = `:host { ${rules.join(";")} }`;
  }

  private start(): void {
    this.turn++;
    this.nearby?.disconnect();
    if (!this.src) return;
    this.complete = false;
    if (this.getAttribute("loading") !== "lazy") return void this.load(this.turn);
    this.nearby = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        this.nearby!.disconnect();
        void this.load(this.turn);
      },
      { rootMargin: AHEAD },
    );
    this.nearby.observe(this);
  }

  private async load(turn: number): Promise<void> {
    try {
      const data = await fetched(this.src);
      const { width, height } = readHeader(new Cursor(data));
      if (turn === this.turn) this.make(width, height); // its place on the page, before its pixels
      const bitmap = await decode(data);
      if (turn !== this.turn) return bitmap.close();
      this.canvas.getContext("bitmaprenderer")!.transferFromImageBitmap(bitmap);
      this.end(null);
    } catch (error) {
      if (turn === this.turn) this.end(error as Error);
    }
  }

  private make(width: number, height: number): void {
    [this.canvas.width, this.canvas.height] = [this.naturalWidth, this.naturalHeight] = [width, height];
    this.canvas.hidden = false;
    this.text.hidden = true;
  }

  private end(error: Error | null): void {
    this.complete = true;
    this.error = error;
    if (error) {
      this.canvas.hidden = true;
      this.text.hidden = false;
      const instead = this.getAttribute("fallback");
      if (instead) this.text.replaceChildren(Object.assign(new Image(), { src: instead, alt: this.alt }));
    }
    this.dispatchEvent(error ? new ErrorEvent("error", { error, message: error.message }) : new Event("load"));
  }
}

async function fetched(url: string): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be fetched (${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * Let every `<img src="….lic">` below `root`, and every `<picture>` with a source of type image/x-lichen, show its
 * file. They stay `<img>`, so styles and scripts hold; events load and error follow. Gives how many there were.
 */
export async function upgrade(root: ParentNode = document): Promise<number> {
  const found = [...root.querySelectorAll("img")].flatMap((image) => {
    const source = image.parentElement?.querySelector<HTMLSourceElement>(`:scope > source[type="${TYPE}"]`);
    const url = source?.srcset || image.getAttribute("src") || "";
    return /\.lic(?:[?#]|$)/i.test(url) ? [{ image, url: new URL(url, document.baseURI).href }] : [];
  });
  await Promise.all(
    found.map(({ image, url }) => (image.loading === "lazy" ? whenNear(image, url) : show(image, url))),
  );
  return found.length;
}

function whenNear(image: HTMLImageElement, url: string): void {
  const nearby = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      nearby.disconnect();
      void show(image, url);
    },
    { rootMargin: AHEAD },
  );
  nearby.observe(image);
}

async function show(image: HTMLImageElement, url: string): Promise<void> {
  try {
    const shown = URL.createObjectURL(await decodeToPng(await fetched(url)));
    image.addEventListener("load", () => URL.revokeObjectURL(shown), { once: true });
    image.src = shown;
    image.removeAttribute("srcset");
  } catch (error) {
    image.dispatchEvent(new ErrorEvent("error", { error, message: (error as Error).message }));
  }
}

globalThis.customElements?.define("lic-img", LicImage);

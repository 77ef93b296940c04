const NAMES: Record<number, string> = {
  0x010f: "Maker",
  0x0110: "Camera",
  0x0132: "Changed",
  0x9003: "Taken",
  0x829a: "Exposure",
  0x829d: "Aperture",
  0x8827: "ISO",
  0x920a: "Focal length",
  0xa434: "Lens",
};
const EXIF_IFD = 0x8769;
const SIZES = [0, 1, 1, 2, 4, 8]; // of types: byte, ASCII, short, long, rational

/** What people know of an EXIF block: names and values. What cannot be read is left out. */
export function exifFacts(block: Uint8Array): [string, string][] {
  const tiff = String.fromCharCode(...block.subarray(0, 4)) === "Exif" ? block.subarray(6) : block;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  try {
    const little = view.getUint16(0) === 0x4949;
    const found = new Map<number, string | number>();
    directory(view, view.getUint32(4, little), little, found);
    const inner = found.get(EXIF_IFD);
    if (typeof inner === "number") directory(view, inner, little, found);
    return [...found].filter(([tag]) => tag in NAMES).map(([tag, value]) => [NAMES[tag], shown(tag, value)]);
  } catch (error) {
    if (error instanceof RangeError) return []; // it points beyond itself
    throw error;
  }
}

function directory(view: DataView, start: number, little: boolean, found: Map<number, string | number>): void {
  for (let i = 0; i < view.getUint16(start, little); i++) {
    const at = start + 2 + 12 * i;
    const [tag, type, count] = [
      view.getUint16(at, little),
      view.getUint16(at + 2, little),
      view.getUint32(at + 4, little),
    ];
    const place = (SIZES[type] ?? 0) * count > 4 ? view.getUint32(at + 8, little) : at + 8;
    if (type === 2) found.set(tag, text(view, place, Math.min(count, 200)));
    if (type === 3) found.set(tag, view.getUint16(place, little));
    if (type === 4) found.set(tag, view.getUint32(place, little));
    if (type === 5) found.set(tag, view.getUint32(place, little) / view.getUint32(place + 4, little));
  }
}

function text(view: DataView, start: number, count: number): string {
  const bytes = Array.from({ length: count }, (_, i) => view.getUint8(start + i));
  return new TextDecoder().decode(Uint8Array.from(bytes)).split("\0")[0].trim();
}

function shown(tag: number, value: string | number): string {
  if (typeof value === "string") return value;
  if (tag === 0x829a) return value > 0 && value < 1 ? `1/${Math.round(1 / value)} s` : `${value} s`;
  if (tag === 0x829d) return `f/${Number(value.toFixed(1))}`;
  if (tag === 0x920a) return `${Number(value.toFixed(1))} mm`;
  return String(value);
}

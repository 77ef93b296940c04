import { BadFile, UnsupportedFile } from "../errors.js";
import { crc32 } from "./crc32.js";
import { Cursor, type Header, readHeader, varint, writeHeader } from "./fields.js";

/** Section kinds. Odd ones are critical, even ones may be skipped by a reader that lacks them. */
export const Kind = { LATENTS: 1, ICC: 2, ALPHA: 3, EXIF: 4, XMP: 6, GROUP: 7 } as const;
const KNOWN: ReadonlySet<number> = new Set(Object.values(Kind));
const MORE = 0x80;
const GROUPS_MAX = 1024;

/** A parsed file: its header and its sections' payloads by kind; `groups` are those of channel groups, in order. */
export interface Container {
  header: Header;
  sections: Map<number, Uint8Array>;
  groups: Uint8Array[];
}

/** Parse and check a whole file. Throws `BadFile`, `TruncatedFile` for one that is cut, or `UnsupportedFile`. */
export function readContainer(data: Uint8Array): Container {
  const cursor = new Cursor(data);
  const found: Container = { header: readHeader(cursor), sections: new Map(), groups: [] };
  let check = crc32(data.subarray(0, cursor.at));
  for (let more = true; more;) {
    const start = cursor.at;
    const tag = cursor.take(1)[0];
    const payload = cursor.take(cursor.varint(0, 2 ** 35 - 1));
    check = crc32(data.subarray(start, cursor.at), check);
    if (littleEndian(cursor.take(4)) !== check) {
      throw new BadFile("a checksum does not match: the file is damaged; get it anew");
    }
    keep(found, tag & ~MORE, payload);
    more = (tag & MORE) !== 0;
  }
  if (cursor.at !== data.length) throw new BadFile("bytes follow the end of the file; get it anew");
  return checked(found);
}

function littleEndian(bytes: Uint8Array): number {
  return (bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24)) >>> 0;
}

function keep(found: Container, kind: number, payload: Uint8Array): void {
  if (kind === Kind.GROUP && found.groups.length < GROUPS_MAX) found.groups.push(payload);
  else if (found.sections.has(kind) || found.groups.length > 0) {
    throw new BadFile("a section appears twice or after the last: the file is damaged; get it anew");
  } else found.sections.set(kind, payload);
}

function checked(found: Container): Container {
  for (const kind of [...found.sections.keys()].filter((kind) => !KNOWN.has(kind))) {
    if (kind % 2)
      throw new UnsupportedFile(`the file needs a newer Lichen (section kind ${kind}); upgrade this page's`);
    found.sections.delete(kind);
  }
  if (found.groups.length > 0 === found.sections.has(Kind.LATENTS)) {
    throw new BadFile("the file has no latents, or two kinds of them: it is damaged; get it anew");
  }
  return found;
}

/** The bytes of a file, sections in ascending order of kind. */
export function writeContainer(header: Header, sections: Map<number, Uint8Array>): Uint8Array {
  const parts: Uint8Array[] = [writeHeader(header)];
  let check = crc32(parts[0]);
  const sorted = [...sections].sort(([one], [other]) => one - other);
  sorted.forEach(([kind, payload], place) => {
    const head = Uint8Array.from([kind | (place + 1 < sorted.length ? MORE : 0), ...varint(payload.length)]);
    check = crc32(payload, crc32(head, check));
    parts.push(
      head,
      payload,
      Uint8Array.from([0, 8, 16, 24], (shift) => (check >>> shift) & 255),
    );
  });
  return joined(parts);
}

/** Bytes one after the other. */
export function joined(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

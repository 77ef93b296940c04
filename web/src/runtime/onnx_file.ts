import { joined } from "../bitstream/container.js";

/** Numbers of fields in onnx.proto. */
const GRAPH = 7;
const INITIALIZER = 5;
const TENSOR = { type: 2, name: 8, raw: 9, external: 13, location: 14 };
const DOUBLE = 11;
const LENGTH_DELIMITED = 2;

/** A field of a protobuf message: its number, its bytes with the tag, and where they are delimited, what is inside. */
interface Field {
  number: number;
  whole: Uint8Array;
  inside: Uint8Array;
}

function* fieldsOf(message: Uint8Array): Generator<Field> {
  for (let at = 0; at < message.length;) {
    const start = at;
    const number = () => {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = message[at++];
        value += (byte & 127) * scale;
        if (byte < 128) return value;
      }
    };
    const tag = number();
    let inside = at;
    if ((tag & 7) === LENGTH_DELIMITED) {
      const length = number();
      inside = at;
      at += length;
    } else if ((tag & 7) === 0) number();
    else at += (tag & 7) === 1 ? 8 : 4;
    yield { number: tag >> 3, whole: message.subarray(start, at), inside: message.subarray(inside, at) };
  }
}

function delimited(field: number, bytes: Uint8Array): Uint8Array[] {
  const head = [];
  for (let value of [field * 8 + LENGTH_DELIMITED, bytes.length]) {
    for (; value >= 128; value = Math.floor(value / 128)) head.push((value % 128) | 128);
    head.push(value);
  }
  return [Uint8Array.from(head), bytes];
}

/** A graph whose initialisers lie elsewhere -> the same with their values in it, which `fill` gives by name. */
export function withWeights(model: Uint8Array, fill: (name: string) => Float32Array | Float64Array): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const field of fieldsOf(model)) {
    if (field.number !== GRAPH) parts.push(field.whole);
    else parts.push(...delimited(GRAPH, joined([...fieldsOf(field.inside)].flatMap((inner) => filled(inner, fill)))));
  }
  return joined(parts);
}

function filled(field: Field, fill: (name: string) => Float32Array | Float64Array): Uint8Array[] {
  if (field.number !== INITIALIZER) return [field.whole];
  const inner = [...fieldsOf(field.inside)];
  if (!inner.some((one) => one.number === TENSOR.location)) return [field.whole];
  const name = new TextDecoder().decode(inner.find((one) => one.number === TENSOR.name)!.inside);
  const double = inner.find((one) => one.number === TENSOR.type)!.inside[0] === DOUBLE;
  const given = fill(name);
  const values = double ? Float64Array.from(given) : Float32Array.from(given);
  const kept = inner.filter((one) => one.number !== TENSOR.external && one.number !== TENSOR.location);
  const raw = delimited(TENSOR.raw, new Uint8Array(values.buffer));
  return delimited(INITIALIZER, joined([...kept.map((one) => one.whole), ...raw]));
}

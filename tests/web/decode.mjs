// Decodes files in Node: node decode.mjs SITE < {"cases": [base64, …], "maxPixels": n}, a line of JSON for each.
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [folder] = process.argv.slice(2);
const base = pathToFileURL(path.resolve(folder) + "/");
const lichen = await import(new URL("lichen-node.js", base));
const engine = lichen.open(base);
const parts = [];
for await (const part of process.stdin) parts.push(part);
const { cases, maxPixels } = JSON.parse(Buffer.concat(parts).toString());

async function outcome(data) {
  const start = performance.now();
  try {
    const picture = await engine.decode(data, maxPixels);
    const sha256 = createHash("sha256").update(picture.data).digest("hex");
    const { width, height } = picture;
    return {
      width,
      height,
      sha256,
      digest: await engine.latentsDigest(data),
      ms: performance.now() - start,
    };
  } catch (error) {
    return {
      error: error.name,
      typed: error instanceof lichen.LichenError,
      message: error.message,
      ms: performance.now() - start,
    };
  }
}

for (const text of cases)
  console.log(
    JSON.stringify(await outcome(new Uint8Array(Buffer.from(text, "base64")))),
  );

// Builds the decoder, the viewer and what they run on into one folder: node build.mjs FOLDER
import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const OUT = path.resolve(process.argv[2] ?? path.join(HERE, "dist"));
const RUNTIME = path.join(HERE, "node_modules/onnxruntime-web");
const RUNTIME_FILES = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];
const LIMIT_BYTES = 40_000; // of our own decoder, minified

const runtime = {
  name: "onnxruntime-web beside the decoder",
  setup({ onResolve }) {
    onResolve({ filter: /^onnxruntime-web\/wasm$/ }, () => ({ path: "./ort/ort.wasm.min.mjs", external: true }));
  },
};

await rm(OUT, { recursive: true, force: true });
await mkdir(path.join(OUT, "ort"), { recursive: true });
const { metafile } = await build({
  absWorkingDir: HERE,
  entryPoints: {
    lichen: "src/index.ts",
    upgrade: "src/upgrade.ts",
    "lichen-worker": "src/worker.ts",
    "lichen-encode": "src/encode.ts",
    "lichen-encoder-worker": "src/encoder_worker.ts",
    "lichen-node": "src/node.ts",
    viewer: "src/page/viewer.ts",
    encode: "src/page/encode.ts",
  },
  bundle: true,
  splitting: false,
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  outdir: OUT,
  plugins: [
    runtime,
    {
      name: "one copy of the library in a page",
      setup({ onResolve }) {
        onResolve({ filter: /\/index\.js$/ }, ({ importer }) =>
          /\/(upgrade|viewer|page\/encode)\.ts$/.test(importer) ? { path: "./lichen.js", external: true } : undefined,
        );
        onResolve({ filter: /\.\.\/encode\.js$/ }, () => ({ path: "./lichen-encode.js", external: true }));
      },
    },
  ],
  external: ["node:*"],
});
const sizes = Object.entries(metafile.outputs).map(([name, { bytes }]) => [path.basename(name), bytes]);
const decoder = sizes
  .filter(([name]) => ["lichen.js", "lichen-worker.js"].includes(name))
  .reduce((sum, [, bytes]) => sum + bytes, 0);
if (decoder > LIMIT_BYTES) throw new Error(`the decoder has ${decoder} bytes, over ${LIMIT_BYTES}`);

for (const name of RUNTIME_FILES) await copyFile(path.join(RUNTIME, "dist", name), path.join(OUT, "ort", name));
await copyFile(path.join(HERE, "licences/onnxruntime.txt"), path.join(OUT, "ort/LICENSE.txt"));
for (const name of await readdir(path.join(HERE, "src/page"))) {
  if (!name.endsWith(".ts") && name !== "sw.js")
    await copyFile(path.join(HERE, "src/page", name), path.join(OUT, name));
}

// The service worker keeps exactly these files, under a name that changes with any of them.
const shell = (await readdir(OUT, { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile() && !["lichen-node.js", "upgrade.js", "LICENSE.txt"].includes(entry.name))
  .map((entry) => path.relative(OUT, path.join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
  .sort();
const digest = createHash("sha256");
for (const name of shell) digest.update(name).update(await readFile(path.join(OUT, name)));
const worker = await readFile(path.join(HERE, "src/page/sw.js"), "utf8");
const filled = worker
  .replace("__SHELL__", JSON.stringify(shell))
  .replace("__VERSION__", digest.digest("hex").slice(0, 12));
await writeFile(path.join(OUT, "sw.js"), filled);
for (const [name, bytes] of sizes) console.log(`${name}: ${bytes} bytes`);

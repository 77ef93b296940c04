// The viewer without a network, and cross-origin isolated on plain hosting, so that WebAssembly may have threads.
const SHELL = __SHELL__;
const CACHE = "lichen-viewer-__VERSION__";
const INDEX = "models.json";
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) => event.waitUntil(activate()));
addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const ours = url.origin === location.origin && event.request.method === "GET";
  if (ours) event.respondWith(answer(event.request, url));
});

async function install() {
  const cache = await caches.open(CACHE);
  await cache.addAll(SHELL);
  await skipWaiting();
}

async function activate() {
  for (const name of await caches.keys()) {
    if (name.startsWith("lichen-viewer-") && name !== CACHE) await caches.delete(name);
  }
  await clients.claim();
}

async function answer(request, url) {
  const path = url.pathname.slice(new URL("./", location).pathname.length) || "index.html";
  const cache = await caches.open(CACHE);
  if (path === INDEX) return isolated(await newest(cache, request));
  const kept = SHELL.includes(path) ? await cache.match(new URL(path, location)) : undefined;
  return isolated(kept ?? (await fetch(request)));
}

// What models there are may change; without a network it is what was last seen.
async function newest(cache, request) {
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(INDEX, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(INDEX);
    if (kept) return kept;
    throw error;
  }
}

function isolated(response) {
  if (response.type === "opaque" || response.type === "opaqueredirect" || response.status === 0) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  const empty = response.status === 204 || response.status === 304;
  return new Response(empty ? null : response.body, {
    status: response.status,
    statusText: response.statusText,
    headers,
  });
}

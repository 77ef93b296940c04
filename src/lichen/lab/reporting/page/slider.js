"use strict";
/* Before/after slider: two versions of a picture, one over the other. Mouse, touch and keyboard. */

const make = (name, attributes = {}, parent = null, text = null) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};

/* A data URI as a blob: decoded once, shared by the slider and the crops. */
const blobOf = (uri) => {
  const [head, body] = uri.split(",", 2);
  const bytes = Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5, head.indexOf(";")) });
};

/* The decoder that `lichen view` serves beside a page; none for a page on disk, or on a server without one. */
const DECODER = "./lichen.js";
const decoder = async () => {
  if (location.protocol === "file:") return null;
  try {
    return await import(DECODER);
  } catch (error) {
    if (error instanceof TypeError) return null; // cannot be fetched
    throw error;
  }
};

/* The part that the page shows of a .lic file, as a PNG. */
const decodedPart = async ({ decode }, file, { left, top, width, height }) => {
  const bitmap = await decode(file);
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage(bitmap, -left, -top);
  bitmap.close();
  return new Promise((done) => canvas.toBlob(done));
};

function slider(host, pictures) {
  let picture = pictures[0], at = 50, zoom = 1, x = 0, y = 0;
  const chosen = { left: 0, right: 1 };
  const urls = new Map();
  const url = (version) => {
    if (!urls.has(version)) urls.set(version, URL.createObjectURL(blobOf(version.src)));
    return urls.get(version);
  };

  const offer = (version, note) => {
    const { name, src } = version.file;
    version.file.url ??= URL.createObjectURL(blobOf(src));
    note.append(" · ");
    make("a", { href: version.file.url, download: name, title: "Save the file" }, note, name);
    note.append(` · ${version.file.said ?? "decoded before, by Python"}`);
  };
  /* Lichen's version from its file, where the page has a decoder; once for each picture. */
  const decodeFile = async (shown) => {
    const version = shown.versions.find(({ file }) => file && !file.asked);
    if (!version) return;
    version.file.asked = true;
    try {
      const found = await decoder();
      if (!found) return;
      urls.set(version, URL.createObjectURL(await decodedPart(found, blobOf(version.file.src), shown)));
      version.file.said = "decoded in this page";
    } catch (error) {
      version.file.said = `decoded before, by Python; not in this page: ${error.message}`;
    }
    if (shown !== picture) return;
    show();
    drawCrops();
  };

  host.classList.add("slider");
  const bar = make("div", { class: "bar" }, host);
  const tabs = make("span", { class: "bar", role: "group", "aria-label": "Picture", style: "margin:0" }, bar);
  const pick = {};
  for (const side of ["left", "right"]) {
    const label = make("label", {}, bar, side === "left" ? "Left" : "Right");
    pick[side] = make("select", { "aria-label": `Version on the ${side}` }, label);
    pick[side].addEventListener("change", () => { chosen[side] = +pick[side].value; show(); });
  }
  const zooms = make("span", { class: "bar", role: "group", "aria-label": "Zoom", style: "margin:0" }, bar);
  const stage = make("div", { class: "stage smooth", tabindex: "0", role: "group" }, host);
  stage.setAttribute("aria-label", "Picture; when zoomed, arrow keys move it, plus and minus zoom");
  const images = {}, sides = {}, tags = {};
  for (const side of ["right", "left"]) {
    sides[side] = make("div", { class: "side" }, stage);
    images[side] = make("img", { draggable: "false", alt: "" }, sides[side]);
    tags[side] = make("span", { class: `tag ${side[0]}` }, stage);
  }
  const handle = make("div", { class: "handle" }, stage);
  const range = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": "Divider between left and right" }, host);
  const notes = make("div", { class: "notes", "aria-live": "polite" }, host);
  const crops = make("div", { class: "crops" }, host);

  const place = () => {
    sides.left.style.clipPath = `inset(0 ${100 - at}% 0 0)`;
    handle.style.left = `${at}%`;
    const w = stage.clientWidth, h = stage.clientHeight;
    x = Math.min(0, Math.max(w * (1 - zoom), x));
    y = Math.min(0, Math.max(h * (1 - zoom), y));
    for (const image of Object.values(images)) image.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
    stage.classList.toggle("zoomed", zoom > 1);
    stage.classList.toggle("sharp", (stage.clientWidth * zoom) / picture.width >= 2);
    range.setAttribute("aria-valuetext", `${Math.round(at)} percent ${picture.versions[chosen.left].name}`);
  };
  const move = (percent) => { at = Math.min(100, Math.max(0, percent)); range.value = at; place(); };
  const zoomTo = (factor, cx = stage.clientWidth / 2, cy = stage.clientHeight / 2) => {
    const next = Math.min(16, Math.max(1, factor));
    x = cx - ((cx - x) * next) / zoom; y = cy - ((cy - y) * next) / zoom; zoom = next;
    for (const button of zooms.children) button.setAttribute("aria-pressed", +button.dataset.zoom === zoom);
    place();
  };

  const show = () => {
    const versions = picture.versions;
    stage.style.aspectRatio = `${picture.width} / ${picture.height}`;
    stage.style.maxWidth = `calc(82vh * ${picture.width / picture.height})`;
    notes.replaceChildren();
    for (const side of ["left", "right"]) {
      const version = versions[chosen[side]];
      images[side].src = url(version);
      images[side].alt = `${picture.name} by ${version.name}`;
      tags[side].textContent = version.name;
      pick[side].replaceChildren(...versions.map((v, i) => make("option", { value: i }, null, v.name)));
      pick[side].value = chosen[side];
      const note = make("div", {}, notes);
      make("b", {}, note, version.name);
      note.append(` ${version.note}`);
      if (version.file) offer(version, note);
    }
    place();
  };
  const drawCrops = () => {
    const [left, top, side] = picture.crop;
    crops.replaceChildren();
    picture.versions.forEach((version, index) => {
      const figure = make("figure", {}, crops);
      const button = make("button", { title: `Show ${version.name} on the right, here`, "aria-label": `Show ${version.name} on the right, zoomed to this place` }, figure);
      const share = (offset, length) => (length > side ? (100 * offset) / (length - side) : 0);
      button.style.backgroundImage = `url(${url(version)})`;
      button.style.backgroundSize = `${(100 * picture.width) / side}% ${(100 * picture.height) / side}%`;
      button.style.backgroundPosition = `${share(left, picture.width)}% ${share(top, picture.height)}%`;
      button.addEventListener("click", () => {
        chosen.right = index;
        show();
        const k = stage.clientWidth / picture.width;
        zoomTo(1);
        zoomTo(4);
        x = stage.clientWidth / 2 - (left + side / 2) * k * 4;
        y = stage.clientHeight / 2 - (top + side / 2) * k * 4;
        place();
        stage.scrollIntoView({ block: "nearest" });
      });
      const caption = make("figcaption", {}, figure);
      make("b", {}, caption, version.name);
      caption.append(version.note);
    });
  };

  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    const divider = zoom === 1 || event.target === handle;
    drag = { divider, x: event.clientX - x, y: event.clientY - y };
    stage.setPointerCapture(event.pointerId);
    stage.classList.remove("smooth");
    if (divider) slide(event);
  });
  const slide = (event) => {
    const box = stage.getBoundingClientRect();
    move((100 * (event.clientX - box.left)) / box.width);
  };
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (drag.divider) slide(event);
    else { x = event.clientX - drag.x; y = event.clientY - drag.y; place(); }
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { drag = null; stage.classList.add("smooth"); });
  stage.addEventListener("dblclick", (event) => {
    const box = stage.getBoundingClientRect();
    zoomTo(zoom > 1 ? 1 : 4, event.clientX - box.left, event.clientY - box.top);
  });
  stage.addEventListener("keydown", (event) => {
    const step = 40, pan = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (event.key === "+" || event.key === "=") zoomTo(zoom * 2);
    else if (event.key === "-") zoomTo(zoom / 2);
    else if (pan && zoom > 1) { x += pan[0]; y += pan[1]; place(); }
    else if (pan && pan[0]) move(at - pan[0] / 20);
    else return;
    event.preventDefault();
  });
  range.addEventListener("input", () => move(+range.value));
  for (const factor of [1, 2, 4, 8]) {
    const button = make("button", { "data-zoom": factor, "aria-pressed": factor === 1 }, zooms, factor === 1 ? "Fit" : `${factor}×`);
    button.addEventListener("click", () => zoomTo(factor));
  }
  const tab = (next) => {
    picture = next;
    const last = picture.versions.length - 1;
    if (Math.max(chosen.left, chosen.right) > last) [chosen.left, chosen.right] = picture.opens;
    for (const button of tabs.children) button.setAttribute("aria-pressed", button.textContent === picture.name);
    zoomTo(1);
    show();
    drawCrops();
    decodeFile(next);
  };
  if (pictures.length > 1) for (const each of pictures) make("button", { "aria-pressed": false }, tabs, each.name).addEventListener("click", () => tab(each));
  tabs.hidden = pictures.length < 2;
  [chosen.left, chosen.right] = picture.opens;
  tab(picture);
  new ResizeObserver(place).observe(stage);
}

"use strict";
/* Charts as inline SVG: hover or arrow keys give values, chips show and hide lines in all of them. */

const svg = (name, attributes = {}, parent = null, text = null) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};

const ticksOf = ([low, high], wanted) => {
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9; v += step) found.push(+v.toPrecision(10));
  return found;
};
const logTicksOf = ([low, high]) => {
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
    for (const m of [1, 2, 5]) if (m * 10 ** e >= low && m * 10 ** e <= high) found.push(+(m * 10 ** e).toPrecision(3));
  return found.length > 7 ? found.filter((v) => /^[^1-9]*1/.test(String(v))) : found;
};

const theme = () => (document.documentElement.dataset.theme === "dark" ? 1 : 0);
const colour = (series) => series.colour[theme()];

/* Shapes tell lines apart without colour. */
function marker(parent, series, x, y, r = 3.6) {
  const shapes = {
    circle: () => svg("circle", { cx: x, cy: y, r }, parent),
    square: () => svg("rect", { x: x - r * 0.9, y: y - r * 0.9, width: r * 1.8, height: r * 1.8 }, parent),
    diamond: () => svg("path", { d: `M${x} ${y - r * 1.25}L${x + r * 1.25} ${y}L${x} ${y + r * 1.25}L${x - r * 1.25} ${y}Z` }, parent),
    triangle: () => svg("path", { d: `M${x} ${y - r * 1.15}L${x + r * 1.15} ${y + r}L${x - r * 1.15} ${y + r}Z` }, parent),
  };
  const node = shapes[series.marker]();
  node.setAttribute("class", "dot");
  node.style.setProperty("--c", colour(series));
  return node;
}

/* Move labels apart so that none covers another; they stay in order. */
function spread(labels, gap, top, bottom) {
  labels.sort((a, b) => a.y - b.y);
  for (const label of labels) label.y = Math.max(label.y, top);
  for (let i = 1; i < labels.length; i++) labels[i].y = Math.max(labels[i].y, labels[i - 1].y + gap);
  let limit = bottom;
  for (let i = labels.length - 1; i >= 0; i--) { labels[i].y = Math.min(labels[i].y, limit); limit = labels[i].y - gap; }
}

class Chart {
  /* options: title, x and y {label, domain, format, log}, lines, points (label each), marks, area; series(): [{series, points: [{x, y, tip}]}] */
  constructor(host, options) {
    this.host = host;
    this.options = options;
    host.classList.add("chart");
    this.svg = svg("svg", { tabindex: 0, role: "img", "aria-label": `${options.title}. Arrow keys walk through the values.` }, host);
    this.live = make("div", { class: "sr", "aria-live": "polite" }, host);
    this.svg.addEventListener("pointermove", (event) => this.hover(event));
    this.svg.addEventListener("pointerdown", (event) => this.hover(event));
    this.svg.addEventListener("pointerleave", () => this.pick(null));
    this.svg.addEventListener("blur", () => this.pick(null));
    this.svg.addEventListener("keydown", (event) => this.walk(event));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  draw() {
    const width = this.host.clientWidth, { x, y } = this.options;
    if (!width) return;
    const narrow = width < 420, height = Math.round(Math.min(420, Math.max(250, width * 0.72)));
    const labelled = this.options.lines && !narrow;
    const frame = { left: 44, right: width - (labelled ? 112 : 14), top: 14, bottom: height - 42 };
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.style.height = `${height}px`;
    const scale = (axis, from, to) => {
      const f = axis.log ? Math.log10 : (v) => v, [a, b] = axis.domain.map(f);
      return (v) => from + ((f(v) - a) / (b - a)) * (to - from);
    };
    this.sx = scale(x, frame.left, frame.right);
    this.sy = scale(y, frame.bottom, frame.top);
    this.frame = frame;
    this.axes(frame, width, height);
    this.content = this.options.series().filter((s) => s.points.length);
    this.spots = [];
    const ends = [];
    for (const { series, points } of this.content) this.line(series, points, ends);
    if (labelled) this.labels(ends, frame);
    if (this.options.points) this.names(frame);
    this.pick(null);
  }

  axes(frame, width, height) {
    const { x, y } = this.options;
    for (const v of y.log ? logTicksOf(y.domain) : ticksOf(y.domain, 6)) {
      svg("line", { x1: frame.left, x2: frame.right, y1: this.sy(v), y2: this.sy(v), class: v === 0 ? "zero" : "grid" }, this.svg);
      svg("text", { x: frame.left - 8, y: this.sy(v) + 4, "text-anchor": "end" }, this.svg, y.format(v));
    }
    for (const v of x.log ? logTicksOf(x.domain) : ticksOf(x.domain, width < 420 ? 4 : 7)) {
      svg("line", { x1: this.sx(v), x2: this.sx(v), y1: frame.bottom, y2: frame.bottom + 4, class: "grid" }, this.svg);
      svg("text", { x: this.sx(v), y: frame.bottom + 18, "text-anchor": "middle" }, this.svg, x.format(v));
    }
    svg("text", { x: (frame.left + frame.right) / 2, y: height - 6, "text-anchor": "middle" }, this.svg, x.label);
  }

  line(series, points, ends) {
    const [low, high] = this.options.x.domain, [bottom, top] = this.options.y.domain;
    const inside = (p) => p.x >= low && p.x <= high && p.y >= bottom && p.y <= top;
    if (this.options.lines) {
      const id = `clip${Math.random().toString(36).slice(2)}`;
      const clip = svg("clipPath", { id }, this.svg), f = this.frame;
      svg("rect", { x: f.left, y: f.top - 6, width: f.right - f.left, height: f.bottom - f.top + 6 }, clip);
      const d = points.map((p, i) => `${i ? "L" : "M"}${this.sx(p.x).toFixed(1)} ${this.sy(p.y).toFixed(1)}`).join("");
      const path = svg("path", { d, class: `line ${series.origin}`, "clip-path": `url(#${id})` }, this.svg);
      path.style.setProperty("--c", colour(series));
      const end = this.lastInside(points, inside);
      if (end) ends.push({ series, px: this.sx(end.x), y: this.sy(end.y), at: this.sy(end.y) });
    }
    for (const p of points) {
      if (!inside(p)) continue;
      if (this.options.marks !== false && series.origin !== "published") marker(this.svg, series, this.sx(p.x), this.sy(p.y), this.options.points ? 6 : series.origin === "ours" ? 4.2 : 3.2);
      this.spots.push({ series, p, x: this.sx(p.x), y: this.sy(p.y) });
    }
  }

  /* Where a line leaves the frame, or ends in it. */
  lastInside(points, inside) {
    let end = null;
    const [low, high] = this.options.x.domain, [bottom, top] = this.options.y.domain;
    points.forEach((p, i) => {
      if (inside(p)) end = p;
      const q = points[i + 1];
      if (!q || !inside(p) || inside(q)) return;
      const tx = q.x > high ? (high - p.x) / (q.x - p.x) : q.x < low ? (low - p.x) / (q.x - p.x) : 1;
      const ty = q.y > top ? (top - p.y) / (q.y - p.y) : q.y < bottom ? (bottom - p.y) / (q.y - p.y) : 1;
      const t = Math.min(tx, ty);
      end = { x: p.x + t * (q.x - p.x), y: p.y + t * (q.y - p.y) };
    });
    return end;
  }

  labels(ends, frame) {
    const early = ends.filter((end) => end.px < frame.right - 40), late = ends.filter((end) => end.px >= frame.right - 40);
    for (const { series, px, at } of early) svg("text", { x: px, y: at - 8, class: "label", "text-anchor": "middle" }, this.svg, series.short).style.setProperty("--c", colour(series));
    spread(late, 15, frame.top + 4, frame.bottom);
    for (const { series, px, y, at } of late) {
      svg("path", { d: `M${px} ${at}L${frame.right + 4} ${at}L${frame.right + 12} ${y}`, class: "leader" }, this.svg).style.setProperty("--c", colour(series));
      svg("text", { x: frame.right + 15, y: y + 4, class: "label" }, this.svg, series.short).style.setProperty("--c", colour(series));
    }
  }

  names(frame) {
    const placed = [];
    for (const spot of [...this.spots].sort((a, b) => a.y - b.y)) {
      const text = svg("text", { class: "label" }, this.svg, spot.series.short), w = text.getComputedTextLength() || 60;
      const flip = spot.x + w + 12 > frame.right;
      const candidates = [[flip ? -10 : 10, 4], [flip ? -10 : 10, -9], [flip ? -10 : 10, 17], [flip ? 10 : -10, 4], [0, -12], [0, 20]];
      const box = ([dx, dy]) => { const x = spot.x + dx - (dx < 0 ? w : dx === 0 ? w / 2 : 0); return { x, y: spot.y + dy - 11, w, h: 14 }; };
      const free = (b) => placed.every((o) => b.x > o.x + o.w || b.x + b.w < o.x || b.y > o.y + o.h || b.y + b.h < o.y);
      const best = box(candidates.find((c) => free(box(c))) ?? candidates[0]);
      placed.push(best, { x: spot.x - 6, y: spot.y - 6, w: 12, h: 12 });
      text.setAttribute("x", best.x);
      text.setAttribute("y", best.y + 11);
      text.style.setProperty("--c", colour(spot.series));
    }
  }

  hover(event) {
    const box = this.svg.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const distance = (s) => (s.x - x) ** 2 + (s.y - y) ** 2;
    const near = this.spots?.reduce((best, s) => (!best || distance(s) < distance(best) ? s : best), null);
    this.pick(near && distance(near) < 60 ** 2 ? near : null);
  }

  walk(event) {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!step || !this.spots?.length) return;
    event.preventDefault();
    const lines = [...new Set(this.spots.map((s) => s.series))], now = this.spot ?? this.spots[0];
    if (!this.spot) return this.pick(now);
    const line = lines[(lines.indexOf(now.series) + step[0] + lines.length) % lines.length];
    const along = this.spots.filter((s) => s.series === line);
    if (step[0]) return this.pick(along.reduce((best, s) => (Math.abs(s.x - now.x) < Math.abs(best.x - now.x) ? s : best)));
    this.pick(along[Math.min(along.length - 1, Math.max(0, along.indexOf(now) + step[1]))]);
  }

  pick(spot) {
    this.spot = spot;
    this.tip?.remove();
    this.halo?.remove();
    this.tip = this.halo = null;
    if (!spot) return;
    this.halo = svg("circle", { cx: spot.x, cy: spot.y, r: 8, class: "halo" }, this.svg);
    this.tip = make("div", { class: "tip" }, this.host);
    make("b", {}, this.tip, spot.series.name);
    for (const line of spot.p.tip) { make("br", {}, this.tip); this.tip.append(line); }
    const half = this.tip.offsetWidth / 2;
    this.tip.style.left = `${Math.min(this.host.clientWidth - half, Math.max(half, spot.x))}px`;
    this.tip.style.top = `${spot.y < 90 ? spot.y + this.tip.offsetHeight + 24 : spot.y}px`;
    this.live.textContent = `${spot.series.name}: ${spot.p.tip.join(", ")}`;
  }
}

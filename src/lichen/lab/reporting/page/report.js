"use strict";
/* The report: puts the data of the page into its charts and tables. */

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const byKey = new Map(data.series.map((s) => [s.key, s]));
const shown = new Set(data.series.filter((s) => s.shown).map((s) => s.key));
const visible = () => data.series.filter((s) => shown.has(s.key));
const charts = [];
const redraw = () => charts.forEach((chart) => chart.draw());
const signed = (v, digits = 1) => `${v > 0 ? "+" : v < 0 ? "−" : ""}${Math.abs(v).toFixed(digits)}`;
const seconds = (v) => (v >= 1 ? `${v.toPrecision(3)} s` : `${(1000 * v).toPrecision(3)} ms`);

at("title").textContent = data.title;
at("lead").textContent = data.lead;
for (const fact of data.facts) {
  const item = make("li", { class: fact.percent <= 0 ? "good" : "bad" }, at("facts"));
  make("strong", {}, item, `${signed(fact.percent, 0)} %`);
  make("span", {}, item, `bytes, against ${fact.name}`);
}

/* chips */
for (const [title, origins] of [["Measured", ["ours", "peer"]], ["As published", ["published"]]]) {
  const members = data.series.filter((s) => origins.includes(s.origin));
  if (!members.length) continue;
  const set = make("fieldset", { class: "chips" }, at("chips"));
  make("legend", {}, set, title);
  for (const series of members) {
    const chip = make("button", { type: "button", "aria-pressed": shown.has(series.key) }, set);
    const icon = svg("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, chip);
    const paint = () => {
      icon.replaceChildren();
      svg("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke: colour(series), "stroke-width": series.origin === "ours" ? 3 : 2, "stroke-dasharray": series.origin === "published" ? "5 3" : "none" }, icon);
      if (series.origin !== "published") marker(icon, series, 11, 5, 3.4);
    };
    paint();
    charts.push({ draw: paint });
    chip.append(series.name);
    chip.addEventListener("click", () => {
      shown.has(series.key) ? shown.delete(series.key) : shown.add(series.key);
      chip.setAttribute("aria-pressed", shown.has(series.key));
      redraw();
    });
  }
}

/* rate and distortion */
const bppMax = data.bpp_max;
const around = (values, pad) => { const low = Math.min(...values), high = Math.max(...values), more = pad * (high - low || 1); return [low - more, high + more]; };
const within = (key) => data.series.filter((s) => s.origin !== "published" && s[key]).flatMap((s) => s[key].filter((_, i) => s.bpp[i] <= bppMax));
const curves = [
  ["psnr", "psnr", "PSNR, dB", "a picture came back exactly at each point: its PSNR is infinite"],
  ["ms", "ms", "−10 log₁₀(1 − MS-SSIM), dB", "a picture is too small for MS-SSIM"],
];
for (const [host, key, label, why] of curves) {
  const values = within(key).filter((v) => v !== null);
  if (!values.length) {
    const there = data.series.some((s) => s.origin !== "published" && s[key]);
    at(host).textContent = `n/a: ${there ? `no point of at most ${bppMax} bpp` : why}`;
    continue;
  }
  charts.push(new Chart(at(host), {
    title: `Rate and distortion by ${label}`, lines: true,
    x: { label: `bits per pixel → ${label} ↑`, domain: [0, bppMax], format: String },
    y: { domain: around(values, 0.03), format: String },
    series: () => visible().filter((s) => s[key]).map((series) => ({
      series,
      points: series.bpp.map((x, i) => ({ x, y: series[key][i], tip: [
        `${x.toFixed(3)} bpp · ${series[key][i]?.toFixed(2)} dB`, ...(series.settings.length ? [`setting ${+series.settings[i].toPrecision(4)}`] : [])] })).filter((p) => p.y !== null),
    })),
  }));
}

/* saving over an anchor */
const anchor = at("anchor"), measure = at("measure");
for (const series of data.series) if (data.deltas[series.key]) make("option", { value: series.key }, anchor, series.name);
anchor.value = data.anchor;
const rates = (series) => (measure.value === "psnr" ? series.log_rates : series.log_rates_ms);
const saving = new Chart(at("saving"), {
  title: "Bytes saved over the anchor", lines: true, marks: false,
  x: { label: "", domain: [0, 1], format: String }, y: { domain: [-100, 60], format: (v) => `${signed(v, 0)} %` },
  series: () => visible().map((series) => ({
    series,
    points: (rates(series) ?? []).map((rate, i) => {
      const base = (rates(byKey.get(anchor.value)) ?? [])[i], x = (measure.value === "psnr" ? data.grid : data.grid_ms)[i];
      if (rate === null || base === null || base === undefined) return null;
      const y = 100 * (1 - 10 ** (rate - base));
      return { x, y, tip: [`saves ${signed(y)} % at ${x.toFixed(2)} dB`] };
    }).filter(Boolean),
  })),
});
charts.push(saving);

/* leaderboard */
const leaderboard = () => {
  const by = measure.value, name = byKey.get(anchor.value).name;
  const rows = data.series.map((s) => ({ series: s, delta: (data.deltas[anchor.value][s.key] ?? {})[by] }));
  if (anchor.value === "vtm" && by === "psnr") for (const r of data.reported) rows.push({ series: { name: r.name, origin: "reported", source: r.source }, delta: { rate: r.percent } });
  rows.sort((a, b) => (a.delta?.rate ?? 1e9) - (b.delta?.rate ?? 1e9));
  at("leaderboard-about").textContent = `BD-rate over ${name} by ${by === "psnr" ? "PSNR" : "MS-SSIM"} (Akima): how many bytes more or fewer at equal quality, over the overlap given. Each pair overlaps elsewhere, so look at the range before comparing two lines.`;
  const table = at("leaderboard");
  table.replaceChildren();
  const head = make("tr", {}, make("thead", {}, table));
  for (const text of ["Codec", "BD\u2011rate, %", "", by === "psnr" ? "BD\u2011PSNR, dB" : "BD\u2011MS\u2011SSIM, dB", "overlap, dB", "encode, mean (median)", "decode, mean (median)", ""]) make("th", { scope: "col" }, head, text);
  const body = make("tbody", {}, table);
  for (const { series, delta } of rows) {
    const line = make("tr", { class: series.origin }, body);
    make("td", series.source ? { title: series.source } : {}, line, series.name);
    make("td", {}, line, delta ? signed(delta.rate) : series.key === anchor.value ? "anchor" : "n/a");
    const meter = make("td", { class: "meter" }, line);
    if (delta && delta.rate) make("span", { class: `mark ${delta.rate > 0 ? "bad" : ""}`, style: `width:${Math.min(90, Math.abs(delta.rate) * 0.35).toFixed(1)}px` }, meter);
    make("td", {}, line, delta?.quality === undefined ? "" : signed(delta.quality, 2));
    make("td", {}, line, delta?.low === undefined ? "" : `${delta.low.toFixed(1)} to ${delta.high.toFixed(1)}`);
    for (const key of ["encode", "decode"]) make("td", {}, line, series[key] ? seconds(series[key]) + (series[`${key}_median`] ? ` (${seconds(series[`${key}_median`])})` : "") : "");
    make("td", { class: "origin" }, line, { ours: series.versions?.join(", "), peer: "measured", published: "published curve", reported: "printed, no curve" }[series.origin]);
  }
};

/* speed */
const time = at("time"), average = at("average");
const taken = (series) => series[time.value + average.value];
const speed = new Chart(at("speed"), {
  title: "Seconds a picture and BD-rate", points: true,
  x: { label: "", domain: [0.001, 1], log: true, format: (v) => seconds(v) }, y: { domain: [0, 1], format: (v) => `${signed(v, 0)} %` },
  series: () => data.series.filter(taken).map((series) => {
    const delta = (data.deltas[anchor.value][series.key] ?? {})[measure.value], y = series.key === anchor.value ? 0 : delta?.rate;
    const tip = [`${seconds(taken(series))} to ${time.value}`, `${signed(y ?? 0)} % bytes over ${byKey.get(anchor.value).name}`];
    return { series, points: y === undefined ? [] : [{ x: taken(series), y, tip }] };
  }),
});
charts.push(speed);

const refresh = () => {
  const grid = measure.value === "psnr" ? data.grid : data.grid_ms, base = rates(byKey.get(anchor.value)) ?? [];
  const reached = grid.filter((_, i) => base[i] !== null && base[i] !== undefined);
  const measured = data.series.filter((s) => s.origin !== "published").flatMap((s) => grid.filter((_, i) => (rates(s) ?? [])[i] != null));
  const top = Math.min(reached.at(-1), Math.max(...measured)), bottom = Math.max(reached[0], Math.min(...measured));
  saving.options.x.domain = reached.length > 1 ? [bottom, top] : [0, 1];
  saving.options.x.label = `${measure.value === "psnr" ? "PSNR" : "MS-SSIM"}, dB → saving over ${byKey.get(anchor.value).name} ↑`;
  const savings = saving.options.series().flatMap((s) => s.points.map((p) => p.y));
  saving.options.y.domain = savings.length ? [Math.max(-125, Math.min(-10, ...savings)) - 3, Math.max(10, ...savings) + 3] : [-10, 10];
  const spots = speed.options.series().flatMap((s) => s.points);
  if (spots.length) {
    speed.options.x.domain = [Math.min(...spots.map((p) => p.x)) / 1.6, Math.max(...spots.map((p) => p.x)) * 1.6];
    speed.options.y.domain = around([...spots.map((p) => p.y), 0], 0.12);
  }
  speed.options.x.label = `seconds to ${time.value} → BD-rate over ${byKey.get(anchor.value).name}, % ↑`;
  leaderboard();
  redraw();
};
for (const control of [anchor, measure, time, average]) control.addEventListener("change", refresh);

/* bits of y and z, where they were estimated */
const estimated = data.series.filter((s) => s.y_bpp && s.z_bpp);
if (estimated.length) {
  at("bits").hidden = false;
  const table = at("bits-table"), head = make("tr", {}, make("thead", {}, table)), body = make("tbody", {}, table);
  for (const text of ["Model", "setting", "file, bpp", "y, bpp", "z, bpp", "z, % of both"]) make("th", { scope: "col" }, head, text);
  for (const series of estimated) {
    series.y_bpp.forEach((y, i) => {
      const z = series.z_bpp[i], line = make("tr", {}, body);
      const figures = y === null || z === null ? ["n/a", "n/a", "n/a"] : [y.toFixed(4), z.toFixed(4), ((100 * z) / (y + z)).toFixed(1)];
      for (const text of [series.name, +series.settings[i].toPrecision(4), series.bpp[i].toFixed(4), ...figures]) make("td", {}, line, text);
    });
  }
}

/* gains, where there are some */
if (data.gains.length) {
  at("gains").hidden = false;
  for (const [host, key, label, unit] of [["gain", "gain_db", "PSNR gain, dB", " dB"], ["correlation", "correlation", "correlation", ""]]) {
    const all = data.gains.flatMap((g) => g.points.map((p) => p[key]));
    charts.push(new Chart(at(host), {
      title: label, lines: true,
      x: { label: `bits per pixel → ${label} ↑`, domain: [0, Math.max(...data.gains.flatMap((g) => g.points.map((p) => p.bpp))) * 1.05], format: String },
      y: { domain: around([0, ...all], 0.06), format: String },
      series: () => data.gains.map((g) => ({ series: g.series, points: g.points.map((p) => ({ x: p.bpp, y: p[key], tip: [`${p.bpp.toFixed(3)} bpp`, `${p[key].toFixed(4)}${unit}`] })) })),
    }));
  }
}

if (data.pictures.length) {
  at("pictures").hidden = false;
  slider(at("slider"), data.pictures);
}
at("crowded").hidden = !data.crowded;
at("several").hidden = !data.several;
for (const line of data.how) make("li", {}, at("how"), line);
at("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = theme() ? "light" : "dark";
  redraw();
});
refresh();

// Curves over steps or minutes: a small chart for each metric and scene, one line with a band for the seeds of a setting,
// one cursor for all charts, the values at the cursor as a table.
"use strict";
(() => {
  const { el, state, select, choice, check, style, swatch, scene, index, band, smooth } = isosweep;
  const FIRST = ["val/psnr", "val/geometry/chamfer", "val/geometry/reference_median", "train/loss", "train/psnr"], MOST = 4, MOST_SCENES = 12;
  const UNITS = { psnr: "dB", lr_factor: "" }, SEEDS = [["std", "mean ± std"], ["range", "min to max"], ["each", "each seed"]];
  let plots = [], at = null;

  async function show(panel) {
    const every = isosweep.grouped(), view = state.view;
    const scenes = [...new Set(every.map(scene))];
    const only = scenes.includes(view.curveScene) ? view.curveScene : "";
    const runs = only ? every.filter(r => scene(r) === only) : every.filter(r => scenes.indexOf(scene(r)) < MOST_SCENES);
    const have = [...new Set(runs.flatMap(r => r.curves))].sort();
    if (!have.length) {
      panel.replaceChildren(el("p", { class: "empty" }, runs.length ? "These runs have logged no metrics." : "No run passes the filter."));
      return null;
    }
    const names = (view.curves !== undefined ? view.curves.split("\n") : []).filter(n => have.includes(n));
    const most = scenes.length > 1 && !only ? 2 : MOST;
    if (!names.length) names.push(...[...FIRST.filter(n => have.includes(n)), ...have.filter(n => !FIRST.includes(n))].slice(0, most));
    const charts = el("div", { class: "figures" }), table = el("div", { class: "wide" });
    const draw = () => { plots.forEach(p => p.destroy()); plots = []; charts.replaceChildren(); paint(runs, names, charts, table); };
    const set = (key, value) => { view[key] = value; isosweep.write(); draw(); };
    const step = el("input", { type: "range", id: "step", min: 0, max: 1000, value: 1000, oninput: e => move(Number(e.target.value) / 1000) });
    panel.replaceChildren(el("div", { class: "row" },
      el("details", { class: "menu" }, el("summary", {}, "Metrics"), el("div", { class: "sheet" }, el("fieldset", {}, el("legend", {}, "One chart each"),
        have.map(n => check(n, names.includes(n), on => {
          if (on) names.push(n); else names.splice(names.indexOf(n), 1);
          set("curves", names.join("\n"));
        }))))),
      scenes.length > 1 ? select("Scenes", [["", `all ${scenes.length}, one chart each`], ...scenes.map(s => [s, s])], only, v => { view.curveScene = v; isosweep.changed("curves"); }, { id: "curve-scene" }) : null,
      choice("Across", "across", [["x", "steps"], ["t", "minutes"]], across(), v => set("across", v)),
      choice("Seeds", "seeds", SEEDS, seeds(), v => set("seeds", v)),
      check("logarithmic y", view.log === "1", on => set("log", on ? "1" : "0"), { id: "log" }),
      el("label", { class: "field" }, el("span", {}, "Smoothing"), el("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: view.smooth || 0,
        id: "smooth", oninput: e => set("smooth", e.target.value) })),
      el("label", { class: "field grow" }, el("span", {}, "Cursor"), step)), charts, table);
    await Promise.all(runs.map(r => isosweep.details(r).then(d => { r.data = d.curves; }, () => { r.data = {}; })));
    if (charts.isConnected) draw();
    return null;
  }
  const across = () => state.view.across === "t" ? "t" : "x";
  const seeds = () => SEEDS.some(s => s[0] === state.view.seeds) ? state.view.seeds : "std";

  // A run's curve of a metric over steps or minutes, smoothed; null if it has none.
  function curve(run, name) {
    const own = (run.data || {})[name], x = own?.[across()];
    if (!x?.length) return null;
    const y = smooth(own.y, Number(state.view.smooth || 0)).map(v => state.view.log === "1" && v <= 0 ? null : v);
    return { x: across() === "t" ? x.map(s => s / 60) : x, y };
  }
  // The lines of a chart: a setting each, or a run each.
  function lines(runs, name) {
    const groups = new Map();
    for (const run of runs) {
      const found = curve(run, name), key = seeds() === "each" ? run.id : run.group;
      if (found) groups.set(key, [...(groups.get(key) || []), { run, found }]);
    }
    return [...groups.values()].map(list => ({ run: list[0].run, runs: list.map(l => l.run), ...band(list.map(l => l.found), seeds()) }));
  }

  function paint(runs, names, charts, table) {
    const scenes = [...new Set(runs.map(scene))], made = [];
    const one = el("div", { class: "charts" });
    for (const name of names) {  // with several scenes each metric has a row of its own
      const row = scenes.length > 1 ? el("div", { class: "charts" }) : one;
      charts.append(row);
      for (const place of scenes) {
        const found = lines(runs.filter(r => scene(r) === place), name);
        if (found.length) made.push({ name, place, lines: found, published: points(name, place), row });
      }
    }
    made.forEach(c => { c.box = figure(c, scenes); c.row.append(c.box); });
    made.forEach(chart);
    if (!made.length) charts.append(el("p", { class: "empty" }, "No curve of these metrics."));
    at = null;
    values(Infinity, made, runs, table);
    move = part => {
      const ends = made.flatMap(c => c.lines.flatMap(l => [l.x[0], l.x.at(-1)])).filter(Number.isFinite);
      const left = Math.min(...ends), right = Math.max(...ends), x = left + part * (right - left);
      plots.forEach(p => p.setCursor({ left: p.valToPos(x, "x"), top: 10 }, false));
      values(x, made, runs, table);
    };
  }
  let move = () => {};
  // Published figures with a training time, of this scene and kind of score.
  const points = (name, place) => across() !== "t" ? [] : index().points.filter(p => p.scene === place && p.metric === name.split("/").at(-1) && /^(val|nvs|geometry)\//.test(name));
  const axis = () => across() === "t" ? "training time, minutes" : "steps";

  function figure(c, scenes) {
    const said = c.published.map(p => `${p.method} ${p.value} after ${Number(p.minutes.toPrecision(3))} min${p.gpu ? ` on ${p.gpu}` : ""} (${p.source})`);
    return el("figure", { class: "chart", "aria-label": `${c.name} of ${c.place} over ${axis()}, ${c.lines.length} lines; the values are in the table below` },
      el("figcaption", {}, c.name, scenes.length > 1 ? el("span", { class: "soft" }, ` ${c.place}`) : ""),
      el("div", { class: "plot" }), said.length ? el("p", { class: "note" }, "● published, test views: ", said.join("; ")) : "");
  }

  function chart(c) {
    const css = getComputedStyle(document.documentElement), log = state.view.log === "1";
    const ink = css.getPropertyValue("--soft").trim(), grid = css.getPropertyValue("--line").trim();
    const above = v => log ? v.map((y, i) => y > 0 ? y : null) : v;
    const banded = seeds() !== "each";
    const tables = c.lines.map(l => [l.x, l.mean, ...(banded ? [above(l.low), above(l.high)] : [])]);
    if (c.published.length) tables.push([[...c.published.map(p => p.minutes)].sort((a, b) => a - b), [...c.published].sort((a, b) => a.minutes - b.minutes).map(p => p.value)]);
    c.data = uPlot.join(tables);
    const series = [{}], bands = [];
    for (const l of c.lines) {
      const { colour, dash } = style(l.run.group);
      series.push({ label: l.run.title, stroke: colour, dash, width: 1.8, spanGaps: true, points: { show: l.x.length < 30, size: 4 } });
      if (!banded) continue;
      const n = series.length;
      series.push({ stroke: "transparent", width: 0, spanGaps: true, points: { show: false } }, { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } });
      if (l.n > 1) bands.push({ series: [n + 1, n], fill: `${colour}38` });
    }
    if (c.published.length) series.push({ label: "published", stroke: ink, width: 0, points: { show: true, size: 9, fill: ink } });
    const unit = UNITS[c.name.split("/").at(-1)], box = c.box.querySelector(".plot");
    const font = "12px system-ui, sans-serif", both = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, labelFont: font, font, labelSize: 18, labelGap: 0 };
    plots.push(new uPlot({
      width: box.clientWidth, height: HEIGHT, legend: { show: false }, scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [{ ...both, label: axis(), size: 32 }, { ...both, label: unit ? `${c.name}, ${unit}` : c.name, size: 52 }],
      cursor: { sync: { key: "curves" }, points: { size: 6 } }, series, bands,
      hooks: { setCursor: [u => { if (u.cursor.idx !== null && u.cursor.idx !== undefined) move.at?.(u.posToVal(u.cursor.left, "x")); }] },
    }, c.data, box));
  }
  const HEIGHT = 240;

  // The values at x: the last point of each line that is not after x.
  function values(x, made, runs, table) {
    move.at = now => values(now, made, runs, table);
    const rounded = across() === "t" ? Math.round(10 * x) / 10 : Math.round(x);
    if (rounded === at && table.firstChild) return;
    at = rounded;
    const names = [...new Set(made.map(c => c.name))], rows = new Map();
    for (const c of made) for (const l of c.lines) {
      const key = `${c.place} ${seeds() === "each" ? l.run.id : l.run.group}`;
      if (!rows.has(key)) rows.set(key, { place: c.place, run: l.run, cells: {} });
      let k = l.x.length - 1;
      while (k >= 0 && (l.x[k] > x || l.mean[k] === null)) k--;
      if (k >= 0) rows.get(key).cells[c.name] = [l.mean[k], l.n, l.low[k], l.high[k]];
    }
    const number = v => String(Number(v.toPrecision(5)));
    const spread = ([mean, n, low, high]) => n < 2 ? number(mean) : seeds() === "range" ? `${number(mean)} (${number(low)} to ${number(high)})` : `${number(mean)} ± ${Number((high - mean).toPrecision(2))}`;
    const among = runs;
    const named = row => seeds() === "each" ? isosweep.label(row.run, among) : isosweep.label(row.run, among.filter(r => r.group !== row.run.group || r === row.run));
    table.replaceChildren(el("table", { class: "legend" },
      el("caption", {}, Number.isFinite(x) ? `At ${across() === "t" ? `minute ${rounded}` : `step ${rounded}`}` : "At the end of each curve", seeds() === "std" ? "; mean ± standard deviation over the seeds" : ""),
      el("thead", {}, el("tr", {}, el("th", { class: "name", scope: "col" }, "Setting"), el("th", { class: "name", scope: "col" }, "Scene"), el("th", { scope: "col" }, "Seeds"), names.map(n => el("th", { scope: "col" }, n)))),
      el("tbody", {}, [...rows.values()].map(row => el("tr", {}, el("th", { class: "name clip", scope: "row", title: row.run.setting }, swatch(row.run.group), " ", named(row)), el("td", { class: "name" }, row.place),
        el("td", {}, String(Math.max(...Object.values(row.cells).map(c => c[1]), 1))),
        names.map(n => el("td", { class: "number" }, row.cells[n] ? spread(row.cells[n]) : "–")))))));
  }

  addEventListener("resize", () => plots.forEach(p => { if (p.root.parentElement) p.setSize({ width: p.root.parentElement.clientWidth, height: HEIGHT }); }));
  isosweep.views.push({ id: "curves", title: "Curves", show, leave: () => { plots.forEach(p => p.destroy()); plots = []; } });
})();

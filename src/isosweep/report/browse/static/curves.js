// Curves over steps or seconds: a small chart for each metric, one cursor for all, the values at the cursor as a table.
"use strict";
(() => {
  const { el, state, select, choice, check, style, swatch, scene, shown } = isosweep;
  const FIRST = ["val/psnr", "val/geometry/chamfer", "val/geometry/reference_median", "train/loss", "train/psnr"], MOST = 4;
  let plots = [], at = null;

  async function show(panel) {
    const runs = isosweep.picked();
    const view = state.view;
    const have = [...new Set(runs.flatMap(r => r.curves))].sort();
    if (!have.length) {
      panel.replaceChildren(el("p", { class: "empty" }, runs.length ? "These runs have logged no metrics." : "No run passes the filter."));
      return null;
    }
    const names = (view.curves !== undefined ? view.curves.split("\n") : []).filter(n => have.includes(n));
    if (!names.length) names.push(...[...FIRST.filter(n => have.includes(n)), ...have.filter(n => !FIRST.includes(n))].slice(0, MOST));
    const charts = el("div", { class: "charts" }), table = el("div", { class: "wide" });
    const draw = () => { plots.forEach(p => p.destroy()); plots = []; charts.replaceChildren(); paint(runs, names, charts, table); };
    const set = (key, value) => { view[key] = value; isosweep.write(); draw(); };
    const step = el("input", { type: "range", id: "step", min: 0, max: 1000, value: 1000, oninput: e => move(Number(e.target.value) / 1000) });
    panel.replaceChildren(el("div", { class: "row" },
      el("details", { class: "menu" }, el("summary", {}, "Metrics"), el("div", { class: "sheet" }, el("fieldset", {}, el("legend", {}, "One chart each"),
        have.map(n => check(n, names.includes(n), on => {
          if (on) names.push(n); else names.splice(names.indexOf(n), 1);
          set("curves", names.join("\n"));
        }))))),
      choice("Across", "across", [["x", "steps"], ["t", "seconds"]], view.across || "x", v => set("across", v)),
      check("logarithmic", view.log === "1", on => set("log", on ? "1" : "0")),
      el("label", { class: "field" }, el("span", {}, "Smoothing"), el("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: view.smooth || 0,
        id: "smooth", oninput: e => set("smooth", e.target.value) })),
      el("label", { class: "field grow" }, el("span", {}, "Cursor"), step)), charts, table);
    await Promise.all(runs.map(r => isosweep.details(r).then(d => { r.data = d.curves; }, () => { r.data = {}; })));
    if (charts.isConnected) draw();
    return null;
  }

  function smooth(values, share) {  // exponential moving average, corrected for its bias towards 0 at the start
    let mean = 0, weight = 0;
    return values.map(v => {
      if (v === null || !share) return v;
      mean = share * mean + (1 - share) * v;
      weight = share * weight + (1 - share);
      return mean / weight;
    });
  }

  function paint(runs, names, charts, table) {
    const share = Number(state.view.smooth || 0), across = state.view.across || "x", log = state.view.log === "1";
    const css = getComputedStyle(document.documentElement);
    const ink = css.getPropertyValue("--soft").trim(), grid = css.getPropertyValue("--line").trim();
    const columns = [];
    for (const name of names) {
      const own = runs.map(r => (r.data || {})[name]);
      const tables = own.map(c => !c || !c[across].length ? [[], []] : [c[across], smooth(c.y, share).map(y => log && y <= 0 ? null : y)]);
      if (!tables.some(t => t[0].length)) continue;
      const data = uPlot.join(tables);
      columns.push({ name, runs, data });
      const box = el("figure", { class: "chart", "aria-label": `${name} over ${across === "x" ? "steps" : "seconds"}, ${runs.length} runs; the values are in the table below` }, el("figcaption", {}, name));
      charts.append(box);
      const axis = { stroke: ink, size: 34, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
      plots.push(new uPlot({
        width: box.clientWidth - 16, height: 220, legend: { show: false }, scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
        axes: [axis, { ...axis, size: 58 }],
        cursor: { sync: { key: "curves" }, points: { size: 6 } },
        series: [{}, ...runs.map((r, i) => ({ label: r.title, stroke: style(i).colour, dash: style(i).dash, width: 1.8, spanGaps: true, points: { show: tables[i][0].length < 30, size: 4 } }))],
        hooks: { setCursor: [u => { if (u.cursor.idx !== null && u.cursor.idx !== undefined) values(u.posToVal(u.cursor.left, "x"), columns, runs, table); }] },
      }, data, box));
    }
    if (!columns.length) charts.append(el("p", { class: "empty" }, "No curve of these metrics."));
    at = null;
    values(Infinity, columns, runs, table);
    move = part => {
      const right = Math.max(...columns.map(c => c.data[0].at(-1) ?? 0)), left = Math.min(...columns.map(c => c.data[0][0] ?? 0));
      const x = left + part * (right - left);
      plots.forEach(p => p.setCursor({ left: p.valToPos(x, "x"), top: 10 }, false));
      values(x, columns, runs, table);
    };
  }
  let move = () => {};

  // The values at x: the last point of each curve that is not after x.
  function values(x, columns, runs, table) {
    const rounded = Math.round(x);
    if (rounded === at && table.firstChild) return;
    at = rounded;
    const word = state.view.across === "t" ? "second" : "step";
    const last = (data, i) => {
      for (let k = data[0].length - 1; k >= 0; k--) if (data[0][k] <= x && data[i][k] !== null && data[i][k] !== undefined) return data[i][k];
      return null;
    };
    table.replaceChildren(el("table", { class: "legend" },
      el("caption", {}, Number.isFinite(x) ? `At ${word} ${Math.round(x)}` : "At the end of each curve"),
      el("thead", {}, el("tr", {}, el("th", { class: "name", scope: "col" }, "Run"), el("th", { class: "name", scope: "col" }, "Scene"), columns.map(c => el("th", { scope: "col" }, c.name)))),
      el("tbody", {}, runs.map((r, i) => el("tr", {}, el("th", { class: "name", scope: "row" }, swatch(i), " ", r.title), el("td", { class: "name" }, scene(r)),
        columns.map(c => { const v = last(c.data, i + 1); return el("td", { class: "number" }, v === null ? "–" : String(Number(v.toPrecision(5)))); }))))));
  }

  addEventListener("resize", () => plots.forEach(p => { if (p.root.parentElement) p.setSize({ width: p.root.parentElement.clientWidth - 16, height: 220 }); }));
  isosweep.views.push({ id: "curves", title: "Curves", show, leave: () => { plots.forEach(p => p.destroy()); plots = []; } });
})();

// Many settings at once: parallel coordinates of the keys that vary, and how much of a score's variance each explains.
"use strict";
(() => {
  const { el, state, select, index, value, brief, shown, scene } = isosweep;
  const HEIGHT = 320, TOP = 46, LEVELS = 8, BINS = 4, MOST_KEYS = 10;
  const svg = (tag, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(attributes)) if (v !== null) made.setAttribute(k, v);
    made.append(...children);
    return made;
  };
  // The share of the variance of `numbers` that the groups of `labels` explain, without what as many random groups would
  // explain (epsilon squared): (SSB - (k-1) MSW) / SST, at least 0. Null for fewer than two groups, or nothing left over.
  function explained(numbers, labels) {
    const groups = new Map();
    numbers.forEach((v, i) => groups.set(labels[i], [...(groups.get(labels[i]) || []), v]));
    const mean = list => list.reduce((a, b) => a + b, 0) / list.length;
    const n = numbers.length, k = groups.size, whole = mean(numbers);
    const total = numbers.reduce((a, v) => a + (v - whole) ** 2, 0);
    if (k < 2 || n <= k || !total) return null;
    const within = [...groups.values()].reduce((a, list) => { const m = mean(list); return a + list.reduce((b, v) => b + (v - m) ** 2, 0); }, 0);
    return Math.max(0, (total - within - (k - 1) * within / (n - k)) / total);
  }
  // Numbers of many values are put into quarters of the runs.
  function labels(values) {
    const distinct = new Set(values);
    if (distinct.size <= LEVELS || values.some(v => typeof v !== "number")) return values.map(v => String(v));
    const sorted = [...values].sort((a, b) => a - b);
    return values.map(v => String(Math.min(BINS - 1, Math.floor(BINS * sorted.indexOf(v) / values.length))));
  }
  // Each key's share, of scores from which the mean of their scene is taken.
  function importance(runs, keys, at) {
    const sums = new Map();
    for (const r of runs) { const s = sums.get(scene(r)) || [0, 0]; sums.set(scene(r), [s[0] + r.values[at], s[1] + 1]); }
    const numbers = runs.map(r => r.values[at] - sums.get(scene(r))[0] / sums.get(scene(r))[1]);
    return keys.map(key => [key, explained(numbers, labels(runs.map(r => value(r, key))))]).filter(p => p[1] !== null).sort((a, b) => b[1] - a[1]);
  }

  let ranges = {};  // key -> [low, high] of the axis's height, chosen by a drag
  function show(panel) {
    const all = index(), metrics = all.metrics.filter(m => all.runs.some(r => Number.isFinite(r.values[all.metrics.indexOf(m)])));
    const keys = all.varied.slice(0, MOST_KEYS);
    if (!keys.length || !metrics.length) {
      panel.replaceChildren(el("p", { class: "empty" }, "These runs do not differ in a setting, or have no scores."));
      return null;
    }
    const chosen = metrics.find(m => m.name === state.view.score) || metrics[0], at = all.metrics.indexOf(chosen);
    const runs = isosweep.runs().filter(r => Number.isFinite(r.values[at]));
    const shares = importance(runs, keys, at);
    const drawing = el("div", { class: "wide parallel" }), said = el("p", { class: "note", role: "status" });
    panel.replaceChildren(el("div", { class: "row" }, select("Score", metrics.map(m => [m.name, m.title]), chosen.name, v => { state.view.score = v; isosweep.changed("settings"); }, { id: "score" })),
      el("h2", {}, "What explains the score"),
      shares.length ? el("table", { class: "shares" }, el("caption", {}, `Share of the variance of ${chosen.title} over ${runs.length} runs that each key explains alone, after the mean of each scene is taken away and without what chance would explain; numbers of more than ${LEVELS} values count in quarters`),
        el("thead", {}, el("tr", {}, el("th", { class: "name", scope: "col" }, "Key"), el("th", { scope: "col" }, "Share"), el("th", { "aria-hidden": "true" }))),
        el("tbody", {}, shares.map(([key, share]) => el("tr", {}, el("th", { class: "name clip", scope: "row", title: key }, key), el("td", {}, `${(100 * share).toFixed(0)} %`), el("td", { class: "meter", "aria-hidden": "true" }, el("span", { style: `width: ${100 * share}%` }))))))
        : el("p", { class: "empty" }, "Too few runs: a key needs two values, and more runs than values."),
      el("h2", {}, "Every run as a line"), drawing, said);
    draw(drawing, runs, keys, chosen, at, said);
    return null;
  }

  function draw(box, runs, keys, metric, at, said) {
    const axes = [...keys.map(key => ({ key, title: key, of: r => value(r, key) })), { key: metric.name, title: metric.title, of: r => r.values[at], digits: metric.digits }];
    const order = new Intl.Collator(undefined, { numeric: true });
    for (const axis of axes) {
      const values = runs.map(axis.of), numbers = values.every(v => typeof v === "number");
      const distinct = [...new Set(values.map(v => shown(v)))].sort(order.compare);
      const low = Math.min(...values), high = Math.max(...values), log = numbers && low > 0 && high / low > 30;
      const f = v => log ? Math.log(v) : v;
      axis.place = numbers ? r => high === low ? 0.5 : (f(axis.of(r)) - f(low)) / (f(high) - f(low)) : r => distinct.length < 2 ? 0.5 : distinct.indexOf(shown(axis.of(r))) / (distinct.length - 1);
      axis.ticks = numbers ? [[0, low], [1, high]].map(([y, v]) => [y, axis.digits === undefined ? brief(v) : v.toFixed(axis.digits)]) : distinct.slice(0, 12).map((v, i) => [distinct.length < 2 ? 0.5 : i / (distinct.length - 1), v]);
    }
    const step = Math.max(120, Math.min(220, (box.clientWidth - 130) / Math.max(1, axes.length - 1))), width = step * (axes.length - 1) + 150;
    const x = i => 70 + i * step, y = share => TOP + (1 - share) * (HEIGHT - TOP - 24);
    const picture = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${runs.length} runs as lines over ${axes.map(a => a.title).join(", ")}; the Runs view has the numbers` });
    const last = axes.at(-1), lines = runs.map(run => {
      const line = svg("path", { d: axes.map((a, i) => `${i ? "L" : "M"}${x(i)} ${y(a.place(run)).toFixed(1)}`).join(""), fill: "none", stroke: isosweep.ramp(last.place(run)), "stroke-width": 1.6, class: "run" }, svg("title", {}, `${run.title}, ${scene(run)}: ${shown(run.values[at], metric.digits)}`));
      line.addEventListener("click", () => isosweep.showRun(run));
      picture.append(line);
      return line;
    });
    const within = run => axes.every(a => !ranges[a.key] || (a.place(run) >= ranges[a.key][0] - 0.005 && a.place(run) <= ranges[a.key][1] + 0.005));
    const bars = new Map();
    const fade = () => {
      let n = 0;
      lines.forEach((line, i) => { const on = within(runs[i]); n += on; line.classList.toggle("faded", !on); });
      for (const [key, bar] of bars) { const r = ranges[key]; bar.setAttribute("y", r ? y(r[1]) : 0); bar.setAttribute("height", r ? y(r[0]) - y(r[1]) : 0); }
      said.textContent = `${n} of ${runs.length} runs. Colour: ${metric.title}, dark is low and yellow high. Drag along an axis to choose a part of it, click it to choose all again; a click on a line shows the run.`;
    };
    axes.forEach((axis, i) => {
      const title = axis.title.split(".").slice(-2).join(".");
      const bar = svg("rect", { x: x(i) - 7, width: 14, class: "chosen" });
      bars.set(axis.key, bar);
      const grip = svg("rect", { x: x(i) - 14, y: TOP - 6, width: 28, height: HEIGHT - TOP - 12, class: "grip" }, svg("title", {}, axis.title));
      picture.append(svg("line", { x1: x(i), x2: x(i), y1: y(0), y2: y(1), class: "axis" }), bar, grip,
        svg("text", { x: x(i), y: 20, "text-anchor": "middle", class: "head" }, title.length > 20 ? `…${title.slice(-19)}` : title, svg("title", {}, axis.title)),
        ...axis.ticks.map(([share, text]) => svg("text", { x: x(i) + 5, y: y(share) + (share === 1 ? -5 : share === 0 ? 14 : 4) }, String(text).length > 14 ? `${String(text).slice(0, 13)}…` : String(text))));
      const share = e => Math.min(1, Math.max(0, 1 - (e.clientY - picture.getBoundingClientRect().top - TOP) / (HEIGHT - TOP - 24)));
      let from = null;
      grip.addEventListener("pointerdown", e => { from = share(e); grip.setPointerCapture(e.pointerId); e.preventDefault(); });
      grip.addEventListener("pointermove", e => { if (from !== null) { const to = share(e); ranges[axis.key] = [Math.min(from, to), Math.max(from, to)]; fade(); } });
      grip.addEventListener("pointerup", () => { const r = ranges[axis.key]; if (r && r[1] - r[0] < 0.02) delete ranges[axis.key]; from = null; fade(); });
    });
    box.replaceChildren(picture);
    fade();
  }

  Object.assign(isosweep, { explained, importance });
  isosweep.views.push({ id: "settings", title: "Settings", show, leave: () => { ranges = {}; } });
})();

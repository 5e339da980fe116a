// The table of runs, and the table of means as scripts/report.py prints it.
"use strict";
(() => {
  const { el, state, index, shown, brief, cell, button, scene, value } = isosweep;
  let order = [], current = null;
  const chosen = () => state.view.columns !== undefined ? state.view.columns.split("\n").filter(Boolean)
    : [...index().metrics.filter(m => m.shown).map(m => m.name), ...index().varied];

  function show(panel) {
    const all = index(), names = chosen();
    const metrics = all.metrics.map((m, i) => ({ ...m, i })).filter(m => names.includes(m.name));
    const keys = Object.keys({ ...all.keys, ...all.same }).filter(k => names.includes(k));
    const plain = [{ text: "Scene", class: "name" }, { text: "State", class: "name" },
      ...metrics.map(m => ({ text: m.title, title: m.name, class: "number", down: m.direction === "up" })),
      ...keys.map(k => ({ text: short(k), title: k, class: "key" }))];
    // the pinned ones first, beside the run's name
    const pins = pinned(), places = [...plain.keys()];
    const moved = pins.map(n => plain.findIndex(h => h.title === n)).filter(i => i >= 0);
    const turned = [...moved, ...places.filter(i => !moved.includes(i))];
    const heads = [{ text: "✓", sort: false, class: "tick", title: "Ticked runs are drawn in the other views" }, { text: "Run", class: "name", row: true, pin: 0 },
      ...turned.map((i, at) => ({ ...plain[i], pin: at < moved.length ? at + 1 : undefined }))];
    let visible = new Set(isosweep.runs());
    const rows = all.runs.map(run => { const [tick, title, ...others] = row(run, keys, metrics); return [tick, title, ...turned.map(i => others[i])]; });
    current?.destroy();
    const { holder, table } = isosweep.sortable("Runs", heads, rows, {
      order: order.filter(([i]) => i < heads.length), keep: i => visible.has(all.runs[i]), sorted: o => { order = o; },
      rowClass: i => all.runs[i].state === "finished" ? "" : "unfinished",
    });
    current = table;
    mark(metrics, visible);
    panel.replaceChildren(el("div", { class: "row" }, columns(names),
      button("Tick all shown", () => { state.picked = isosweep.runs().map(r => r.id); isosweep.changed("all"); }),
      button("Tick none", () => { state.picked = []; isosweep.changed("all"); }),
      el("p", { class: "note" }, "Best of each scene in bold; the bar in a cell reaches from the worst run of its scene (none) to the best (full). Keys are rounded. A click on a run's name shows all of it.")), holder);
    return what => {
      if (what === "picked" || what === "all") ticks();
      if (what === "picked" || what === "all") return true;
      if (what !== "filter") return false;
      visible = new Set(isosweep.runs());
      table.draw();
      mark(metrics, visible);
      ticks();
      return true;
    };
  }
  const boxes = new Map();
  const ticks = () => { for (const [id, box] of boxes) box.checked = state.picked.includes(id); };
  function row(run, keys, metrics) {
    const box = el("input", { type: "checkbox", checked: state.picked.includes(run.id), "aria-label": `Tick ${run.title}, ${run.scene}`,
      onchange: e => isosweep.pick(run, e.target.checked) });
    boxes.set(run.id, box);
    return [cell(box), cell(button(name(run, keys), () => isosweep.showRun(run), { class: "link clip", title: run.title }), run.title), cell(scene(run), scene(run)),
      cell(el("span", { class: `state ${run.state}`, title: run.why || null }, run.state), run.state),
      ...metrics.map(m => cell(shown(run.values[m.i] ?? null, m.digits), run.values[m.i], { "data-run": run.id, "data-metric": m.name })),
      ...keys.map(k => cell(brief(value(run, k)), value(run, k), { title: shown(value(run, k)) }))];
  }
  // A run's name without the keys that are columns.
  function name(run, keys) {
    const parts = Object.entries(run.parts || {}).filter(([k]) => !keys.some(c => c === k || c.endsWith(`.${k}`)));
    const said = parts.map(([k, v]) => ["model", "encoding", "loss", "label", "run"].includes(k) ? v : `${k}=${v}`);
    return [said.join(" ") || value(run, "label") || run.setting, run.seed === null ? "" : `s${run.seed}`].filter(Boolean).join(" ");
  }
  // Best of each scene among the visible runs, and a bar from the worst to the best of the column's scene.
  function mark(metrics, visible) {
    const cells = new Map();
    current.cells({ page: "all" }).nodes().each(n => { if (n.dataset.run) cells.set(`${n.dataset.run} ${n.dataset.metric}`, n); });
    for (const m of metrics) {
      const scenes = new Map();
      for (const run of index().runs) {
        const node = cells.get(`${run.id} ${m.name}`);
        node.classList.remove("best");
        node.style.removeProperty("--share");
        if (visible.has(run) && Number.isFinite(run.values[m.i])) scenes.set(scene(run), [...(scenes.get(scene(run)) || []), [run.values[m.i], node]]);
      }
      for (const group of m.direction === "none" ? [] : scenes.values()) {
        const numbers = group.map(g => g[0]), low = Math.min(...numbers), high = Math.max(...numbers);
        if (low === high) continue;
        const best = (m.direction === "up" ? high : low).toFixed(m.digits);
        for (const [v, node] of group) {
          const share = (v - low) / (high - low);
          node.style.setProperty("--share", `${(100 * (m.direction === "up" ? share : 1 - share)).toFixed(0)}%`);
          node.classList.toggle("best", v.toFixed(m.digits) === best);
        }
      }
    }
  }
  const pinned = () => (state.view.pinned || "").split("\n").filter(Boolean);
  const short = k => k.split(".").slice(-2).join(".");
  function columns(names) {
    const all = index();
    const toggle = (name, on) => {
      state.view.columns = (on ? [...names, name] : names.filter(n => n !== name)).join("\n");
      order = [];
      isosweep.changed("columns");
      document.querySelector("details.columns").open = true;
    };
    const pin = name => {
      state.view.pinned = (pinned().includes(name) ? pinned().filter(n => n !== name) : [...pinned(), name]).join("\n");
      order = [];
      isosweep.changed("columns");
      document.querySelector("details.columns").open = true;
    };
    const line = n => el("div", { class: "pinnable" }, isosweep.check(n, names.includes(n), on => toggle(n, on)),
      names.includes(n) ? button("Pin", () => pin(n), { "aria-pressed": String(pinned().includes(n)), "aria-label": `Pin ${n}`, title: "Keep this column beside the run's name" }) : null);
    const list = (title, items) => items.length ? el("fieldset", {}, el("legend", {}, title), items.map(line)) : null;
    return el("details", { class: "menu columns" }, el("summary", {}, "Columns"), el("div", { class: "sheet" },
      list("Scores", all.metrics.map(m => m.name)), list("Keys that differ", Object.keys(all.keys))));
  }

  const rounded = text => /^-?\d*\.\d{5,}$/.test(text) ? brief(Number(text)) : text;
  function showTable(panel) {
    const { table, refused } = index();
    if (!table) {
      panel.replaceChildren(el("p", {}, "There is no table of means of these runs:"), el("pre", { class: "problem" }, refused));
      return null;
    }
    const ledger = isosweep.ledger();
    const lines = block => block.lines.map(line => [
      ...line.labels.map((l, i) => cell(i ? rounded(l) : rounded(l) + { ours: "", external: " (external)", published: ` [${line.reference}]` }[line.kind], l)),
      ...line.cells.map(c => cell([el("span", { class: c.mark || (c.main === "failed" ? "failed" : "") }, c.main), c.extra ? ` ${c.extra}` : ""],
        isNaN(c.main) ? "" : c.main))]);
    panel.replaceChildren(el("p", { class: "note" }, "All runs of the page, whatever the filter says."), ...table.blocks.filter(b => !ledger || b.title !== "Reproduction ledger").map(block => el("section", {}, block.title ? el("h2", {}, block.title) : null,
      isosweep.sortable(block.title || "Means", [...block.labels.map((text, i) => ({ text, class: "name", row: !i })), ...block.columns.map(text => ({ text, class: "number" }))],
        lines(block), { rowClass: i => block.lines[i].kind }).holder)),
    ledger || "", ...table.notes.map(n => el("p", { class: "note" }, n)),
    table.sources.length ? el("ol", { class: "note" }, table.sources.map(s => el("li", {}, s))) : "",
    table.causes.length ? el("section", {}, el("h2", {}, "Missing and failed"), el("ul", { class: "note" }, table.causes.map(c => el("li", {}, c)))) : "");
    return null;
  }

  isosweep.views.push({ id: "runs", title: "Runs", show }, { id: "table", title: "Means", show: showTable });
})();

// The failures, the differing settings, and all details of one run.
"use strict";
(() => {
  const { el, state, select, check, button, scene, shown, index, swatch } = isosweep;
  const pre = (text, label) => el("pre", { tabindex: "0", role: "region", "aria-label": label }, text);
  const failed = () => isosweep.runs().filter(r => r.state !== "finished");

  function showFailures(panel) {
    const runs = failed(), { absent, broken, notes } = index();
    const parts = runs.map((run, i) => {
      const body = el("div", {}, "…");
      const box = el("details", { class: "failure", open: i < 3 }, el("summary", {}, el("span", { class: `state ${run.state}` }, run.state), " ", el("strong", {}, run.title), ` ${scene(run)} `, el("span", { class: "why" }, run.why)), body);
      const fill = () => isosweep.details(run).then(d => body.replaceChildren(...trouble(run, d)), e => body.replaceChildren(e.message));
      if (i < 3) fill(); else box.addEventListener("toggle", fill, { once: true });
      return box;
    });
    const list = (title, items) => items.length ? el("section", {}, el("h2", {}, title), el("ul", {}, items.map(([k, v]) => el("li", {}, v ? `${k}: ${v}` : k)))) : null;
    panel.replaceChildren(...(parts.length ? parts : [el("p", { class: "empty" }, "Every run that passes the filter is finished and has its scores.")]),
      ...[list("Planned, without a record", Object.entries(absent)), list("Records that cannot be read", Object.entries(broken)), list("Left out of this page", notes.map(n => [n]))].filter(Boolean));
    return null;
  }
  function trouble(run, d) {
    const name = isosweep.value(run, "name"), error = d.error;
    return [error && !run.why.includes(error.message) ? el("p", {}, el("strong", {}, `${error.type}: ${error.message}`)) : "",
      error?.hint ? el("p", {}, "What to do: ", error.hint) : "",
      error?.traceback ? el("div", {}, el("h3", {}, "Traceback"), pre(error.traceback, "Traceback")) : "",
      d.log ? el("div", {}, el("h3", {}, "End of run.log"), pre(d.log, "End of the log")) : el("p", { class: "note" }, "It left no log."),
      command(d), name ? el("p", { class: "note" }, "All of the sweep that did not finish: ", el("code", {}, `python scripts/runs.py retry ${name}`)) : "",
      el("p", { class: "note" }, run.folder)];
  }
  const command = d => d.overrides?.length ? el("p", {}, "Again: ", el("code", {}, `python main.py ${d.overrides.map(quoted).join(" ")}`)) : "";
  const quoted = word => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

  async function showDifferences(panel) {
    const runs = isosweep.picked(), whole = state.view.whole === "1", facts = state.view.facts === "1";
    if (!runs.length) { panel.replaceChildren(el("p", { class: "empty" }, "No run passes the filter.")); return null; }
    const found = await Promise.all(runs.map(r => isosweep.details(r).catch(() => ({ config: {}, facts: {} }))));
    const base = Math.max(0, runs.findIndex(r => r.id === state.view.base));
    const set = (key, value) => { state.view[key] = value; isosweep.changed("differences"); };
    const rows = (title, of) => {
      const keys = [...new Set(of.flatMap(o => Object.keys(o)))].sort();
      const kept = keys.filter(k => whole || of.some(o => shown(o[k]) !== shown(of[0][k])));
      return el("tbody", {}, el("tr", {}, el("th", { class: "name group", colspan: String(runs.length + 1), scope: "rowgroup" }, `${title}: ${kept.length} of ${keys.length} keys${whole ? "" : " differ"}`)),
        kept.map(k => el("tr", {}, el("th", { class: "name", scope: "row" }, k), of.map((o, i) => {
          const other = shown(o[k]) !== shown(of[base][k]);
          return el("td", { class: `value ${other ? "other" : ""}` }, shown(o[k]), other ? el("span", { class: "hidden" }, " (differs)") : "");
        }))));
    };
    panel.replaceChildren(el("div", { class: "row" },
      select("Compared with", runs.map(r => [r.id, `${r.title}, ${scene(r)}`]), runs[base].id, v => set("base", v), { id: "base" }),
      check("also what is the same", whole, on => set("whole", on ? "1" : "0"), { id: "whole" }),
      check("also machine, versions, times", facts, on => set("facts", on ? "1" : "0"), { id: "facts" }),
      el("p", { class: "note" }, "Of the ticked runs, or the first few. Marked: differs from the run that is compared with.")),
    el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Differences, scrolls sideways" }, el("table", { class: "differences", style: `--runs: ${runs.length}` }, el("thead", {}, el("tr", {}, el("th", { class: "name", scope: "col" }, "Key"),
      runs.map(r => el("th", { scope: "col", class: "name", title: r.title }, swatch(r.group), " ", isosweep.label(r, runs), el("br"), el("span", { class: "soft" }, scene(r)))))),
    rows("Settings", found.map(f => f.config || {})), facts ? rows("Facts", found.map(f => f.facts || {})) : "")));
    return null;
  }

  const KINDS = { rgb: "render", truth: "photograph", error: "error", depth: "depth", normal: "normals" };
  // All details of one run, in a dialog.
  async function showRun(run) {
    const box = document.getElementById("details");
    const d = await isosweep.details(run).catch(e => ({ config: {}, facts: {}, notes: [e.message] }));
    const pairs = (title, items) => items.length ? el("details", { open: items.length < 24 }, el("summary", {}, `${title} (${items.length})`), el("dl", {}, items.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, shown(v))]))) : null;
    const scores = index().metrics.map((m, i) => [m.title, run.values[i] === null ? null : shown(run.values[i], m.digits)]).filter(p => p[1] !== null);
    const first = Object.values(run.views)[0] || {};
    box.replaceChildren(el("form", { method: "dialog" }, el("h2", { id: "details-title" }, run.title), el("button", { "aria-label": "Close", class: "close" }, "✕")),
      el("p", {}, `${scene(run)}, `, el("span", { class: `state ${run.state}` }, run.state), run.why ? `: ${run.why}` : "", run.steps[1] ? `, step ${run.steps[0]} of ${run.steps[1]}` : ""), el("p", { class: "note" }, run.folder),
      el("div", { class: "thumbs" }, ["rgb", "truth", "error", "depth", "normal"].filter(k => first[k]).map(k => el("figure", {}, el("img", { src: first[k], alt: "", loading: "lazy" }), el("figcaption", {}, KINDS[k])))),
      Object.keys(run.views).length ? el("p", { class: "note" }, `Pictures of ${Object.keys(run.views)[0]}, one of the views of the page.`) : "",
      ...[pairs("Scores", scores), pairs("Scores it does not have, and why", Object.entries(d.reasons || {})), pairs("Facts", Object.entries(d.facts || {})), pairs("Settings", Object.entries(d.config || {}))].filter(Boolean),
      d.error?.traceback ? pre(d.error.traceback, "Traceback") : "", d.log ? el("details", {}, el("summary", {}, "End of run.log"), pre(d.log, "End of the log")) : "",
      command(d), ...(d.notes || []).map(n => el("p", { class: "problem" }, n)));
    box.showModal();
  }

  isosweep.showRun = showRun;
  isosweep.views.push({ id: "failures", title: "Failures", show: showFailures, count: () => failed().filter(r => !["running", "queued"].includes(r.state)).length }, { id: "differences", title: "Differences", show: showDifferences });
})();

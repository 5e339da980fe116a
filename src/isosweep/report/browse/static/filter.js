// The filter: which runs are shown, by words, by values of any key, and by ticks.
"use strict";
(() => {
  const { el, state, changed, index, value, shown, button } = isosweep;
  const SYMBOLS = { "=": (a, b) => same(a, b), "!=": (a, b) => !same(a, b), ">": (a, b) => a > Number(b), "<": (a, b) => a < Number(b) };
  const same = (a, b) => shown(a) === b || (typeof a === "number" && b !== "" && a === Number(b));

  // 'psnr>20', 'train.max_steps=300', or a word of the run's name, scene, state or folder.
  function term(word) {
    const found = /^([^=<>!]+)(!=|=|>|<)(.*)$/.exec(word);
    if (!found) return run => text(run).includes(word.toLowerCase());
    const [, name, sign, wanted] = found;
    const key = resolve(name);
    return run => {
      const have = value(run, key);
      return sign === "=" || sign === "!=" ? SYMBOLS[sign](have, wanted) : typeof have === "number" && SYMBOLS[sign](have, wanted);
    };
  }
  const text = run => `${run.title} ${run.dataset}/${run.scene} ${run.state} ${run.folder}`.toLowerCase();
  const all = () => ["state", ...Object.keys(index().keys), ...Object.keys(index().same), ...index().metrics.map(m => m.name)];
  // Finds a key by its whole name or by its end: 'psnr' is 'nvs/psnr', 'weight' is the first '….weight'.
  const resolve = name => all().find(k => k === name) || all().find(k => k.endsWith(`.${name}`) || k.endsWith(`/${name}`)) || name;

  function runs() {
    const terms = state.words.split(/\s+/).filter(Boolean).map(term);
    const sets = Object.entries(state.filter).map(([key, values]) => [key, new Set(values)]);
    return index().runs.filter(run => terms.every(t => t(run)) && sets.every(([k, v]) => v.has(shown(value(run, k)))));
  }
  const MOST = 6, MOST_RUNS = 90;
  // The runs to draw: the ticked ones, else the first run of each setting in the first scene.
  function picked(of = runs()) {
    const ticked = of.filter(r => state.picked.includes(r.id));
    if (ticked.length) return ticked;
    const whole = of.filter(r => r.state === "finished"), some = whole.length ? whole : of;
    const first = new Map();
    for (const r of some) if (isosweep.scene(r) === isosweep.scene(some[0]) && !first.has(r.setting)) first.set(r.setting, r);
    const one = [...first.values()];
    return [...one, ...some.filter(r => !one.includes(r))].slice(0, one.length > 1 ? Math.min(one.length, MOST) : MOST);
  }
  // The runs to draw as settings: the ticked ones, else all runs of the first few settings, in all scenes.
  function grouped(of = runs()) {
    const ticked = of.filter(r => state.picked.includes(r.id));
    if (ticked.length) return ticked;
    const groups = [...new Set(of.filter(r => r.curves.length).map(r => r.group))].slice(0, MOST);
    return of.filter(r => groups.includes(r.group)).slice(0, MOST_RUNS);
  }
  function pick(run, on) {
    state.picked = state.picked.filter(id => id !== run.id);
    if (on) state.picked.push(run.id);
    changed("picked");
  }

  let key = "", open = false;
  function show() {
    const box = document.getElementById("filter");
    const some = runs(), total = index().runs.length;
    const count = document.getElementById("count");
    if (count && box.contains(document.activeElement) && document.activeElement.id === "words") {
      count.textContent = counted(some, total);  // keep the search field: the user is typing in it
      return;
    }
    const back = document.activeElement && box.contains(document.activeElement) ? document.activeElement.id : "";
    const differ = Object.keys(index().keys), alike = Object.keys(index().same);
    const chips = Object.entries(state.filter).flatMap(([k, values]) => values.map(v => button(`${k} = ${v} ✕`, () => set(k, v, false),
      { class: "chip", "aria-label": `Remove filter ${k} = ${v}` })));
    box.replaceChildren(
      el("div", { class: "row" },
        el("label", { class: "field grow" }, el("span", {}, "Search"),
          el("input", { id: "words", type: "search", value: state.words, autocomplete: "off", spellcheck: false,
            placeholder: "words, key=value, psnr>25", oninput: e => { state.words = e.target.value; changed("filter"); } })),
        isosweep.select("Filter by", [["", "choose a key…"], ["state", "state"], { label: "keys that differ", options: differ.map(k => [k, k]) },
          { label: "the same in all runs", options: alike.map(k => [k, k]) }], key,
          k => { key = k; open = Boolean(k); show(); if (k) document.querySelector("#values input")?.focus(); }, { id: "filter-key" }),
        el("p", { id: "count", role: "status" }, counted(some, total)),
        (chips.length || state.words || state.picked.length) ? button("Clear", () => {
          state.filter = {}; state.words = ""; state.picked = []; key = ""; changed("filter"); }, { id: "clear" }) : null),
      open && key ? values() : "", chips.length ? el("div", { class: "row chips" }, chips) : "");
    if (back) document.getElementById(back)?.focus();
  }
  const counted = (some, total) => {
    const ticked = some.filter(r => state.picked.includes(r.id)).length;
    return `${some.length} of ${total} runs${ticked ? `, ${ticked} ticked` : ""}`;
  };
  function values() {
    const counts = new Map();
    for (const run of index().runs) { const v = shown(value(run, key)); counts.set(v, (counts.get(v) || 0) + 1); }
    const order = new Intl.Collator(undefined, { numeric: true });
    const names = [...counts.keys()].sort(order.compare);
    return el("fieldset", { id: "values", onkeydown: e => { if (e.key === "Escape") close(); } }, el("legend", {}, key),
      names.map((v, i) => isosweep.check(`${v} (${counts.get(v)})`, (state.filter[key] || []).includes(v), on => set(key, v, on), { id: `value-${i}` })),
      button("Done", close));
  }
  function close() { open = false; key = ""; show(); document.getElementById("filter-key")?.focus(); }
  function set(k, v, on) {
    const left = (state.filter[k] || []).filter(x => x !== v);
    if (on) left.push(v);
    if (left.length) state.filter[k] = left; else delete state.filter[k];
    changed("filter");
  }

  Object.assign(isosweep, { runs, picked, grouped, pick, showFilter: show });
})();

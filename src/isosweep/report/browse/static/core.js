// What every view uses: data loaded by scripts, elements made without markup, the state of the page, colours.
"use strict";
window.isosweep = (() => {
  const store = new Map(), requested = new Map();
  const views = [];  // {id, title, show(panel), count?()}
  const watchers = [];

  // Called by the scripts in runs/ and meshes/.
  function put(name, value) { store.set(name, value); }

  // Loads the value of `name` from a script in the page's folder: a page opened from disk may not fetch files.
  function load(name, file) {
    if (store.has(name)) return Promise.resolve(store.get(name));
    if (!requested.has(name)) {
      requested.set(name, new Promise((done, fail) => {
        const tag = document.createElement("script");
        tag.src = file;
        tag.onload = () => done(store.get(name));
        tag.onerror = () => { requested.delete(name); fail(new Error(`${file} is not in the page's folder`)); };
        document.head.append(tag);
      }));
    }
    return requested.get(name);
  }
  const details = run => load(`run/${run.id}`, `runs/${run.id}.js`);

  // Makes an element. Children and attributes are text, so that nothing in a record becomes markup.
  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (key in made && typeof value !== "string") made[key] = value;
      else made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.flat().filter(c => c !== null && c !== undefined && c !== false));
    return made;
  }

  function shown(value, digits) {
    if (value === null || value === undefined || value === "") return "–";
    if (typeof value === "boolean") return value ? "true" : "false";
    if (typeof value === "number" && digits !== undefined) return Number.isFinite(value) ? value.toFixed(digits) : String(value);
    return String(value);
  }

  // A value of a key: numbers rounded to four digits, as they stand in a table; the whole value is said on hover.
  const brief = value => typeof value === "number" ? String(Number(value.toPrecision(4))) : shown(value);

  // A select with options [value, text] or {label, options}.
  function select(label, options, value, change, attributes = {}) {
    const option = ([v, text]) => el("option", { value: v, selected: v === value }, text);
    const box = el("select", { ...attributes, onchange: e => change(e.target.value) },
      options.map(o => Array.isArray(o) ? option(o) : el("optgroup", { label: o.label }, o.options.map(option))));
    return el("label", { class: "field" }, el("span", {}, label), box);
  }

  // Radio buttons that look like one bar; arrow keys work because they are radio buttons.
  function choice(label, name, options, value, change) {
    return el("fieldset", { class: "choice" }, el("legend", {}, label), options.map(([v, text]) =>
      el("label", {}, el("input", { type: "radio", name, value: v, checked: v === value, onchange: () => change(v) }),
        el("span", {}, text))));
  }

  const check = (text, value, change, attributes = {}) => el("label", { class: "check" },
    el("input", { type: "checkbox", checked: value, onchange: e => change(e.target.checked), ...attributes }), " ", text);
  const button = (text, click, attributes = {}) => el("button", { type: "button", onclick: click, ...attributes }, text);

  // The colours of Okabe and Ito can be distinguished with every kind of colour vision. After seven runs, dashes follow.
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", null];
  const DASHES = [[], [8, 4], [2, 3], [9, 3, 2, 3]];
  const dark = () => {
    const set = document.documentElement.dataset.theme;
    return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const style = number => ({
    colour: COLOURS[number % 7] || (dark() ? "#f0e442" : "#1a1a1a"), dash: DASHES[Math.floor(number / 7) % 4],
  });
  function swatch(number) {
    const { colour, dash } = style(number);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    line.setAttribute("class", "swatch");
    line.setAttribute("aria-hidden", "true");
    line.setAttribute("viewBox", "0 0 22 8");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [k, v] of Object.entries({ d: "M0 4H22", stroke: colour, "stroke-width": 3, "stroke-dasharray": dash.join(" ") })) path.setAttribute(k, v);
    line.append(path);
    return line;
  }

  // The state is kept in the page's address, so that a view can be bookmarked. Lists are joined by commas.
  const state = { tab: "runs", filter: {}, words: "", picked: [], view: {} };
  function read() {
    const found = new URLSearchParams(location.hash.slice(1));
    state.tab = found.get("tab") || "runs";
    state.words = found.get("words") || "";
    state.picked = (found.get("picked") || "").split(",").filter(Boolean);
    state.filter = {};
    state.view = {};
    for (const [key, value] of found) {
      if (key.startsWith("f.")) (state.filter[key.slice(2)] ||= []).push(value);
      else if (key.startsWith("v.")) state.view[key.slice(2)] = value;
    }
  }
  function write() {
    const made = new URLSearchParams({ tab: state.tab });
    if (state.words) made.set("words", state.words);
    if (state.picked.length) made.set("picked", state.picked.join(","));
    for (const [key, values] of Object.entries(state.filter)) for (const v of values) made.append(`f.${key}`, v);
    for (const [key, value] of Object.entries(state.view)) if (value !== undefined && value !== null) made.set(`v.${key}`, value);
    history.replaceState(null, "", `#${made}`);
  }
  function changed(what = "") { write(); for (const watch of watchers) watch(what); }

  // The name of a run among others: the parts of its setting in which they differ, and its seed if they have several.
  function label(run, among) {
    const keys = Object.keys(run.parts || {}).filter(k => among.some(r => (r.parts || {})[k] !== run.parts[k]));
    const said = keys.map(k => ["model", "encoding", "loss", "label"].includes(k) || k === "run" ? run.parts[k] : `${k}=${run.parts[k]}`);
    const seeds = among.some(r => r !== run && r.group === run.group && scene(r) === scene(run));
    return [said.join(" ") || run.setting, seeds && run.seed !== null ? `s${run.seed}` : ""].filter(Boolean).join(" ");
  }

  // A colour of viridis: dark and blue at 0, yellow at 1.
  const RAMP = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];
  function ramp(share) {
    const at = Math.min(0.9999, Math.max(0, share)) * (RAMP.length - 1), i = Math.floor(at), part = at - i;
    const [a, b] = [RAMP[i], RAMP[i + 1]].map(c => [1, 3, 5].map(k => parseInt(c.slice(k, k + 2), 16)));
    return `rgb(${a.map((v, k) => Math.round(v + part * (b[k] - v))).join(",")})`;
  }
  function download(blob, name) {
    const address = URL.createObjectURL(blob);
    el("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  const scene = run => `${run.dataset}/${run.scene}`;
  const index = () => store.get("index");
  // The value of a key in a run: field, config key or score.
  function value(run, key) {
    const all = index();
    if (key === "state") return run.state;
    if (key in all.keys) return all.keys[key].values[all.keys[key].of[run.number]];
    if (key in all.same) return all.same[key];
    const metric = all.metrics.findIndex(m => m.name === key);
    return metric < 0 ? undefined : run.values[metric];
  }

  return { put, load, details, el, shown, brief, select, choice, check, button, dark, style, swatch, state, read, write, changed,
    label, ramp, download, scene, index, value, views, watchers };
})();

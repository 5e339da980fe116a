// Tabs, theme, and redrawing the open view when something changes.
"use strict";
(() => {
  const { el, state, views, index } = isosweep;
  index().runs.forEach((run, number) => { run.number = number; });
  const panel = document.getElementById("panel"), tabs = document.getElementById("tabs");
  let update = null, drawn = null;

  function tab(view) {
    const count = view.count?.() || 0;
    return el("button", { type: "button", role: "tab", id: `tab-${view.id}`, "aria-controls": "panel", "aria-selected": String(view.id === state.tab), tabindex: view.id === state.tab ? "0" : "-1",
      onclick: () => open(view.id), onkeydown: e => {
        const by = { ArrowRight: 1, ArrowLeft: -1, Home: -views.indexOf(view), End: views.length - 1 - views.indexOf(view) }[e.key];
        if (by === undefined) return;
        e.preventDefault();
        open(views[(views.indexOf(view) + by + views.length) % views.length].id);
        document.getElementById(`tab-${state.tab}`).focus();
      } }, view.title, count ? el("span", { class: "badge" }, String(count)) : "");
  }
  function open(id) { state.tab = id; isosweep.write(); draw(); }

  let turn = 0;
  async function draw() {
    const mine = ++turn;
    const view = views.find(v => v.id === state.tab) || views[0];
    const back = document.activeElement && panel.contains(document.activeElement) ? document.activeElement : null;
    if (drawn && drawn !== view) drawn.leave?.();
    drawn = view;
    update = null;
    const place = tabs.contains(document.activeElement);
    tabs.replaceChildren(...views.map(tab));
    if (place) document.getElementById(`tab-${view.id}`).focus();
    document.getElementById(`tab-${view.id}`).scrollIntoView({ block: "nearest", inline: "nearest" });
    panel.setAttribute("aria-labelledby", `tab-${view.id}`);
    panel.dataset.view = view.id;
    const made = await view.show(panel);
    if (mine !== turn) return;
    update = made || null;
    panel.dataset.drawn = view.id;
    if (back && !back.isConnected) again(back)?.focus({ preventScroll: true });  // keep the keyboard focus
  }
  function again(old) {
    if (old.id) return document.getElementById(old.id);
    if (old.type === "radio") return panel.querySelector(`input[name="${old.name}"]:checked`);
    const label = old.getAttribute("aria-label");
    return label ? [...panel.querySelectorAll(old.tagName)].find(x => x.getAttribute("aria-label") === label) : null;
  }

  isosweep.watchers.push(what => {
    if (["filter", "picked", "all"].includes(what)) {
      isosweep.showFilter();
      tabs.replaceChildren(...views.map(tab));
    }
    if (!update || !update(what)) draw();
  });

  const THEMES = ["", "light", "dark"], SIGNS = { "": "◐", light: "☀", dark: "☾" };
  document.getElementById("theme").addEventListener("click", e => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "") + 1) % 3];
    if (next) document.documentElement.dataset.theme = next; else delete document.documentElement.dataset.theme;
    e.target.textContent = SIGNS[next];
    e.target.setAttribute("aria-label", `Colours: ${next || "as the system"}`);
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("hashchange", () => { isosweep.read(); isosweep.showFilter(); draw(); });

  const all = index(), done = all.runs.filter(r => r.state === "finished").length;
  const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  document.getElementById("about").textContent = `${count(all.runs.length, "run")}, ${done} finished, ${count(Object.keys(all.scenes).length, "scene")}; made ${all.made}`;
  isosweep.read();
  isosweep.showFilter();
  draw();
})();

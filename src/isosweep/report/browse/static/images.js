// Renders: a slider between two runs or a run and the photograph, all kinds of picture of both, and every run beside.
"use strict";
(() => {
  const { el, state, select, choice, check, button, scene, shown, index } = isosweep;
  const KINDS = [["rgb", "Render"], ["error", "Error"], ["depth", "Depth"], ["normal", "Normals"]];
  const TRUTH = "truth", ZOOMS = ["fit", "1", "2", "4", "8"];
  let cut = 50, peek = false;

  function show(panel) {
    const { view } = state;
    const all = isosweep.runs().filter(r => Object.keys(r.views).length);
    const scenes = [...new Set(all.map(scene))];
    if (!scenes.length) {
      panel.replaceChildren(el("p", { class: "empty" }, "No run that passes the filter has saved renders (export.renders)."));
      return null;
    }
    if (!scenes.includes(view.scene)) view.scene = scenes[0];
    const runs = all.filter(r => scene(r) === view.scene);
    const names = [...new Set(runs.flatMap(r => Object.keys(r.views)))].sort(new Intl.Collator(undefined, { numeric: true }).compare);
    if (!names.includes(view.view)) view.view = names[0];
    if (!KINDS.some(k => k[0] === view.kind)) view.kind = "rgb";
    const first = isosweep.picked(runs);
    const known = id => id === TRUTH || runs.some(r => r.id === id);
    if (!known(view.left)) view.left = first[0].id;
    if (!known(view.right)) view.right = (first.find(r => r.id !== view.left) || { id: TRUTH }).id;
    const truth = runs.map(r => r.views[view.view]?.truth).find(Boolean);
    const side = id => id === TRUTH ? { id, title: "ground truth", files: { rgb: truth, truth } }
      : { id, title: runs.find(r => r.id === id).title, files: runs.find(r => r.id === id).views[view.view] || {}, run: runs.find(r => r.id === id) };
    const left = side(view.left), right = side(view.right);
    const set = (key, value) => { view[key] = value; isosweep.changed("images"); };
    const options = [[TRUTH, "ground truth"], { label: "runs", options: runs.map(r => [r.id, r.title]) }];
    const turn = by => set("view", names[(names.indexOf(view.view) + by + names.length) % names.length]);

    panel.replaceChildren(
      el("div", { class: "row" },
        select("Scene", scenes.map(s => [s, s]), view.scene, v => set("scene", v), { id: "image-scene" }),
        el("div", { class: "row tight" }, button("‹", () => turn(-1), { id: "previous", "aria-label": "Previous view" }),
          select("View", names.map(n => [n, n]), view.view, v => set("view", v), { id: "image-view" }), button("›", () => turn(1), { id: "next", "aria-label": "Next view" })),
        choice("Show", "kind", KINDS, view.kind, v => set("kind", v)),
        select("Zoom", ZOOMS.map(z => [z, z === "fit" ? "fit" : `${z}×`]), view.zoom || "fit", v => set("zoom", v), { id: "zoom" })),
      el("div", { class: "row" },
        select("Left", options, view.left, v => set("left", v), { id: "left" }),
        button("⇄", () => { [view.left, view.right] = [view.right, view.left]; isosweep.changed("images"); }, { id: "swap", "aria-label": "Exchange left and right" }),
        select("Right", options, view.right, v => set("right", v), { id: "right" }),
        button("Ground truth", e => { peek = !peek; e.target.setAttribute("aria-pressed", peek); document.getElementById("compare").classList.toggle("peek", peek); },
          { id: "peek", "aria-pressed": String(peek), title: "Show the photograph instead of both" })),
      el("div", { class: "bench" }, el("div", { class: "main" }, stage(left, right, truth), view.kind === "error" ? scale() : null), both(left, right, set)),
      el("h2", {}, `All ${runs.length} runs of ${view.scene}, ${view.view}`), strip(runs, truth, set));
    return null;
  }

  const file = (side, kind) => side.files[side.id === TRUTH ? "truth" : kind];
  const picture = (side, kind, attributes = {}) => file(side, kind)
    ? el("img", { src: file(side, kind), alt: `${name(kind)}, ${side.title}`, draggable: false, ...attributes })
    : el("p", { class: "absent" }, `${side.title} has no ${name(kind).toLowerCase()} here`);
  const name = kind => KINDS.find(k => k[0] === kind)[1];

  function stage(left, right, truth) {
    const { kind } = state.view, zoom = state.view.zoom || "fit";
    const range = el("input", { type: "range", id: "cut", min: 0, max: 100, step: 1, value: cut, oninput: e => place(Number(e.target.value)),
      "aria-label": `Border between ${left.title} on the left and ${right.title} on the right, in per cent of the width` });
    const box = el("div", { id: "compare", class: `compare ${zoom === "fit" ? "fit" : "zoomed"} ${peek ? "peek" : ""}` },
      picture(right, kind, { class: "under" }), el("div", { class: "over" }, picture(left, kind)),
      truth ? el("img", { class: "photo", src: truth, alt: "ground truth", draggable: false }) : null,
      el("span", { class: "tag left" }, left.title), el("span", { class: "tag right" }, right.title), range, el("div", { class: "bar", "aria-hidden": "true" }));
    const place = value => {
      cut = value;
      range.value = String(value);
      box.style.setProperty("--cut", `${value}%`);
    };
    place(cut);
    const follow = e => {
      const edge = box.getBoundingClientRect();
      place(Math.round(1000 * Math.min(1, Math.max(0, (e.clientX - edge.left) / edge.width))) / 10);
    };
    box.addEventListener("pointerdown", e => { box.setPointerCapture(e.pointerId); follow(e); range.focus({ preventScroll: true }); e.preventDefault(); });
    box.addEventListener("pointermove", e => { if (box.hasPointerCapture(e.pointerId)) follow(e); });
    const size = () => {
      const image = box.querySelector("img");
      if (!image?.naturalWidth) return;
      box.style.setProperty("--width", `${zoom === "fit" ? 900 : image.naturalWidth * Number(zoom)}px`);
      box.style.setProperty("--aspect", String(image.naturalWidth / image.naturalHeight));
      box.classList.toggle("coarse", box.clientWidth >= 2 * image.naturalWidth);  // show large pixels with sharp edges
    };
    box.querySelectorAll("img").forEach(i => i.addEventListener("load", size));
    size();
    return el("div", { class: "scroll" }, box);
  }

  function scale() {
    const { top, colours } = index().error;
    return el("p", { class: "scale" }, "|render − photograph|, mean of the channels: 0 ", el("span", { class: "ramp", style: `background: linear-gradient(to right, ${colours.join(", ")})`, "aria-hidden": "true" }),
      ` ${top} and more (white is 1)`);
  }

  // Every kind of picture of both sides, and the scores of this view.
  function both(left, right, set) {
    const row = side => [el("tr", {}, el("th", { scope: "rowgroup", class: "name", colspan: "4" }, side.title, " ", scores(side))), el("tr", {}, KINDS.map(([kind, text]) => el("td", {},
      file(side, kind) && (side.run || kind === "rgb") ? el("button", { type: "button", class: "picture", "aria-label": `Show ${text.toLowerCase()} in the slider`, onclick: () => set("kind", kind) },
        el("img", { src: file(side, kind), alt: `${text}, ${side.title}`, loading: "lazy" })) : "–")))];
    return el("div", { class: "wide" }, el("table", { class: "both" }, el("thead", {}, el("tr", {}, KINDS.map(([, text]) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, row(left)), el("tbody", {}, row(right))), el("p", { class: "note" }, "Depth: bright is near; each picture has a range of its own, as the run saved it."));
  }
  function scores(side) {
    const list = el("span", { class: "scores" });
    if (side.run) isosweep.details(side.run).then(d => {
      const found = d.per_view?.[state.view.view] || {};
      list.replaceChildren(...Object.entries(found).filter(([k]) => k.startsWith("nvs/")).map(([k, v]) => el("span", {}, `${k.slice(4)} ${shown(v, k.includes("psnr") ? 2 : 3)}`)));
    }, () => {});
    return list;
  }

  function strip(runs, truth, set) {
    const { kind, view, left, right } = state.view;
    const card = (side, caption) => el("figure", { class: `card ${side.id === left || side.id === right ? "used" : ""}` },
      picture(side, kind, { loading: "lazy" }), el("figcaption", {}, caption),
      el("div", { class: "row tight" }, button("Left", () => set("left", side.id), { "aria-pressed": String(side.id === left), "aria-label": `${side.title} to the left` }),
        button("Right", () => set("right", side.id), { "aria-pressed": String(side.id === right), "aria-label": `${side.title} to the right` })));
    const psnr = index().metrics.findIndex(m => m.name === "nvs/psnr");
    return el("div", { class: "strip" }, truth ? card({ id: TRUTH, title: "ground truth", files: { truth } }, "ground truth") : null,
      runs.map(r => card({ id: r.id, title: r.title, files: r.views[view] || {}, run: r },
        [r.title, psnr >= 0 && Number.isFinite(r.values[psnr]) ? el("span", { class: "soft" }, ` ${r.values[psnr].toFixed(2)} dB`) : ""])));
  }

  isosweep.views.push({ id: "images", title: "Images", show });
})();

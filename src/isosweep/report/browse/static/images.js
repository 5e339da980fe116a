// Renders: a slider between two runs or a run and the photograph, all kinds of picture of both, crops, and every run.
"use strict";
(() => {
  const { el, state, select, choice, button, scene, shown, index, crops } = isosweep;
  const KINDS = [["rgb", "Render"], ["error", "Error"], ["depth", "Depth"], ["normal", "Normals"]];
  const TRUTH = "truth", ZOOMS = ["fit", "1", "2", "4", "8"];
  let cut = 50, peek = false, cropping = false;

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
      : { id, title: isosweep.label(runs.find(r => r.id === id), runs), files: runs.find(r => r.id === id).views[view.view] || {}, run: runs.find(r => r.id === id) };
    const left = side(view.left), right = side(view.right);
    const set = (key, value) => { view[key] = value; isosweep.changed("images"); };
    const options = [[TRUTH, "ground truth"], { label: "runs", options: runs.map(r => [r.id, isosweep.label(r, runs)]) }];
    const turn = by => set("view", names[(names.indexOf(view.view) + by + names.length) % names.length]);

    const sides = [{ ...side(TRUTH), psnr: "" }, ...runs.map(r => ({ ...side(r.id), psnr: psnr(r) }))].map(s => ({ title: s.title, psnr: s.psnr, file: file(s, view.kind) }));
    const crop = el("div", {});
    const renew = () => crop.replaceChildren(crops.strip(sides, Number(getComputedStyle(document.getElementById("compare")).getPropertyValue("--aspect")) || 1, view.kind));
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
          { id: "peek", "aria-pressed": String(peek), title: "Show the photograph instead of both" }),
        button("Crop", e => { cropping = !cropping; e.target.setAttribute("aria-pressed", cropping); }, { id: "crop", "aria-pressed": String(cropping), title: "Then drag a box on the picture" })),
      el("div", { class: "bench" }, el("div", { class: "main" }, stage(left, right, truth, renew), scale()), both(left, right, truth, set)), crop,
      el("h2", {}, `All ${runs.length} runs of ${view.scene}, ${view.view}`), strip(runs, truth, set));
    renew();
    fit();
    return null;
  }

  // The picture is as tall as the window leaves room for.
  function fit() {
    const box = document.getElementById("compare");
    if (box) box.style.setProperty("--tall", `${Math.max(260, innerHeight - box.getBoundingClientRect().top - scrollY - 60)}px`);
  }
  addEventListener("resize", fit);
  const psnr = run => Number.isFinite(run.psnr?.[state.view.view]) ? `${run.psnr[state.view.view].toFixed(2)} dB` : "";
  const file = (side, kind) => side.files[side.id === TRUTH ? "truth" : kind];
  const picture = (side, kind, attributes = {}) => file(side, kind)
    ? el("img", { src: file(side, kind), alt: `${name(kind)}, ${side.title}`, draggable: false, ...attributes })
    : el("p", { class: "absent" }, `${side.title} has no ${name(kind).toLowerCase()} here`);
  const name = kind => KINDS.find(k => k[0] === kind)[1];

  function stage(left, right, truth, renew) {
    const { kind } = state.view, zoom = state.view.zoom || "fit";
    const range = el("input", { type: "range", id: "cut", min: 0, max: 100, step: 1, value: cut, oninput: e => place(Number(e.target.value)),
      "aria-label": `Border between ${left.title} on the left and ${right.title} on the right, in per cent of the width` });
    const box = el("div", { id: "compare", class: `compare boxed ${zoom === "fit" ? "fit" : "zoomed"} ${peek ? "peek" : ""}` },
      picture(right, kind, { class: "under" }), el("div", { class: "over" }, picture(left, kind)),
      truth ? el("img", { class: "photo", src: truth, alt: "ground truth", draggable: false }) : null,
      el("span", { class: "tag left", title: left.run?.title }, named(left, right), tagged(left)), el("span", { class: "tag right", title: right.run?.title }, named(right, left), tagged(right)), range,
      crops.box() ? el("div", { class: "cropped", "aria-hidden": "true" }) : null, el("div", { class: "bar", "aria-hidden": "true" }));
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
    crops.drawable(box, () => cropping, () => {
      cropping = false;
      isosweep.changed("images");
    });
    box.addEventListener("pointerdown", e => { box.setPointerCapture(e.pointerId); follow(e); range.focus({ preventScroll: true }); e.preventDefault(); });
    box.addEventListener("pointermove", e => { if (box.hasPointerCapture(e.pointerId)) follow(e); });
    const size = () => {
      const image = box.querySelector("img");
      if (!image?.naturalWidth) return;
      box.style.setProperty("--width", `${zoom === "fit" ? 900 : image.naturalWidth * Number(zoom)}px`);
      box.style.setProperty("--aspect", String(image.naturalWidth / image.naturalHeight));
      document.querySelector(".crops")?.style.setProperty("--aspect", String(image.naturalWidth / image.naturalHeight));
      box.classList.toggle("coarse", box.clientWidth >= 2 * image.naturalWidth);  // show large pixels with sharp edges
    };
    box.querySelectorAll("img").forEach(i => i.addEventListener("load", size));
    size();
    setTimeout(() => { crops.place(); renew(); });
    return el("div", { class: "scroll" }, box);
  }

  // On the picture only what differs between its two sides, and the PSNR of this view.
  const named = (side, other) => side.run && other.run && side.run !== other.run ? isosweep.label(side.run, [side.run, other.run]) : side.title;
  const tagged = side => side.run && psnr(side.run) ? [el("br"), psnr(side.run)] : "";
  function scale() {
    const { top, colours } = index().error;
    return el("p", { class: "scale" }, "Error: |render − photograph|, mean of the channels: 0 ", el("span", { class: "ramp", style: `background: linear-gradient(to right, ${colours.join(", ")})`, "aria-hidden": "true" }),
      ` ${top} and more (white is 1)`);
  }

  // Every kind of picture of both sides, and the scores of this view.
  function both(left, right, truth, set) {
    const seen = truth ? el("td", {}, el("img", { src: truth, alt: "ground truth", loading: "lazy" })) : el("td", {}, "–");
    const row = side => [el("tr", {}, el("th", { scope: "rowgroup", class: "name", colspan: "5" }, side.title, " ", scores(side))), el("tr", {}, seen.cloneNode(true), KINDS.map(([kind, text]) => el("td", {},
      file(side, kind) && (side.run || kind === "rgb") ? el("button", { type: "button", class: "picture", "aria-label": `Show ${text.toLowerCase()} in the slider`, onclick: () => set("kind", kind) },
        el("img", { src: file(side, kind), alt: `${text}, ${side.title}`, loading: "lazy" })) : "–")))];
    return el("div", { class: "wide" }, el("table", { class: "both" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Truth"), KINDS.map(([, text]) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, row(left)), el("tbody", {}, row(right))), el("p", { class: "note" }, "Depth: bright is near; each picture has a range of its own, as the run saved it."));
  }
  function scores(side) {
    const list = el("span", { class: "scores" });
    if (side.run) isosweep.details(side.run).then(d => {
      const found = d.per_view?.[state.view.view] || {};
      list.replaceChildren(...Object.entries(found).filter(([k]) => /^(nvs|train_view)\//.test(k)).map(([k, v]) => el("span", {}, `${k.split("/")[1]} ${shown(v, k.includes("psnr") ? 2 : 3)}`)));
    }, () => {});
    return list;
  }

  function strip(runs, truth, set) {
    const { kind, view, left, right } = state.view;
    const card = (side, caption) => el("figure", { class: `card ${side.id === left || side.id === right ? "used" : ""}` },
      picture(side, kind, { loading: "lazy" }), el("figcaption", {}, caption),
      el("div", { class: "row tight" }, button("Left", () => set("left", side.id), { "aria-pressed": String(side.id === left), "aria-label": `${side.title} to the left` }),
        button("Right", () => set("right", side.id), { "aria-pressed": String(side.id === right), "aria-label": `${side.title} to the right` })));
    return el("div", { class: "strip" }, truth ? card({ id: TRUTH, title: "ground truth", files: { truth } }, "ground truth") : null,
      runs.map(r => card({ id: r.id, title: isosweep.label(r, runs), files: r.views[view] || {}, run: r },
        [el("span", { title: r.title }, isosweep.label(r, runs)), el("span", { class: "soft psnr" }, psnr(r) ? ` ${psnr(r)}` : " PSNR –")])));
  }

  isosweep.views.push({ id: "images", title: "Images", show });
})();

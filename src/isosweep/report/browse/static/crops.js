// Crops of one picture over all methods: they show the same box and move together, and become a figure for a paper.
"use strict";
(() => {
  const { el, state, button, load, download } = isosweep;
  const WIDTH = 220, GAP = 8, LINE = 18, MOST = 8;  // of the figure, in pixels
  const RED = "#d55e00";

  // The box in fractions of the picture, from the page's address; null if there is none.
  function box() {
    const found = (state.view.crop || "").split(",").map(Number);
    return found.length === 4 && found.every(Number.isFinite) && found[2] > found[0] && found[3] > found[1] ? found : null;
  }
  const round = v => Math.round(1e4 * v) / 1e4;
  function keep([x0, y0, x1, y1]) {
    const w = Math.min(1, Math.max(0.02, x1 - x0)), h = Math.min(1, Math.max(0.02, y1 - y0));
    const x = Math.min(1 - w, Math.max(0, x0)), y = Math.min(1 - h, Math.max(0, y0));
    state.view.crop = [x, y, x + w, y + h].map(round).join(",");
    isosweep.write();
    place();
  }
  // Every element with the class "boxed" has the box as CSS variables.
  function place() {
    const [x0, y0, x1, y1] = box() || [0, 0, 1, 1];
    for (const target of document.querySelectorAll(".boxed"))
      for (const [k, v] of Object.entries({ x: x0, y: y0, w: x1 - x0, h: y1 - y0 })) target.style.setProperty(`--${k}`, String(v));
  }

  // Lets a box be drawn on the stage while `on()` is true or Shift is held.
  function drawable(stage, on, done) {
    let from = null;
    const at = e => { const r = stage.getBoundingClientRect(); return [(e.clientX - r.left) / r.width, (e.clientY - r.top) / r.height].map(v => Math.min(1, Math.max(0, v))); };
    const make = e => { const [x, y] = at(e); return [Math.min(x, from[0]), Math.min(y, from[1]), Math.max(x, from[0]), Math.max(y, from[1])]; };
    stage.addEventListener("pointerdown", e => {
      if (!on() && !e.shiftKey) return;
      from = at(e); stage.setPointerCapture(e.pointerId); e.preventDefault(); e.stopImmediatePropagation();
    }, true);
    stage.addEventListener("pointermove", e => { if (from) { keep(make(e)); e.stopImmediatePropagation(); } }, true);
    stage.addEventListener("pointerup", e => {
      if (!from) return;
      const made = make(e);
      from = null;
      if (made[2] - made[0] > 0.005 && made[3] - made[1] > 0.005) keep(made);
      done();
    }, true);
  }

  // sides: {title, file, psnr}. A drag on one crop, or an arrow key, moves all; + and − change the box.
  function strip(sides, aspect, kind) {
    if (!box()) return el("p", { class: "note" }, "Crop: drag a box on the picture (Shift and drag, or press Crop first). The same box is then shown of every method, and the figure can be saved as PNG or SVG.");
    const shown = sides.filter(s => s.file);
    const list = el("div", { class: "crops boxed", style: `--aspect: ${aspect}` }, shown.map(side => el("figure", { class: "crop" },
      el("div", { class: "hole", tabindex: "0", role: "img", "aria-label": `Crop of ${side.title}. Arrow keys move it, plus and minus change it.`, onkeydown: e => key(e), onpointerdown: e => drag(e) },
        el("img", { src: side.file, alt: "", draggable: false })), el("figcaption", {}, side.title, el("span", { class: "soft" }, side.psnr ? ` ${side.psnr}` : "")))));
    const problem = el("span", { class: "problem" });
    const save = type => figure(shown.slice(0, MOST), aspect, type).then(blob => download(blob, `crops-${kind}.${type}`), e => { problem.textContent = ` ${e.message}`; });
    setTimeout(place);
    return el("section", {}, el("div", { class: "row" }, el("h2", {}, "Crops"), button("Save PNG", () => save("png"), { id: "save-png" }), button("Save SVG", () => save("svg"), { id: "save-svg" }),
      button("No crop", () => { delete state.view.crop; isosweep.changed("images"); }, { id: "no-crop" }), problem), list);
  }
  function key(e) {
    const [x0, y0, x1, y1] = box(), sx = 0.1 * (x1 - x0), sy = 0.1 * (y1 - y0);
    const to = { ArrowLeft: [-sx, 0, -sx, 0], ArrowRight: [sx, 0, sx, 0], ArrowUp: [0, -sy, 0, -sy], ArrowDown: [0, sy, 0, sy], "+": [sx, sy, -sx, -sy], "=": [sx, sy, -sx, -sy], "-": [-sx, -sy, sx, sy] }[e.key];
    if (!to) return;
    e.preventDefault();
    keep([x0 + to[0], y0 + to[1], x1 + to[2], y1 + to[3]]);
  }
  function drag(e) {
    const hole = e.currentTarget, start = [e.clientX, e.clientY], first = box(), size = hole.getBoundingClientRect();
    hole.setPointerCapture(e.pointerId);
    hole.focus({ preventScroll: true });
    e.preventDefault();
    const move = m => {
      const dx = (start[0] - m.clientX) / size.width * (first[2] - first[0]), dy = (start[1] - m.clientY) / size.height * (first[3] - first[1]);
      keep([first[0] + dx, first[1] + dy, first[2] + dx, first[3] + dy]);
    };
    hole.addEventListener("pointermove", move);
    hole.addEventListener("pointerup", () => hole.removeEventListener("pointermove", move), { once: true });
  }

  // The pixels of a picture as a data address. Those of a file may not be read on a page that was opened from disk, so
  // the page brings them a second time, as scripts, as far as there is room.
  const pixels = file => load(`picture/${file}`, `${file}.js`).catch(() => {
    throw new Error("The page has no room for the pixels of these pictures: make one of fewer runs (--where), and save the figure there.");
  });
  // Each side as a column: the whole picture with the box, the crop, name and PSNR.
  async function figure(sides, aspect, type) {
    const [x0, y0, x1, y1] = box(), tall = WIDTH / aspect, crop = WIDTH * (y1 - y0) / (x1 - x0) / aspect;
    const data = await Promise.all(sides.map(s => pixels(s.file)));
    const width = sides.length * (WIDTH + GAP) - GAP, height = tall + GAP + crop + 2 * LINE + 4;
    if (type === "svg") {
      const safe = text => text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);
      const parts = sides.map((s, i) => {
        const x = i * (WIDTH + GAP), image = `<image href="${data[i]}" width="1" height="1" preserveAspectRatio="none"/>`;
        const inner = (y, h, view) => `<svg x="${x}" y="${y}" width="${WIDTH}" height="${h}" viewBox="${view}" preserveAspectRatio="none">${image}</svg>`;
        const text = (line, words) => `<text x="${x + WIDTH / 2}" y="${tall + GAP + crop + line * LINE}" text-anchor="middle" font-family="sans-serif" font-size="13">${safe(words)}</text>`;
        return inner(0, tall, "0 0 1 1") + `<rect x="${x + x0 * WIDTH}" y="${y0 * tall}" width="${(x1 - x0) * WIDTH}" height="${(y1 - y0) * tall}" fill="none" stroke="${RED}" stroke-width="2"/>`
          + inner(tall + GAP, crop, `${x0} ${y0} ${x1 - x0} ${y1 - y0}`) + text(1, s.title) + text(2, s.psnr || "");
      });
      return new Blob([`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${parts.join("")}</svg>`], { type: "image/svg+xml" });
    }
    const scale = 3, canvas = el("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) }), pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    for (const [i, side] of sides.entries()) {
      const image = new Image(), x = i * (WIDTH + GAP);
      image.src = data[i];
      await image.decode();
      const w = image.naturalWidth, h = image.naturalHeight;
      pen.drawImage(image, x, 0, WIDTH, tall);
      pen.strokeStyle = RED; pen.lineWidth = 2;
      pen.strokeRect(x + x0 * WIDTH, y0 * tall, (x1 - x0) * WIDTH, (y1 - y0) * tall);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(image, x0 * w, y0 * h, (x1 - x0) * w, (y1 - y0) * h, x, tall + GAP, WIDTH, crop);
      pen.imageSmoothingEnabled = true;
      pen.fillStyle = "#000"; pen.font = "13px sans-serif"; pen.textAlign = "center";
      pen.fillText(side.title, x + WIDTH / 2, tall + GAP + crop + LINE, WIDTH);
      pen.fillText(side.psnr || "", x + WIDTH / 2, tall + GAP + crop + 2 * LINE, WIDTH);
    }
    return new Promise(done => canvas.toBlob(done, "image/png"));
  }

  isosweep.crops = { box, strip, drawable, place, figure };
})();

// Meshes side by side: one canvas and one camera with a window for each run, so that all meshes turn together.
"use strict";
(() => {
  const { el, state, select, choice, check, button, scene, index, shown } = isosweep;
  const MOST = 9, FIRST = 4;
  const UPS = { z: [0, 0, 1], "-z": [0, 0, -1], y: [0, 1, 0], "-y": [0, -1, 0], x: [1, 0, 0], "-x": [-1, 0, 0] };
  let stage = null;  // what must be freed when the view is left

  async function show(panel) {
    leave();
    const { view } = state;
    const all = isosweep.runs().filter(r => r.mesh);
    const scenes = [...new Set(all.map(scene))];
    if (!scenes.length) {
      panel.replaceChildren(el("p", { class: "empty" }, "No run that passes the filter has a mesh (export.mesh)."));
      return;
    }
    if (!scenes.includes(view.scene)) view.scene = scenes[0];
    const runs = all.filter(r => scene(r) === view.scene);
    let ids = (view.meshes || "").split(",").filter(id => runs.some(r => r.id === id));
    if (!ids.length) ids = isosweep.picked(runs).slice(0, FIRST).map(r => r.id);
    const picked = ids.slice(0, MOST).map(id => runs.find(r => r.id === id)), truth = index().scenes[view.scene].truth;
    const measured = truth ? picked.filter(r => r.mesh.means) : [];
    const chosen = [...(truth && view.truth !== "0" ? [{ id: "truth", title: "ground truth", mesh: truth, truth: true }] : []), ...picked];
    const titled = r => r.truth ? r.title : isosweep.label(r, runs);
    const complete = measured.find(r => r.id === view.of) || measured[0];
    const tell = (i, error) => { windows.children[i].querySelector(".problem").textContent = ` ${error.message}`; };
    const set = (key, value) => { view[key] = value; isosweep.write(); stage?.change(key); stage?.paint(tell); bar.replaceChildren(...scale(truth, measured.length && surfaceOf(chosen) === "distance")); };
    const bar = el("div", { class: "scale" }, scale(truth, measured.length && surfaceOf(chosen, measured) === "distance")), spot = el("div", { id: "spot" });
    const renew = (key, value) => { view[key] = value; isosweep.changed("meshes"); };
    const up = view.up || index().scenes[view.scene].up;
    const windows = el("div", { class: `windows ${chosen.length < 4 ? "row-of" : ""}`, style: `--columns: ${Math.min(chosen.length, chosen.length === 4 ? 2 : 3)}` }, chosen.map(r => el("figure", { class: "window" },
      el("figcaption", { title: r.truth ? truth.name : r.title }, el("strong", {}, titled(r)), el("span", { class: "soft" }, ` ${r.mesh.faces.toLocaleString("en")} of ${r.mesh.original.toLocaleString("en")} faces${r.truth ? `, ${truth.name}` : numbers(r)}${file(r)}`), el("span", { class: "problem" })))));
    const canvas = el("canvas", { id: "mesh-canvas", tabindex: "0", role: "img",
      "aria-label": `Meshes of ${chosen.map(titled).join(", ")}. Arrow keys turn, plus and minus zoom, Home resets.` });
    const box = el("div", { class: "theatre" }, canvas, windows);
    panel.replaceChildren(el("div", { class: "row" },
      select("Scene", scenes.map(s => [s, s]), view.scene, v => { view.meshes = null; renew("scene", v); }, { id: "mesh-scene" }),
      el("details", { class: "menu" }, el("summary", {}, `Meshes (${picked.length})`), el("div", { class: "sheet" }, el("fieldset", {}, el("legend", {}, `Up to ${MOST} of ${runs.length}`),
        runs.map(r => check(isosweep.label(r, runs), ids.includes(r.id), on => renew("meshes", (on ? [...ids, r.id] : ids.filter(x => x !== r.id)).join(","))))))),
      choice("Surface", "surface", [...(textured(chosen) ? [["texture", "texture"]] : []), ["color", "colour"], ["grey", "grey"], ["normal", "normals"], ...(measured.length ? [["distance", "distance"]] : [])], surfaceOf(chosen, measured), v => set("surface", v)),
      truth ? check("ground truth", view.truth !== "0", on => renew("truth", on ? "1" : "0"), { id: "truth" }) : null,
      measured.length > 1 ? select("Truth: completeness of", measured.map(r => [r.id, isosweep.label(r, measured)]), complete.id, v => set("of", v), { id: "of" }) : null,
      ...[["facets", "facets"], ["edges", "edges"], ["wire", "wireframe"], ["cull", "hide back faces"]].map(([key, text]) => check(text, view[key] === "1", on => set(key, on ? "1" : "0"), { id: key })),
      select("Up", Object.keys(UPS).map(u => [u, u]), up, v => set("up", v), { id: "up" }),
      button("Reset view", () => stage?.reset(), { id: "reset" }), button("Save PNG", () => stage?.picture(chosen.map(titled)).then(blob => isosweep.download(blob, "meshes.png")), { id: "save-meshes" })), box, bar,
    el("p", { class: "note" }, "Drag turns, the wheel zooms, the right button moves; keys: arrows, + and −, Home. All windows share the camera and the world's units. A click on a mesh shows that spot in the photographs and in every render."), spot);
    try {
      await isosweep.load("three", "assets/three.min.js").catch(e => { throw e; });
      stage = build(canvas, box, windows, chosen, () => picked.find(r => r.id === view.of && r.mesh.means) || measured[0]);
      stage.clicked = (point, hidden) => {
        view.spot = point.map(v => Number(v.toPrecision(7))).join(",");
        isosweep.write();
        spot.replaceChildren(...isosweep.spots.panel(point, view.scene, picked, hidden));
      };
    } catch (error) {
      box.replaceWith(el("p", { class: "problem" }, `No 3D here: ${error.message}`));
      return;
    }
    const mine = stage;
    await Promise.all(chosen.map((run, i) => isosweep.mesh(run.mesh.file).then(mesh => mine.add(i, mesh)).catch(error => tell(i, error))));
    await mine.paint(tell);
    canvas.dataset.ready = String(chosen.length);
    const at = (view.spot || "").split(",").map(Number);
    if (at.length === 3 && at.every(Number.isFinite) && mine === stage) mine.clicked(at, mine.hides(at));
  }
  // How far the colours of distances reach, in the world's units: a part of the greatest distance that is kept.
  const reach = truth => Number(state.view.reach || 0.2) * truth.top;
  function scale(truth, shownNow) {
    if (!shownNow) return [];
    const label = el("span", {}, `${Number(reach(truth).toPrecision(3))} and more`);
    return ["Distance to the ground truth (accuracy), and from the ground truth to the run (completeness), in the world's units: 0 ",
      el("span", { class: "ramp", style: `background: linear-gradient(to right, ${[0, 1, 2, 3, 4, 5].map(k => isosweep.ramp(k / 5)).join(", ")})`, "aria-hidden": "true" }), " ", label, " ",
      el("label", { class: "reach" }, "reach ", el("input", { type: "range", id: "reach", min: 0.02, max: 1, step: 0.02, value: state.view.reach || 0.2, oninput: e => {
        state.view.reach = e.target.value; isosweep.write(); label.textContent = `${Number(reach(truth).toPrecision(3))} and more`; stage?.change("reach"); } }))];
  }
  const textured = runs => runs.some(r => r.mesh.texture);
  // Without a choice it is the texture where there is one; runs that have none show their vertices' colours then.
  const surfaceOf = (runs, measured = runs.filter(r => r.mesh.means)) => (state.view.surface === "texture" && !textured(runs)) || (state.view.surface === "distance" && !measured.length) ? "color" : state.view.surface || (textured(runs) ? "texture" : "color");
  const file = run => run.mesh.textured ? `, texture in ${run.mesh.textured}` : "";
  function numbers(run) {
    const at = index().metrics.findIndex(m => m.name === "geometry/chamfer");
    return at >= 0 && run.values && Number.isFinite(run.values[at]) ? `, Chamfer ${shown(run.values[at], index().metrics[at].digits)}` : "";
  }

  function build(canvas, box, windows, runs, completed) {
    const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    const place = index().scenes[state.view.scene];
    const camera = new THREE.PerspectiveCamera(35, 1, place.radius / 100, place.radius * 100);
    const scenes = runs.map(() => {
      const made = new THREE.Scene();
      made.add(new THREE.HemisphereLight(0xffffff, 0xa0a0a0, 1.9));
      return made;
    });
    const lights = scenes.map(s => { const light = new THREE.DirectionalLight(0xffffff, 2); s.add(light, light.target); return light; });
    const meshes = runs.map(() => null), plain = runs.map(() => null), skins = runs.map(() => null), datas = runs.map(() => null);
    let controls = null, asked = false, gone = false;
    const center = new THREE.Vector3(...place.center);

    function reset() {
      controls?.dispose();
      const up = new THREE.Vector3(...UPS[state.view.up || place.up]);
      const side = new THREE.Vector3(Math.abs(up.x) > 0.5 ? 0 : 1, 0, Math.abs(up.x) > 0.5 ? 1 : 0), front = new THREE.Vector3().crossVectors(side, up);
      camera.up.copy(up);
      camera.position.copy(center).addScaledVector(side, 1.3 * place.radius).addScaledVector(front, 2.3 * place.radius).addScaledVector(up, 1.2 * place.radius);
      controls = new THREE.OrbitControls(camera, canvas);
      controls.target.copy(center);
      controls.update();
      controls.addEventListener("change", ask);
      ask();
    }
    function material(surface, map, has) {
      const flatShading = state.view.facets === "1", side = state.view.cull === "1" ? 0 : THREE.DoubleSide;  // 0: front faces alone
      const wireframe = state.view.wire === "1", own = has && surface !== "grey";
      if (map) return new THREE.MeshBasicMaterial({ side, map, wireframe });  // photographs hold their light
      if (surface === "normal") return new THREE.MeshNormalMaterial({ side, flatShading, wireframe });
      return new THREE.MeshLambertMaterial({ side, flatShading, wireframe, vertexColors: own, color: own ? 0xffffff : 0xd0d0d0 });
    }
    function dress(i) {
      const mesh = meshes[i], surface = surfaceOf(runs), skin = surface === "texture" ? skins[i] : null;
      mesh.material?.dispose?.();
      mesh.geometry = skin ? skin.geometry : plain[i];
      if (!skin) tint(i, surface);
      mesh.material = material(surface, skin?.map, mesh.geometry.hasAttribute("color"));
      if (mesh.edges) { mesh.remove(mesh.edges); mesh.edges.geometry.dispose(); mesh.edges = null; }
      if (state.view.edges === "1") {
        mesh.edges = new THREE.LineSegments(new THREE.WireframeGeometry(mesh.geometry), new THREE.LineBasicMaterial({ color: 0x000000, transparent: true, opacity: 0.35 }));
        mesh.add(mesh.edges);
      }
    }
    // Colours of the vertices: their own, or those of their distances.
    function tint(i, surface) {
      const data = datas[i], of = runs[i].truth ? completed() : null, truth = place.truth;
      const distances = surface !== "distance" ? null : runs[i].truth ? datas[runs.indexOf(of)]?.completeness : data.accuracy;
      if (!distances || distances.length !== data.vertices) {
        if (data.linear) plain[i].setAttribute("color", new THREE.BufferAttribute(data.linear, 3)); else plain[i].deleteAttribute("color");
        return;
      }
      const colours = new Float32Array(3 * data.vertices), table = [...Array(truth.steps + 1).keys()].map(k => new THREE.Color(isosweep.ramp(k / truth.steps * truth.top / reach(truth))));
      distances.forEach((d, k) => table[d].toArray(colours, 3 * k));
      plain[i].setAttribute("color", new THREE.BufferAttribute(colours, 3));
    }
    function shape(data) {
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute("position", new THREE.BufferAttribute(data.positions, 3));
      if (data.colours) {
        const linear = new Float32Array(data.colours.length), colour = new THREE.Color();
        for (let k = 0; k < linear.length; k += 3) colour.setRGB(data.colours[k] / 255, data.colours[k + 1] / 255, data.colours[k + 2] / 255, "srgb").toArray(linear, k);
        geometry.setAttribute("color", new THREE.BufferAttribute(linear, 3));
        data.linear = linear;
      }
      geometry.setIndex(new THREE.BufferAttribute(data.indices, 1));
      if (data.places) geometry.setAttribute("uv", new THREE.BufferAttribute(data.places, 2));
      geometry.computeVertexNormals();
      return geometry;
    }
    function add(i, data) {
      if (gone) return;
      plain[i] = shape(data);
      datas[i] = data;
      meshes[i] = new THREE.Mesh(plain[i]);
      dress(i);
      runs.forEach((r, k) => { if (r.truth && meshes[k] && k !== i) dress(k); });
      scenes[i].add(meshes[i]);
      ask();
    }
    // Textures are large: they are loaded when they are looked at.
    const paint = tell => Promise.all(surfaceOf(runs) !== "texture" ? [] : runs.map(async (run, i) => {
      if (!run.mesh.texture || !meshes[i] || skins[i]) return;
      try {
        const data = await isosweep.mesh(run.mesh.texture), image = new Image();
        image.src = data.image;
        await image.decode();
        if (gone || skins[i]) return;
        const map = new THREE.Texture(image);
        Object.assign(map, { colorSpace: THREE.SRGBColorSpace, anisotropy: renderer.capabilities.getMaxAnisotropy(), needsUpdate: true });
        skins[i] = { geometry: shape(data), map };
        dress(i);
        ask();
      } catch (error) { tell(i, error); }
    }));
    function draw() {
      asked = false;
      if (gone) return;
      const whole = canvas.getBoundingClientRect();
      renderer.setPixelRatio(devicePixelRatio);
      renderer.setSize(whole.width, whole.height, false);
      renderer.setScissorTest(true);
      [...windows.children].forEach((window, i) => {
        const part = window.getBoundingClientRect();
        const x = part.left - whole.left, y = whole.bottom - part.bottom;
        camera.aspect = part.width / part.height;
        camera.updateProjectionMatrix();
        lights[i].position.copy(camera.position);
        lights[i].target.position.copy(controls.target);
        renderer.setViewport(x, y, part.width, part.height);
        renderer.setScissor(x, y, part.width, part.height);
        renderer.render(scenes[i], camera);
      });
    }
    // The point of a mesh under the pointer, [x, y, z] of the world; null where there is none.
    function under(e) {
      for (const [i, window] of [...windows.children].entries()) {
        const part = window.getBoundingClientRect(), x = (e.clientX - part.left) / part.width, y = (e.clientY - part.top) / part.height;
        if (x < 0 || y < 0 || x > 1 || y > 1 || !meshes[i]) continue;
        camera.aspect = part.width / part.height;
        camera.updateProjectionMatrix();
        camera.updateMatrixWorld();
        const from = camera.position.toArray(), to = new THREE.Vector3(2 * x - 1, 1 - 2 * y, 0.5).unproject(camera).toArray();
        const along = to.map((v, k) => v - from[k]), at = isosweep.spots.hit(datas[i], from, along);
        if (at !== null) return { point: from.map((v, k) => v + at * along[k]), i };
      }
      return null;
    }
    // Whether the mesh of window i lies between a place and the point.
    const hides = (point, i = meshes.findIndex(Boolean)) => from => {
      const along = point.map((v, k) => v - from[k]), at = datas[i] ? isosweep.spots.hit(datas[i], from, along) : null;
      return at !== null && at * Math.hypot(...along) < Math.hypot(...along) - place.radius / 50;
    };
    let pressed = null;
    canvas.addEventListener("pointerdown", e => { pressed = e.button === 0 ? [e.clientX, e.clientY] : null; });
    canvas.addEventListener("pointerup", e => {
      if (!pressed || Math.hypot(e.clientX - pressed[0], e.clientY - pressed[1]) > 3) return;
      const found = under(e);
      if (found) made.clicked(found.point, hides(found.point, found.i));
    });
    // What is seen, on white, with the names.
    async function picture(names) {
      draw();
      const paper = el("canvas", { width: canvas.width, height: canvas.height }), pen = paper.getContext("2d"), whole = canvas.getBoundingClientRect(), share = canvas.width / whole.width;
      pen.fillStyle = "#fff"; pen.fillRect(0, 0, paper.width, paper.height);
      pen.drawImage(canvas, 0, 0);  // in the same task: afterwards the canvas is empty
      pen.fillStyle = "#000"; pen.font = `${13 * share}px sans-serif`;
      [...windows.children].forEach((w, i) => { const part = w.getBoundingClientRect(); pen.fillText(names[i], (part.left - whole.left + 8) * share, (part.top - whole.top + 18) * share, (part.width - 16) * share); });
      return new Promise(done => paper.toBlob(done, "image/png"));
    }
    function ask() { if (!asked) { asked = true; requestAnimationFrame(draw); } }
    function turn(around, over) {
      const offset = camera.position.clone().sub(controls.target);
      const right = new THREE.Vector3().crossVectors(camera.up, offset).normalize();
      const tilted = offset.clone().applyAxisAngle(right, over);
      if (Math.abs(tilted.clone().normalize().dot(camera.up)) < 0.995) offset.copy(tilted);
      offset.applyAxisAngle(camera.up, around);
      camera.position.copy(controls.target).add(offset);
      controls.update();
      ask();
    }
    const nearer = by => { camera.position.sub(controls.target).multiplyScalar(by).add(controls.target); controls.update(); ask(); };
    const KEYS = { ArrowLeft: () => turn(-0.12, 0), ArrowRight: () => turn(0.12, 0), ArrowUp: () => turn(0, -0.12), ArrowDown: () => turn(0, 0.12),
      "+": () => nearer(0.88), "=": () => nearer(0.88), "-": () => nearer(1.14), Home: reset };
    canvas.addEventListener("keydown", e => { if (KEYS[e.key]) { KEYS[e.key](); e.preventDefault(); } });
    const watch = new ResizeObserver(ask);
    watch.observe(box);
    reset();
    const made = { add, paint, reset, picture, hides, under, clicked: () => {}, change: key => { if (key === "up") reset(); meshes.forEach((m, i) => m && dress(i)); ask(); },
      end: () => {
        gone = true; watch.disconnect(); controls.dispose();
        [...plain, ...skins.map(s => s?.geometry), ...skins.map(s => s?.map)].forEach(part => part?.dispose());
        renderer.dispose(); renderer.forceContextLoss();
      } };
    return made;
  }

  function leave() { stage?.end(); stage = null; }
  isosweep.views.push({ id: "meshes", title: "Meshes", show, leave });
})();

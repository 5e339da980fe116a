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
    const chosen = ids.slice(0, MOST).map(id => runs.find(r => r.id === id));
    const tell = (i, error) => { windows.children[i].querySelector(".problem").textContent = ` ${error.message}`; };
    const set = (key, value) => { view[key] = value; isosweep.write(); stage?.change(key); stage?.paint(tell); };
    const renew = (key, value) => { view[key] = value; isosweep.changed("meshes"); };
    const up = view.up || index().scenes[view.scene].up;
    const windows = el("div", { class: "windows", style: `--columns: ${Math.min(chosen.length, chosen.length === 4 ? 2 : 3)}` }, chosen.map(r => el("figure", { class: "window" },
      el("figcaption", {}, el("strong", {}, r.title), el("span", { class: "soft" }, ` ${r.mesh.faces.toLocaleString("en")} of ${r.mesh.original.toLocaleString("en")} faces${numbers(r)}${file(r)}`), el("span", { class: "problem" })))));
    const canvas = el("canvas", { id: "mesh-canvas", tabindex: "0", role: "img",
      "aria-label": `Meshes of ${chosen.map(r => r.title).join(", ")}. Arrow keys turn, plus and minus zoom, Home resets.` });
    const box = el("div", { class: "theatre" }, canvas, windows);
    panel.replaceChildren(el("div", { class: "row" },
      select("Scene", scenes.map(s => [s, s]), view.scene, v => { view.meshes = null; renew("scene", v); }, { id: "mesh-scene" }),
      el("details", { class: "menu" }, el("summary", {}, `Meshes (${chosen.length})`), el("div", { class: "sheet" }, el("fieldset", {}, el("legend", {}, `Up to ${MOST} of ${runs.length}`),
        runs.map(r => check(r.title, ids.includes(r.id), on => renew("meshes", (on ? [...ids, r.id] : ids.filter(x => x !== r.id)).join(","))))))),
      choice("Surface", "surface", [...(textured(chosen) ? [["texture", "texture"]] : []), ["color", "colour"], ["grey", "grey"], ["normal", "normals"]], surfaceOf(chosen), v => set("surface", v)),
      check("facets", view.facets === "1", on => set("facets", on ? "1" : "0")), check("edges", view.edges === "1", on => set("edges", on ? "1" : "0")),
      select("Up", Object.keys(UPS).map(u => [u, u]), up, v => set("up", v), { id: "up" }),
      button("Reset view", () => stage?.reset(), { id: "reset" })), box,
    el("p", { class: "note" }, "Drag turns, the wheel zooms, the right button moves; keys: arrows, + and −, Home. All windows share the camera and the world's units."));
    try {
      await isosweep.load("three", "assets/three.min.js").catch(e => { throw e; });
      stage = build(canvas, box, windows, chosen);
    } catch (error) {
      box.replaceWith(el("p", { class: "problem" }, `No 3D here: ${error.message}`));
      return;
    }
    const mine = stage;
    await Promise.all(chosen.map((run, i) => fetched(run.mesh.file).then(mesh => mine.add(i, mesh)).catch(error => tell(i, error))));
    await mine.paint(tell);
    canvas.dataset.ready = String(chosen.length);
  }
  const fetched = name => isosweep.load(`mesh/${name}`, `meshes/${name}.js`).then(unpack);
  const textured = runs => runs.some(r => r.mesh.texture);
  // Without a choice it is the texture where there is one; runs that have none show their vertices' colours then.
  const surfaceOf = runs => state.view.surface === "texture" && !textured(runs) ? "color" : state.view.surface || (textured(runs) ? "texture" : "color");
  const file = run => run.mesh.textured ? `, texture in ${run.mesh.textured}` : "";
  function numbers(run) {
    const at = index().metrics.findIndex(m => m.name === "geometry/chamfer");
    return at >= 0 && Number.isFinite(run.values[at]) ? `, Chamfer ${shown(run.values[at], index().metrics[at].digits)}` : "";
  }

  // browse/meshes.py describes the format of the text.
  async function unpack(mesh) {
    if (mesh.positions) return mesh;
    const bytes = Uint8Array.from(atob(mesh.data), c => c.charCodeAt(0));
    const whole = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    const n = mesh.vertices, f = mesh.faces, view = new DataView(whole);
    const positions = new Float32Array(3 * n);
    let offset = 0;
    for (let axis = 0; axis < 3; axis++) {
      const unit = (mesh.high[axis] - mesh.low[axis]) / 65535;
      for (let i = 0, q = 0; i < n; i++, offset += 2) { q = (q + view.getUint16(offset, true)) & 65535; positions[3 * i + axis] = mesh.low[axis] + unit * q; }
    }
    let colours = null;
    if (mesh.colors) {
      colours = new Uint8Array(3 * n);
      for (let axis = 0; axis < 3; axis++) for (let i = 0, q = 0; i < n; i++, offset++) { q = (q + view.getUint8(offset)) & 255; colours[3 * i + axis] = q; }
    }
    let places = null;
    if (mesh.uv) {
      places = new Float32Array(2 * n);
      for (let axis = 0; axis < 2; axis++) for (let i = 0, q = 0; i < n; i++, offset += 2) { q = (q + view.getUint16(offset, true)) & 65535; places[2 * i + axis] = q / 65535; }
    }
    const faces = new Uint32Array(3 * f);
    for (let k = 0; k < 3; k++) for (let i = 0, q = 0; i < f; i++, offset += 4) {
      const step = view.getUint32(offset, true);
      if (k === 0) { q += step; faces[3 * i] = q; } else faces[3 * i + k] = faces[3 * i] + step;
    }
    mesh.data = null;
    return Object.assign(mesh, { positions, colours, places, faces: f, indices: faces });
  }

  function build(canvas, box, windows, runs) {
    const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    const place = index().scenes[state.view.scene];
    const camera = new THREE.PerspectiveCamera(35, 1, place.radius / 100, place.radius * 100);
    const scenes = runs.map(() => {
      const made = new THREE.Scene();
      made.add(new THREE.HemisphereLight(0xffffff, 0x999999, 2));
      return made;
    });
    const lights = scenes.map(s => { const light = new THREE.DirectionalLight(0xffffff, 1.6); s.add(light, light.target); return light; });
    const meshes = runs.map(() => null), plain = runs.map(() => null), skins = runs.map(() => null);
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
      const flatShading = state.view.facets === "1", side = THREE.DoubleSide, own = has && surface !== "grey";
      if (map) return new THREE.MeshBasicMaterial({ side, map });  // photographs hold their light
      if (surface === "normal") return new THREE.MeshNormalMaterial({ side, flatShading });
      return new THREE.MeshLambertMaterial({ side, flatShading, vertexColors: own, color: own ? 0xffffff : 0xb8b8b8 });
    }
    function dress(i) {
      const mesh = meshes[i], surface = surfaceOf(runs), skin = surface === "texture" ? skins[i] : null;
      mesh.material?.dispose?.();
      mesh.geometry = skin ? skin.geometry : plain[i];
      mesh.material = material(surface, skin?.map, mesh.geometry.hasAttribute("color"));
      if (mesh.edges) { mesh.remove(mesh.edges); mesh.edges.geometry.dispose(); mesh.edges = null; }
      if (state.view.edges === "1") {
        mesh.edges = new THREE.LineSegments(new THREE.WireframeGeometry(mesh.geometry), new THREE.LineBasicMaterial({ color: 0x000000, transparent: true, opacity: 0.35 }));
        mesh.add(mesh.edges);
      }
    }
    function shape(data) {
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute("position", new THREE.BufferAttribute(data.positions, 3));
      if (data.colours) {
        const linear = new Float32Array(data.colours.length), colour = new THREE.Color();
        for (let k = 0; k < linear.length; k += 3) colour.setRGB(data.colours[k] / 255, data.colours[k + 1] / 255, data.colours[k + 2] / 255, "srgb").toArray(linear, k);
        geometry.setAttribute("color", new THREE.BufferAttribute(linear, 3));
      }
      geometry.setIndex(new THREE.BufferAttribute(data.indices, 1));
      if (data.places) geometry.setAttribute("uv", new THREE.BufferAttribute(data.places, 2));
      geometry.computeVertexNormals();
      return geometry;
    }
    function add(i, data) {
      if (gone) return;
      plain[i] = shape(data);
      meshes[i] = new THREE.Mesh(plain[i]);
      dress(i);
      scenes[i].add(meshes[i]);
      ask();
    }
    // Textures are large: they are loaded when they are looked at.
    const paint = tell => Promise.all(surfaceOf(runs) !== "texture" ? [] : runs.map(async (run, i) => {
      if (!run.mesh.texture || !meshes[i] || skins[i]) return;
      try {
        const data = await fetched(run.mesh.texture), image = new Image();
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
    return { add, paint, reset, change: key => { if (key === "up") reset(); meshes.forEach((m, i) => m && dress(i)); ask(); },
      end: () => {
        gone = true; watch.disconnect(); controls.dispose();
        [...plain, ...skins.map(s => s?.geometry), ...skins.map(s => s?.map)].forEach(part => part?.dispose());
        renderer.dispose(); renderer.forceContextLoss();
      } };
  }

  function leave() { stage?.end(); stage = null; }
  isosweep.views.push({ id: "meshes", title: "Meshes", show, leave });
})();

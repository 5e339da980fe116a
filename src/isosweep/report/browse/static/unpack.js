// Meshes as browse/meshes.py packs them, and their distances to the ground truth as browse/distances.py does.
"use strict";
(() => {
  const bytes = async text => {
    const packed = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };

  async function unpack(mesh) {
    if (mesh.positions) return mesh;
    const whole = await bytes(mesh.data);
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
    for (const name of ["accuracy", "completeness"]) if (mesh[name]) mesh[name] = new Uint8Array(await bytes(mesh[name]));
    mesh.data = null;
    return Object.assign(mesh, { positions, colours, places, faces: f, indices: faces });
  }
  const waiting = new Map();  // two windows may ask for one mesh at once
  isosweep.mesh = name => {
    if (!waiting.has(name)) waiting.set(name, isosweep.load(`mesh/${name}`, `meshes/${name}.js`).then(unpack).catch(e => { waiting.delete(name); throw e; }));
    return waiting.get(name);
  };
})();

// A point of a mesh in the pictures: where each view's camera sees it, in the photograph and in every method's render.
"use strict";
(() => {
  const { el, index } = isosweep;
  const SHARE = 0.2;  // width of a crop, as a part of the picture's

  // The pixel [column, row] at which a camera sees a point of the world; null behind the camera or outside the picture.
  function project({ matrix, size }, point) {
    const [u, v, w] = matrix.map(row => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);
    if (w <= 0) return null;
    const pixel = [u / w, v / w];
    return pixel[0] >= 0 && pixel[1] >= 0 && pixel[0] <= size[0] && pixel[1] <= size[1] ? pixel : null;
  }
  // The camera's centre: where the matrix is 0.
  function centre({ matrix: m }) {
    const a = m.map(r => r.slice(0, 3)), b = m.map(r => -r[3]);
    const det = (x, y, z) => x[0] * (y[1] * z[2] - y[2] * z[1]) - x[1] * (y[0] * z[2] - y[2] * z[0]) + x[2] * (y[0] * z[1] - y[1] * z[0]);
    const column = k => a.map((r, i) => r.map((v, j) => j === k ? b[i] : v));
    const whole = det(...a);
    return [0, 1, 2].map(k => det(...column(k)) / whole);
  }
  // The box of a crop around a pixel, within the picture: [x, y, width, height] as parts of it.
  function around([u, v], [width, height]) {
    const w = SHARE, h = Math.min(1, SHARE * width / height);
    return [Math.min(1 - w, Math.max(0, u / width - w / 2)), Math.min(1 - h, Math.max(0, v / height - h / 2)), w, h];
  }

  // The least t > 0 at which from + t * along meets a face of a mesh, from either side (Moeller and Trumbore 1997); null
  // where it meets none.
  function hit({ positions: p, indices: f }, [ox, oy, oz], [dx, dy, dz]) {
    let nearest = null;
    for (let i = 0; i < f.length; i += 3) {
      const a = 3 * f[i], b = 3 * f[i + 1], c = 3 * f[i + 2];
      const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2], vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
      const qx = dy * vz - dz * vy, qy = dz * vx - dx * vz, qz = dx * vy - dy * vx, det = ux * qx + uy * qy + uz * qz;
      if (det === 0) continue;
      const sx = ox - p[a], sy = oy - p[a + 1], sz = oz - p[a + 2], u = (sx * qx + sy * qy + sz * qz) / det;
      if (u < 0 || u > 1) continue;
      const rx = sy * uz - sz * uy, ry = sz * ux - sx * uz, rz = sx * uy - sy * ux, v = (dx * rx + dy * ry + dz * rz) / det;
      if (v < 0 || u + v > 1) continue;
      const t = (vx * rx + vy * ry + vz * rz) / det;
      if (t > 1e-9 && (nearest === null || t < nearest)) nearest = t;
    }
    return nearest;
  }

  // runs: those that are shown; hidden(camera's centre): whether the mesh lies between it and the point.
  function panel(point, place, runs, hidden) {
    const { cameras } = index().scenes[place];
    const views = Object.entries(cameras || {});
    const title = el("h2", {}, `At ${point.map(v => Number(v.toPrecision(4))).join(", ")}`);
    if (!views.length) return [title, el("p", { class: "note" }, "No run of this scene has saved the cameras of its pictures (renders/cameras.json); mode=render saves them.")];
    const rows = views.map(([view, camera]) => {
      const pixel = project(camera, point);
      if (!pixel) return el("p", { class: "note" }, `${view}: outside of the picture`);
      const [x, y, w, h] = around(pixel, camera.size), truth = runs.map(r => r.views[view]?.truth).find(Boolean);
      const cross = `left: ${100 * (pixel[0] / camera.size[0] - x) / w}%; top: ${100 * (pixel[1] / camera.size[1] - y) / h}%`;
      const one = (file, text) => file ? el("figure", { class: "crop" }, el("div", { class: "hole still", style: `--x: ${x}; --y: ${y}; --w: ${w}; --h: ${h}; --aspect: ${camera.size[0] / camera.size[1]}` },
        el("img", { src: file, alt: `${text} around the point`, draggable: false }), el("span", { class: "cross", style: cross, "aria-hidden": "true" })), el("figcaption", {}, text)) : "";
      return el("section", { "data-view": view, "data-pixel": pixel.join(",") }, el("h3", {}, view, hidden(centre(camera)) ? el("span", { class: "soft" }, " (the mesh hides it from here)") : ""),
        el("div", { class: "crops" }, one(truth, "ground truth"), runs.map(r => one(r.views[view]?.rgb, isosweep.label(r, runs)))));
    });
    return [title, ...rows];
  }

  isosweep.spots = { project, centre, around, hit, panel };
})();

// Seeds of one setting as one curve: the mean at each step or minute, and how far the seeds lie apart.
"use strict";
(() => {
  function smooth(values, share) {  // exponential moving average, corrected for its bias towards 0 at the start
    let mean = 0, weight = 0;
    return values.map(v => {
      if (v === null || !share) return v;
      mean = share * mean + (1 - share) * v;
      weight = share * weight + (1 - share);
      return mean / weight;
    });
  }

  // The value of a curve {x, y} between its points; null outside of them and beside a value that is missing.
  function reader({ x, y }) {
    let k = 0;
    return at => {
      if (!x.length || at < x[0] || at > x.at(-1)) return null;
      while (k < x.length - 1 && x[k + 1] <= at) k++;
      if (x[k] === at || k === x.length - 1) return y[k];
      return y[k] === null || y[k + 1] === null ? null : y[k] + (y[k + 1] - y[k]) * (at - x[k]) / (x[k + 1] - x[k]);
    };
  }

  // curves: one {x, y} for each seed. Returns {x, mean, low, high, n}, where all seeds have a value. A single seed has no
  // band. kind: "std", mean ± standard deviation (of n - 1), or "range", least to greatest.
  function band(curves, kind) {
    const x = [...new Set(curves.flatMap(c => c.x))].sort((a, b) => a - b);
    const readers = curves.map(reader);
    const made = { x: [], mean: [], low: [], high: [], n: curves.length };
    for (const at of x) {
      const found = readers.map(r => r(at));
      if (found.some(v => v === null)) {
        if (curves.length > 1 || found[0] !== null || !curves[0].x.includes(at)) continue;
        made.x.push(at); made.mean.push(null); made.low.push(null); made.high.push(null);
        continue;
      }
      const mean = found.reduce((a, b) => a + b, 0) / found.length;
      const std = found.length > 1 ? Math.sqrt(found.reduce((a, v) => a + (v - mean) ** 2, 0) / (found.length - 1)) : 0;
      made.x.push(at);
      made.mean.push(mean);
      made.low.push(kind === "range" ? Math.min(...found) : mean - std);
      made.high.push(kind === "range" ? Math.max(...found) : mean + std);
    }
    return made;
  }

  Object.assign(isosweep, { smooth, band });
})();

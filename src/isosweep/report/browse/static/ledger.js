// The reproduction ledger: the published figures of a score along a line, ours beside them.
"use strict";
(() => {
  const { el, index } = isosweep;
  const WORDS = { paper: "paper", authors: "authors, later", independent: "independent" };
  const SHAPES = { paper: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", authors: "M0,-5L5,0L0,5L-5,0Z", independent: "M0,-5L5,4L-5,4Z", ours: "M-1.5,-8h3v16h-3Z" };
  const WIDE = 220, EDGE = 10;

  function svg(tag, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  const mark = kind => svg("path", { class: `mark ${kind}`, d: SHAPES[kind] });
  function place(low, high, value) {
    return high === low ? WIDE / 2 : EDGE + (WIDE - 2 * EDGE) * (value - low) / (high - low);
  }
  function line(strip) {
    const all = [...strip.figures.map(f => ({ ...f, kind: f.origin })), ...strip.ours.map(o => ({ ...o, kind: "ours" }))];
    const low = Math.min(...all.map(f => f.value)), high = Math.max(...all.map(f => f.value));
    const dots = all.map(f => {
      const dot = mark(f.kind);
      dot.setAttribute("transform", `translate(${place(low, high, f.value).toFixed(1)},10)`);
      dot.append(svg("title", {}, said(f)));
      return dot;
    });
    return svg("svg", { class: "ledger-line", viewBox: `0 0 ${WIDE} 20`, width: WIDE, height: 20, role: "img",
      "aria-label": `${strip.method}, ${strip.score}, ${strip.place}: ${all.map(said).join("; ")}` },
    svg("path", { class: "axis", d: `M${EDGE},10H${WIDE - EDGE}` }), ...dots);
  }
  const said = f => f.kind === "ours" ? `${f.text} ours, ${f.row}` : `${f.text} ${[WORDS[f.origin], f.setting, f.source].filter(Boolean).join(", ")}`;
  const key = kind => svg("svg", { class: "key", viewBox: "-7 -9 14 18", width: 11, height: 14, "aria-hidden": "true" }, mark(kind));
  const figure = f => {
    const text = el("span", {}, el("strong", {}, f.text), ` ${WORDS[f.origin]}`, f.setting ? el("span", { class: "soft" }, `, ${f.setting}`) : "");
    const linked = /^https?:\/\//.test(f.link) ? el("a", { href: f.link, target: "_blank", rel: "noopener noreferrer", title: f.source }, text) : el("span", { title: f.source }, text);
    return el("li", {}, key(f.origin), linked);
  };

  // The ledger's section; null where nothing published fits the table.
  isosweep.ledger = () => {
    const strips = index().strips || [];
    if (!strips.length) return null;
    return el("section", { class: "ledger" }, el("h2", {}, "Reproduction ledger"),
      el("p", { class: "note" }, "Every figure that was found for a published method, and ours: of the row that is called as the method, or else of our best. None is averaged with another. Settings differ: they stand beside the figures, and each figure links to its source."),
      el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Reproduction ledger, scrolls sideways" }, el("table", { "aria-label": "Reproduction ledger" },
        el("thead", {}, el("tr", {}, ["Method", "Score", "From the least to the greatest", "Figures"].map(t => el("th", { scope: "col", class: "name" }, t)))),
        el("tbody", {}, strips.map(strip => el("tr", {}, el("th", { scope: "row", class: "name" }, strip.method), el("td", { class: "name" }, strip.score, " ", el("br"), el("span", { class: "soft" }, strip.place)),
          el("td", {}, line(strip)), el("td", { class: "figures" }, el("ul", {}, strip.figures.map(figure),
            strip.ours.map(o => el("li", { class: "ours" }, key("ours"), el("span", {}, el("strong", {}, o.text), ` ours, ${o.row}`)))))))))));
  };
})();

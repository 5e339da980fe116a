// Sortable tables: HTML tables that DataTables enhances. Cells are made as elements, never as markup.
"use strict";
(() => {
  const { el } = isosweep;
  const natural = new Intl.Collator(undefined, { numeric: true });
  const empty = v => v === "" || v === "NaN" || v === undefined;
  const compare = (a, b) => a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : natural.compare(a, b);
  // Missing values stay at the end in both directions of sorting.
  const rank = sign => (a, b) => empty(a) || empty(b) ? empty(a) - empty(b) : sign * compare(a, b);
  DataTable.ext.type.order["plain-asc"] = rank(1);
  DataTable.ext.type.order["plain-desc"] = rank(-1);
  DataTable.ext.errMode = "throw";

  const cell = (content, order, attributes = {}) => ({ content, order: order === null || order === undefined ? "" : String(order), attributes });

  // Pinned columns stand at the left edge, one beside the other, while the table scrolls: each where those before it
  // end, as long as they leave half of the width to the others.
  function pinned(table, holder) {
    const place = () => {
      let left = 0;
      for (const [i, head] of [...table.querySelectorAll("thead .pinned")].entries()) {
        const width = head.getBoundingClientRect().width, fits = i === 0 || left + width <= holder.clientWidth / 2;
        table.style.setProperty(`--pin${i}`, fits ? `${left}px` : "auto");
        if (fits) left += width;
      }
    };
    new ResizeObserver(place).observe(holder);
    return place;
  }

  const kind = head => `${head.class || ""}${head.pin === undefined ? "" : " pinned"}`;
  const place = head => head.pin === undefined ? null : `left: var(--pin${head.pin}, 0)`;
  // heads: {text, class?, title?, sort?, pin?: its place among the pinned ones}; rows: lists of cell(). Returns the table, sorted by
  // `order` [[column, "asc"]].
  function sortable(label, heads, rows, { order = [], keep = () => true, sorted = () => {}, rowClass = () => "" } = {}) {
    const table = el("table", { class: "sortable", "aria-label": label },
      el("thead", {}, el("tr", {}, heads.map(h => el("th", { scope: "col", class: kind(h), style: place(h), title: h.title || null }, h.text)))),
      el("tbody", {}, rows.map((row, i) => el("tr", { class: rowClass(i) }, row.map((c, j) => el(heads[j].row ? "th" : "td",
        { "data-order": c.order, class: kind(heads[j]), style: place(heads[j]), scope: heads[j].row ? "row" : null, ...c.attributes }, c.content))))));
    const holder = el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `${label}, scrolls sideways` }, table);
    const made = new DataTable(table, {
      autoWidth: false, order, pageLength: 100, lengthChange: false, searching: true, info: rows.length > 100, paging: rows.length > 100,
      layout: { topStart: null, topEnd: null, bottomStart: rows.length > 100 ? "info" : null, bottomEnd: rows.length > 100 ? "paging" : null },
      columnDefs: [{ targets: "_all", type: "plain" }, { targets: heads.flatMap((h, i) => h.sort === false ? [i] : []), orderable: false },
        { targets: heads.flatMap((h, i) => h.down ? [i] : []), orderSequence: ["desc", "asc", ""] }],
    });
    made.search.fixed("filter", (text, data, i) => keep(i));
    made.draw();
    made.on("order", () => sorted(made.order()));
    if (heads.some(h => h.pin !== undefined)) made.on("draw", pinned(table, holder));
    return { holder, table: made };
  }

  Object.assign(isosweep, { sortable, cell });
})();

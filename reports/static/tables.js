"use strict";
// Sorting (by data-v where a cell has it, else by its text): each heading with data-sort becomes a button; the state is in aria-sort. Cells without a value stay last in either order.
(function () {
  function valueOf(row, column, kind) {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (kind === "text") return text;
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? null : number;
  }

  function compare(a, b, kind) {
    return kind === "text" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  }

  function sort(table, heading) {
    const kind = heading.dataset.sort;
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => [valueOf(row, heading.cellIndex, kind), row]);
    const isEmpty = (key) => key === null || key === "";
    keyed.sort(([a], [b]) => {
      if (isEmpty(a) || isEmpty(b)) return Number(isEmpty(a)) - Number(isEmpty(b));
      return direction * compare(a, b, kind);
    });
    body.append(...keyed.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  }

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    for (const heading of table.tHead.rows[0].cells) {
      if (!heading.dataset.sort) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, heading));
    }
  }
})();

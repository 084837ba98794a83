"use strict";
// Tables: sorting (by data-v where a cell has it, else by its text), filtering by words and by choices, and a permanent
// link for each row and each state of a table. The state is the fragment of the address: `#row` names a row,
// `#view?TABLE.q=words&TABLE.COLUMN=choice&TABLE.sort=-3` a view. Cells without a value stay last in either order.
(function () {
  const VIEW = "#view?";
  const MOST_CHOICES = 40;
  const LEAST_ROWS = 4;
  const tables = [];

  function valueOf(row, column, kind) {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? shownText(cell);
    if (kind === "text") return text;
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? null : number;
  }

  // What a cell says, without the glyph beside a status and the link of a row.
  function shownText(cell) {
    const first = cell.querySelector(".status") ?? cell;
    return Array.from(first.childNodes, (node) => (node.ariaHidden === "true" || node.className === "here" ? "" : node.textContent))
      .join("")
      .trim();
  }

  // The first line of a cell: what a filter offers.
  function choiceOf(row, column) {
    const cell = row.cells[column];
    const own = cell.querySelector(".status, .setting, bdi");
    return own ? shownText(own) : shownText(cell);
  }

  function compare(a, b, kind) {
    return kind === "text" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  }

  function sort(it, column, direction) {
    const heading = it.headings[column];
    const kind = heading.dataset.sort;
    const keyed = Array.from(it.body.rows, (row) => [valueOf(row, column, kind), row]);
    const isEmpty = (key) => key === null || key === "";
    keyed.sort(([a], [b]) => {
      if (isEmpty(a) || isEmpty(b)) return Number(isEmpty(a)) - Number(isEmpty(b));
      return direction * compare(a, b, kind);
    });
    it.body.append(...keyed.map(([, row]) => row));
    for (const other of it.headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    it.sorted = direction * (column + 1);
  }

  function filter(it) {
    const words = it.words ? it.words.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
    const rows = Array.from(it.body.rows);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      const chosen = it.choices.every(({ column, list }) => list.value === "" || choiceOf(row, column) === list.value);
      row.hidden = !(fits && chosen);
      if (!row.hidden) shown += 1;
    }
    if (!it.count) return;
    it.count.textContent = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
    it.nothing.hidden = shown > 0;
  }

  function write() {
    const parameters = new URLSearchParams();
    for (const it of tables) {
      if (it.words && it.words.value) parameters.set(`${it.name}.q`, it.words.value);
      for (const { column, list } of it.choices) if (list.value) parameters.set(`${it.name}.${column}`, list.value);
      if (it.sorted) parameters.set(`${it.name}.sort`, String(it.sorted));
    }
    const text = parameters.toString();
    window.history.replaceState(null, "", text ? VIEW + text : window.location.pathname + window.location.search);
  }

  function clear(it) {
    if (it.words) it.words.value = "";
    for (const { list } of it.choices) list.value = "";
    filter(it);
  }

  // The address says which view or which row is meant.
  function read() {
    if (!window.location.hash.startsWith(VIEW)) return showTarget();
    const parameters = new URLSearchParams(window.location.hash.slice(VIEW.length));
    let first = null;
    for (const it of tables) {
      const own = (key) => parameters.get(`${it.name}.${key}`) ?? "";
      if (it.words) it.words.value = own("q");
      for (const { column, list } of it.choices) list.value = own(column);
      const sorted = Number(own("sort"));
      if (Number.isInteger(sorted) && it.headings[Math.abs(sorted) - 1]?.dataset.sort) sort(it, Math.abs(sorted) - 1, Math.sign(sorted));
      filter(it);
      if (first === null && Array.from(parameters.keys()).some((key) => key.startsWith(`${it.name}.`))) first = it;
    }
    if (first) (first.bar ?? first.table).scrollIntoView();
  }

  function showTarget() {
    const row = window.location.hash ? document.getElementById(decodeURIComponent(window.location.hash.slice(1))) : null;
    const it = row && tables.find((one) => one.body.contains(row));
    if (it && row.hidden) {
      clear(it);
      row.scrollIntoView();
    }
  }

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function labelled(words, control) {
    return element("label", {}, words + " ", control);
  }

  function addFilters(it) {
    const caption = it.table.caption.textContent.trim();
    it.bar = element("form", { class: "filter", role: "search", "aria-label": `Filter: ${caption}` });
    it.words = element("input", { type: "search", placeholder: "words in a row", autocomplete: "off" });
    it.bar.append(labelled("Filter", it.words));
    it.headings.forEach((heading, column) => {
      if (!("choices" in heading.dataset)) return;
      const values = [...new Set(Array.from(it.body.rows, (row) => choiceOf(row, column)))].filter(Boolean).sort();
      if (values.length < 2 || values.length > MOST_CHOICES) return;
      const list = element("select", {}, element("option", { value: "" }, "all"));
      for (const value of values) list.append(element("option", { value }, value));
      it.choices.push({ column, list });
      it.bar.append(labelled(heading.firstChild.textContent.trim(), list));
    });
    const reset = element("button", { type: "reset" }, "Clear");
    it.count = element("output", { "aria-live": "polite" });
    it.bar.append(reset, it.count);
    const region = it.table.closest(".scroll");
    it.nothing = element("p", { class: "empty" }, "No row fits the filter: ", element("strong", {}, "Clear"), " shows all of them again.");
    it.nothing.hidden = true;
    region.before(it.bar);
    region.after(it.nothing);
    it.bar.addEventListener("submit", (event) => event.preventDefault());
    it.words.addEventListener("input", () => (filter(it), write()));
    for (const { list } of it.choices) list.addEventListener("change", () => (filter(it), write()));
    it.bar.addEventListener("reset", () => setTimeout(() => (filter(it), write())));
  }

  function addSorting(it) {
    it.headings.forEach((heading, column) => {
      if (!heading.dataset.sort) return;
      const hint = heading.querySelector("small");
      const button = element("button", { type: "button" });
      button.append(...Array.from(heading.childNodes).filter((node) => node !== hint));
      heading.prepend(button);
      button.addEventListener("click", () => {
        const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        sort(it, column, direction);
        announced.textContent = `${it.table.caption.textContent.trim()}: sorted by ${button.textContent.trim()}, ${direction === 1 ? "ascending" : "descending"}`;
        write();
      });
    });
  }

  function addRowLinks(it) {
    for (const row of it.body.rows) {
      if (!row.id) continue;
      const words = `Permanent link to the row of ${shownText(row.cells[0]).slice(0, 80)}`;
      row.cells[0].append(element("a", { class: "here", href: `#${encodeURIComponent(row.id)}`, "aria-label": words, title: "Permanent link to this row" }, "#"));
    }
  }

  // Said by screen readers when the order changes; what is hidden by a filter is said by its count.
  const announced = element("div", { class: "unseen", role: "status", "aria-live": "polite" });
  document.body.append(announced);
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const it = { table, name: table.id.replace(/^t-/, ""), body: table.tBodies[0], choices: [], sorted: 0 };
    it.headings = Array.from(table.tHead.rows[0].cells);
    tables.push(it);
    if (it.body.rows.length >= LEAST_ROWS) addFilters(it);
    addSorting(it);
    addRowLinks(it);
    filter(it);
  }
  read();
  window.addEventListener("hashchange", read);
})();

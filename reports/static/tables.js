"use strict";
// Draws each table from all of its rows on the page, a long one only where it is scrolled to. Sorting (by a cell's
// `sort`, else its text), filtering by words and by choices, and a permanent link for each row and each state of a table.
// The state is the fragment of the address: `#row` names a row, `#view?TABLE.q=words&TABLE.COLUMN=choice&TABLE.sort=-3` a
// view. Cells without a value stay last in either order. A row is one line; it opens to everything its cells hold.
(function () {
  const VIEW = "#view?";
  const MOST_CHOICES = 40;
  const LEAST_ROWS = 4;
  // Up to this many rows are drawn at once, so that the browser's own search finds all of them.
  const WHOLE = 150;
  // Rows drawn beyond either end of the visible part.
  const AHEAD = 12;
  const LONG = 40;
  const single = "single" in document.documentElement.dataset;
  const tables = [];
  let printing = false;

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // Text between backticks is code.
  function prose(text) {
    const parts = text.split(/`([^`\n]{1,400})`/);
    return element("bdi", {}, ...parts.map((part, place) => (place % 2 ? element("code", {}, part) : part)));
  }

  function mainOf(cell) {
    return cell.state ? cell.state[1] : cell.main ?? "";
  }

  // The moment in UTC (its sort key), for readers in another time zone.
  function universal(cell) {
    const found = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)/.exec(cell.sort ?? "");
    return found ? element("time", { datetime: `${found[0]}Z`, title: `${found[1]} ${found[2]} UTC` }, prose(cell.main)) : null;
  }

  function marksOf(cell) {
    const mark = (look, words) => element("span", { class: look }, element("bdi", {}, words));
    return [...(cell.badges ?? []).map((words) => mark("badge", words)), ...(cell.tags ?? []).map((words) => mark("tag", words))];
  }

  function valueOf(it, cell, column) {
    if (cell.state) {
      const [glyph, words, tone] = cell.state;
      return element("span", { class: `status ${tone}` }, element("i", { "aria-hidden": "true" }, glyph), ` ${words}`);
    }
    if (cell.slot !== undefined) return element("span", { class: `setting s${cell.slot}` }, cell.main ?? "");
    return ("moment" in it.headings[column].dataset && universal(cell)) || prose(cell.main ?? "");
  }

  function drawnCell(it, row, column) {
    const cell = row.cells[column];
    const heading = it.headings[column];
    const made = element(column === 0 ? "th" : "td", { class: heading.className, "data-label": it.titles[column] });
    made.setAttribute("role", column === 0 ? "rowheader" : "cell");
    if (column === 0) made.scope = "row";
    let value = valueOf(it, cell, column);
    if (cell.main === "unavailable" && cell.small) value.className = "missing";
    if (cell.href && !(single && !cell.href.startsWith("#"))) value = element("a", { href: cell.href }, value);
    made.append(value, ...marksOf(cell), ...(cell.small ?? []).map((line) => element("small", {}, prose(line))));
    return made;
  }

  function opens(row) {
    return row.cells.some((cell) => cell.small || (cell.main ?? "").length > LONG);
  }

  function drawnRow(it, row) {
    const made = element("tr", { role: "row" }, ...row.cells.map((_, column) => drawnCell(it, row, column)));
    const first = made.cells[0];
    if (opens(row)) {
      const words = `Details of ${mainOf(row.cells[0]).slice(0, 80)}`;
      row.button = element("button", { type: "button", class: "open", "aria-label": words, "aria-expanded": "false" });
      row.button.addEventListener("click", () => setOpen(it, row, !row.open));
      first.prepend(row.button);
    }
    if (row.anchor) {
      made.id = row.anchor;
      const words = `Permanent link to the row of ${mainOf(row.cells[0]).slice(0, 80)}`;
      first.append(element("a", { class: "here", href: `#${encodeURIComponent(row.anchor)}`, "aria-label": words, title: "Permanent link to this row" }, "#"));
    }
    return made;
  }

  function setOpen(it, row, open) {
    row.open = open;
    const before = row.node.offsetHeight;
    row.node.classList.toggle("opened", open);
    row.button?.setAttribute("aria-expanded", String(open));
    row.extra = open ? row.node.offsetHeight - before : 0;
    draw(it);
  }

  // The first and the last row to be drawn; an open row is higher than the others by its `extra`.
  function windowOf(it) {
    const count = it.matching.length;
    if (printing || count <= WHOLE || !it.height) return [0, printing ? count : Math.min(count, WHOLE)];
    const top = it.region.scrollTop - it.body.offsetTop;
    const extra = it.matching.reduce((sum, row) => sum + (row.extra ?? 0), 0);
    const first = Math.floor(Math.max(0, top - extra) / it.height) - AHEAD;
    const last = Math.ceil((top + it.region.clientHeight) / it.height) + AHEAD;
    return [Math.max(0, Math.min(first, count - AHEAD)), Math.min(count, Math.max(last, AHEAD))];
  }

  function heightOf(it, rows) {
    return rows.reduce((sum, row) => sum + it.height + (row.extra ?? 0), 0);
  }

  function draw(it) {
    const [first, last] = windowOf(it);
    const wanted = it.matching.slice(first, last);
    const kept = new Set(wanted);
    for (const row of it.drawn) {
      if (kept.has(row)) continue;
      row.node.remove();
      if (!row.open) row.node = null;
    }
    for (const spacing of [it.above, it.below]) spacing.remove();
    let next = it.body.firstChild;
    for (const row of wanted) {
      row.node ??= drawnRow(it, row);
      if (next === row.node) next = next.nextSibling;
      else it.body.insertBefore(row.node, next);
    }
    wanted.forEach((row, place) => row.node.setAttribute("aria-rowindex", String(first + place + 2)));
    it.drawn = wanted;
    if (first > 0) it.body.prepend(it.above);
    if (last < it.matching.length) it.body.append(it.below);
    it.above.firstChild.style.height = `${heightOf(it, it.matching.slice(0, first))}px`;
    it.below.firstChild.style.height = `${heightOf(it, it.matching.slice(last))}px`;
  }

  // All rows are as high as the first; columns keep their widths, whichever rows scroll into view.
  function measure(it) {
    it.table.style.tableLayout = "";
    it.headings.forEach((heading) => (heading.style.width = ""));
    it.height = 0;
    draw(it);
    // Names are cut shorter if the table would not fit.
    it.table.classList.remove("tight");
    it.table.classList.toggle("tight", it.region.scrollWidth > it.region.clientWidth);
    if (it.rows.length <= WHOLE) return;
    const closed = it.drawn.find((row) => !row.open);
    if (!closed || !closed.node.offsetHeight) return;
    it.height = closed.node.getBoundingClientRect().height;
    const widths = it.headings.map((heading) => Math.ceil(heading.getBoundingClientRect().width));
    it.headings.forEach((heading, column) => (heading.style.width = `${widths[column]}px`));
    it.table.style.tableLayout = "fixed";
    draw(it);
  }

  function keyOf(row, column, kind) {
    const cell = row.cells[column];
    const text = cell.sort ?? mainOf(cell);
    if (kind === "text") return text;
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? null : number;
  }

  function sort(it, column, direction) {
    const heading = it.headings[column];
    const kind = heading.dataset.sort;
    const compare = (a, b) => (kind === "text" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    const isEmpty = (key) => key === null || key === "";
    const keyed = it.rows.map((row) => [keyOf(row, column, kind), row]);
    keyed.sort(([a], [b]) => {
      if (isEmpty(a) || isEmpty(b)) return Number(isEmpty(a)) - Number(isEmpty(b));
      return direction * compare(a, b);
    });
    it.rows = keyed.map(([, row]) => row);
    for (const other of it.headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    it.sorted = direction * (column + 1);
    if (it.order) it.order.value = String(it.sorted);
    filter(it);
  }

  function textOf(row) {
    row.text ??= row.cells
      .flatMap((cell) => [mainOf(cell), ...(cell.small ?? []), ...(cell.badges ?? []), ...(cell.tags ?? [])])
      .join(" ")
      .toLowerCase();
    return row.text;
  }

  function filter(it) {
    const words = it.words ? it.words.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
    const fits = (row) =>
      words.every((word) => textOf(row).includes(word)) &&
      it.choices.every(({ column, list }) => list.value === "" || mainOf(row.cells[column]) === list.value);
    it.matching = it.rows.filter(fits);
    it.table.setAttribute("aria-rowcount", String(it.matching.length + 1));
    draw(it);
    if (!it.count) return;
    const all = it.rows.length.toLocaleString("en");
    it.count.textContent = it.matching.length === it.rows.length ? `${all} rows` : `${it.matching.length.toLocaleString("en")} of ${all} rows`;
    it.nothing.hidden = it.matching.length > 0;
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

  // The address names the view or the row.
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
    if (!first) return;
    unfold(first);
    (first.bar ?? first.table).scrollIntoView();
  }

  function unfold(it) {
    for (let part = it.table.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    measure(it);
  }

  function showTarget() {
    document.querySelector("tr.sought")?.classList.remove("sought");
    const anchor = window.location.hash ? decodeURIComponent(window.location.hash.slice(1)) : "";
    const it = anchor ? tables.find((one) => one.rows.some((row) => row.anchor === anchor)) : null;
    if (!it) return;
    const row = it.rows.find((one) => one.anchor === anchor);
    if (!it.matching.includes(row)) clear(it);
    unfold(it);
    it.region.scrollTop = it.body.offsetTop + heightOf(it, it.matching.slice(0, it.matching.indexOf(row))) - it.region.clientHeight / 2;
    draw(it);
    row.node.classList.add("sought");
    row.node.scrollIntoView({ block: "center" });
  }

  function labelled(words, control, look) {
    return element("label", look ? { class: look } : {}, words + " ", control);
  }

  function addFilters(it) {
    const caption = it.table.caption.textContent.trim();
    it.bar = element("form", { class: "filter", role: "search", "aria-label": `Filter: ${caption}` });
    it.words = element("input", { type: "search", placeholder: "words in a row", autocomplete: "off" });
    it.bar.append(labelled("Filter", it.words));
    it.headings.forEach((heading, column) => {
      if (!("choices" in heading.dataset)) return;
      const values = [...new Set(it.rows.map((row) => mainOf(row.cells[column])))].filter(Boolean).sort();
      if (values.length < 2 || values.length > MOST_CHOICES) return;
      const list = element("select", {}, element("option", { value: "" }, "all"));
      for (const value of values) list.append(element("option", { value }, value));
      it.choices.push({ column, list });
      it.bar.append(labelled(it.titles[column], list));
    });
    // Cards on a phone have no headings to tap.
    it.order = element("select", {}, element("option", { value: "0" }, "unchanged"));
    it.headings.forEach((heading, column) => {
      if (!heading.dataset.sort) return;
      it.order.append(element("option", { value: String(column + 1) }, `${it.titles[column]} ↑`), element("option", { value: String(-column - 1) }, `${it.titles[column]} ↓`));
    });
    it.bar.append(labelled("Order", it.order, "order"));
    const reset = element("button", { type: "reset" }, "Clear");
    it.count = element("output", { "aria-live": "polite" });
    it.bar.append(reset, it.count);
    it.nothing = element("p", { class: "empty" }, "No row matches the filter: ", element("strong", {}, "Clear"), " shows all of them again.");
    it.nothing.hidden = true;
    it.region.before(it.bar);
    it.region.after(it.nothing);
    it.bar.addEventListener("submit", (event) => event.preventDefault());
    const again = () => ((it.region.scrollTop = 0), filter(it), write());
    it.words.addEventListener("input", again);
    for (const { list } of it.choices) list.addEventListener("change", again);
    it.order.addEventListener("change", () => Number(it.order.value) && order(it, Math.abs(it.order.value) - 1, Math.sign(it.order.value)));
    it.bar.addEventListener("reset", () => setTimeout(again));
  }

  function order(it, column, direction) {
    it.region.scrollTop = 0;
    sort(it, column, direction);
    announced.textContent = `${it.table.caption.textContent.trim()}: sorted by ${it.titles[column]}, ${direction === 1 ? "ascending" : "descending"}`;
    write();
  }

  function addSorting(it) {
    it.headings.forEach((heading, column) => {
      if (!heading.dataset.sort) return;
      const hint = heading.querySelector("small");
      const button = element("button", { type: "button" });
      button.append(...Array.from(heading.childNodes).filter((node) => node !== hint));
      heading.prepend(button);
      button.addEventListener("click", () => order(it, column, heading.getAttribute("aria-sort") === "ascending" ? -1 : 1));
    });
  }

  // Text that doesn't fit into a line appears on hovering over it, or on a click anywhere on the row.
  function addPointing(it) {
    it.body.addEventListener("mouseover", (event) => {
      const cell = event.target.closest("th, td");
      if (!cell || cell.title || cell.closest("tr").classList.contains("opened")) return;
      const small = Array.from(cell.querySelectorAll("small"), (line) => line.textContent);
      if (small.length || cell.scrollWidth > cell.clientWidth) cell.title = [cell.querySelector("bdi, .status, .setting")?.textContent.trim(), ...small].join("\n");
    });
    it.body.addEventListener("click", (event) => {
      if (event.target.closest("a, button") || String(window.getSelection())) return;
      const row = it.drawn.find((one) => one.node === event.target.closest("tr"));
      if (row?.button) setOpen(it, row, !row.open);
    });
  }

  function readRows(table) {
    const rows = JSON.parse(document.getElementById(table.dataset.rows).textContent);
    return rows.map(([anchor, cells]) => ({ anchor, cells: cells.map((cell) => (typeof cell === "string" ? { main: cell } : cell)) }));
  }

  function spacer(columns) {
    return element("tr", { class: "spacer", "aria-hidden": "true" }, element("td", { colspan: String(columns) }));
  }

  function takeOver(table) {
    const region = table.closest(".scroll");
    const it = { table, region, name: table.id.replace(/^t-/, ""), body: table.tBodies[0], choices: [], sorted: 0, drawn: [], height: 0 };
    it.headings = Array.from(table.tHead.rows[0].cells);
    it.titles = it.headings.map((heading) => heading.firstChild.textContent.trim());
    it.rows = readRows(table);
    it.matching = it.rows;
    [it.above, it.below] = [spacer(it.headings.length), spacer(it.headings.length)];
    // Without these roles, screen readers would no longer treat a table set as cards as a table.
    table.setAttribute("role", "table");
    for (const part of [table.tHead, it.body]) part.setAttribute("role", "rowgroup");
    table.tHead.rows[0].setAttribute("role", "row");
    for (const heading of it.headings) heading.setAttribute("role", "columnheader");
    region.querySelector(".waiting").remove();
    tables.push(it);
    if (it.rows.length >= LEAST_ROWS) addFilters(it);
    addSorting(it);
    addPointing(it);
    filter(it);
    measure(it);
    region.addEventListener("scroll", () => draw(it), { passive: true });
    table.closest("details")?.addEventListener("toggle", () => measure(it));
  }

  // Screen readers announce a change of the order from here, and the effect of a filter from its count.
  const announced = element("div", { class: "unseen", role: "status", "aria-live": "polite" });
  document.body.append(announced);
  document.querySelectorAll("table[data-rows]").forEach(takeOver);
  read();
  window.addEventListener("hashchange", read);
  window.addEventListener("resize", () => tables.forEach(measure));
  // Paper can't be scrolled.
  for (const [event, now] of [["beforeprint", true], ["afterprint", false]])
    window.addEventListener(event, () => ((printing = now), tables.forEach(draw)));
})();

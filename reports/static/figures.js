"use strict";
// Draws each figure from the JSON on the page. It names colours as style variables, which are looked up here, so that
// the same data serves both themes and print.
(function () {
  // What fits a landscape sheet (see @page in site.css).
  const PRINT_WIDTH_PX = 960;
  // By default plotly offers to send a chart to its maker's server: measurements stay here.
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };

  function colourLookup() {
    const probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
    const known = new Map();
    const lookUp = (name) => {
      if (!known.has(name)) {
        probe.style.color = name;
        known.set(name, getComputedStyle(probe).color);
      }
      return known.get(name);
    };
    return { lookUp, done: () => probe.remove() };
  }

  function coloured(tree, lookUp) {
    if (typeof tree === "string") return /^var\(--[a-z0-9-]+\)$/.test(tree) ? lookUp(tree) : tree;
    if (Array.isArray(tree)) return typeof tree[0] === "number" ? tree : tree.map((item) => coloured(item, lookUp));
    if (tree === null || typeof tree !== "object") return tree;
    return Object.fromEntries(Object.entries(tree).map(([key, item]) => [key, coloured(item, lookUp)]));
  }

  const figures = Array.from(document.querySelectorAll(".plot[data-figure]"), (place) => ({
    place,
    figure: JSON.parse(document.getElementById(place.dataset.figure).textContent),
  }));

  // The selected value of each pick (by name), which all figures of the page share.
  const picked = new Map();

  // A figure of many devices (or metrics) draws one of them, selected in a list above a section's first such figure.
  function addPicks() {
    const names = new Map();
    for (const { figure } of figures)
      if (figure.pick) names.set(figure.pick, [...new Set([...(names.get(figure.pick) ?? []), ...figure.picks])]);
    for (const [pick, options] of names) picked.set(pick, options[0]);
    const seen = new Set();
    for (const { place, figure } of figures) {
      const section = place.closest("section");
      const options = names.get(figure.pick) ?? [];
      if (options.length < 2 || seen.has(section)) continue;
      seen.add(section);
      const label = document.createElement("label");
      const list = document.createElement("select");
      list.dataset.pick = figure.pick;
      for (const option of options) list.append(new Option(option, option));
      label.append(`${figure.pick} `, list);
      label.className = "pick";
      place.closest("figure").before(label);
      list.addEventListener("change", () => {
        picked.set(figure.pick, list.value);
        for (const other of document.querySelectorAll(`select[data-pick]`)) if (other.dataset.pick === figure.pick) other.value = list.value;
        draw();
      });
    }
  }

  // The traces of the selection, and those that belong to all.
  function chosen(figure) {
    if (!figure.pick) return figure;
    const place = figure.picks.indexOf(picked.get(figure.pick));
    const data = figure.data.filter((_, at) => figure.of[at] === null || figure.of[at] === place);
    const words = figure.layouts?.[place] ?? {};
    if (place >= 0) return { data, layout: { ...figure.layout, ...words } };
    const missing = { text: "nothing to draw here", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 };
    return { data, layout: { ...figure.layout, annotations: [missing] } };
  }

  // Points link only to pages of this site, from which the link itself came.
  const PAGE = /^[a-z]+\/[A-Za-z0-9._\/-]+\.html$/;

  function follow(place, event) {
    const href = event.points[0]?.customdata;
    if (typeof href === "string" && PAGE.test(href) && !href.includes("..") && !("single" in document.documentElement.dataset))
      window.location.href = place.dataset.root + href;
  }

  function draw() {
    if (typeof Plotly === "undefined") return;
    const printing = "printing" in document.documentElement.dataset;
    const { lookUp, done } = colourLookup();
    for (const { place, figure } of figures) {
      // A folded figure has no width yet: it is drawn once it is opened.
      if (!place.offsetWidth) {
        place.querySelector(".waiting")?.classList.replace("waiting", "later");
        continue;
      }
      const { data, layout } = coloured(chosen(figure), lookUp);
      layout.hoverlabel = { ...layout.hoverlabel, bgcolor: lookUp("var(--surface)"), bordercolor: lookUp("var(--line)") };
      layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: lookUp("var(--muted)"), activecolor: lookUp("var(--text)") };
      if (printing) layout.width = PRINT_WIDTH_PX;
      else layout.autosize = true;
      place.querySelector(".waiting, .later")?.remove();
      // On a narrow screen the buttons would cover the title of the x axis.
      Plotly.react(place, data, layout, { ...CONFIG, displayModeBar: window.innerWidth < 640 ? false : "hover" });
      if (!place.dataset.follows && data.some((trace) => trace.customdata)) {
        place.dataset.follows = "yes";
        place.on("plotly_click", (event) => follow(place, event));
      }
    }
    done();
  }

  addPicks();
  draw();
  document.addEventListener("themechange", draw);
  for (const part of document.querySelectorAll("details:has(.plot)")) part.addEventListener("toggle", () => part.open && draw());
})();

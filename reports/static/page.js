"use strict";
// Theme (by preference, or as chosen with the button) and print. Loaded before the body, so that no page flashes in the wrong theme.
(function () {
  const root = document.documentElement;
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const KEY = "suite-theme";

  // Storage can be forbidden, such as on file:// pages: then the choice applies to this page only.
  function remembered() {
    try {
      return window.localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  function remember(theme) {
    try {
      window.localStorage.setItem(KEY, theme);
    } catch {
      /* not remembered */
    }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches;
  }

  function announce() {
    const button = document.querySelector("button.theme");
    if (button) button.setAttribute("aria-pressed", String(isDark()));
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  const chosen = remembered();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  prefersDark.addEventListener("change", announce);

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("button.theme");
    button.hidden = false;
    button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      announce();
    });
  });

  // Two runs to compare: their page if it is built, otherwise the command that builds it.
  function compareChosen(form, event) {
    event.preventDefault();
    const { files, pages } = JSON.parse(document.getElementById(form.dataset.picker).textContent);
    const [before, after] = [form.elements.before.value.trim(), form.elements.after.value.trim()];
    const unknown = [before, after].find((run) => !(run in files));
    const answer = form.querySelector("output");
    if (unknown !== undefined) return answer.replaceChildren(`There is no run “${unknown}”: choose one from the list.`);
    const place = `${files[before]}--${files[after]}`;
    if (pages.includes(place) && !("single" in root.dataset)) return window.location.assign(`${form.dataset.root}comparisons/${place}/index.html`);
    const command = document.createElement("code");
    command.textContent = `suite compare ${before} ${after}`;
    return answer.replaceChildren("Not built yet: ", command);
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const form of document.querySelectorAll("form[data-picker]")) form.addEventListener("submit", (event) => compareChosen(form, event));
  });

  // A link to a folded part of a page opens it.
  function unfoldTarget() {
    const part = window.location.hash && document.getElementById(window.location.hash.slice(1));
    const fold = part && part.querySelector(":scope > details.folded");
    if (fold) fold.open = true;
  }

  document.addEventListener("DOMContentLoaded", unfoldTarget);
  window.addEventListener("hashchange", unfoldTarget);

  // Paper is light, and nothing on it is hidden.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    root.dataset.printing = "";
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach((part) => (part.open = true));
    document.dispatchEvent(new CustomEvent("themechange"));
  });
  window.addEventListener("afterprint", () => {
    delete root.dataset.printing;
    opened.forEach((part) => (part.open = false));
    document.dispatchEvent(new CustomEvent("themechange"));
  });
})();

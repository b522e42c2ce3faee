"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.querySelector("button.theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  // The main table: sorted by a heading, filtered by text, family and group of columns.
  const table = document.getElementById("main");
  const body = table.tBodies[0];
  table.querySelectorAll("thead button").forEach((button) => button.addEventListener("click", () => {
    const head = button.closest("th");
    const column = head.cellIndex;
    const first = head.dataset.better === "higher" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    table.querySelectorAll("th[aria-sort]").forEach((h) => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => {
      const text = (row.cells[column] || {dataset: {}}).dataset.sort;
      return text === undefined || text === "" ? null : isNaN(text) ? text : Number(text);
    };
    [...body.rows].map((row) => [key(row), row]).sort(([a], [b]) =>
      a === null ? (b === null ? 0 : 1) : b === null ? -1 : (a < b ? -1 : a > b ? 1 : 0) * sign
    ).forEach(([, row]) => body.append(row));
  }));
  const search = document.getElementById("filter");
  const controls = document.getElementById("controls");
  const families = [...document.querySelectorAll(".tools input[data-family]")];
  const filter = () => {
    const left = new Set(families.filter((box) => !box.checked).map((box) => box.dataset.family));
    const words = search.value.trim().toLowerCase().split(/\s+/);
    [...body.rows].forEach((row) => {
      const text = row.dataset.text.toLowerCase();
      const control = row.classList.contains("control");
      row.hidden = !words.every((word) => text.includes(word)) || (control ? !controls.checked : left.has(row.dataset.family));
    });
  };
  search.addEventListener("input", filter);
  [controls, ...families].forEach((box) => box.addEventListener("change", filter));
  document.querySelectorAll(".tools input[data-group]").forEach((box) => box.addEventListener("change", () => {
    table.querySelectorAll("[data-group]").forEach((part) => {
      if (part.dataset.group === box.dataset.group) part.hidden = !box.checked;
    });
  }));

  // Pictures: a click, or Enter, shows one as large as the window.
  const large = document.createElement("dialog");
  large.className = "large";
  document.body.append(large);
  large.addEventListener("click", () => large.close());
  document.querySelectorAll(".tile img").forEach((image) => {
    image.tabIndex = 0;
    const show = () => {
      large.replaceChildren(image.cloneNode());
      large.showModal();
    };
    image.addEventListener("click", show);
    image.addEventListener("keydown", (event) => { if (event.key === "Enter") show(); });
  });
})();

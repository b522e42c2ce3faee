"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.querySelector("button.theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
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
  const filter = () => [...body.rows].forEach((row) => {
    const hit = row.dataset.text.includes(search.value.trim().toLowerCase());
    row.hidden = !hit || (row.classList.contains("control") && !controls.checked);
  });
  const more = document.getElementById("more");
  if (more) more.addEventListener("change", () => table.classList.toggle("all", more.checked));
  search.addEventListener("input", filter);
  controls.addEventListener("change", filter);
})();

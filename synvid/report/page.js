"use strict";
const chips = [...document.querySelectorAll(".chip[data-ds]")];
function show(on) {
  chips.forEach((chip, k) => {
    chip.setAttribute("aria-pressed", on[k]);
    document.querySelectorAll(".ds-" + k).forEach((item) => item.classList.toggle("off", !on[k]));
  });
}
const state = () => chips.map((chip) => chip.getAttribute("aria-pressed") === "true");
chips.forEach((chip, k) => chip.addEventListener("click", (event) => {
  const on = state();
  if (on.every(Boolean) && chips.length > 1) on.fill(false).splice(k, 1, true);
  else on[k] = !on[k];
  show(on.some(Boolean) ? on : on.fill(true));
}));
document.getElementById("all").addEventListener("click", () => show(chips.map(() => true)));
document.querySelectorAll("thead button").forEach((button) => button.addEventListener("click", () => {
  const head = button.closest("th"), column = head.cellIndex, body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") === "descending" || (column === 0 && head.getAttribute("aria-sort") === null);
  head.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.cells[column].dataset.value ?? "";
  const rank = (a, b) => {
    const x = key(a), y = key(b);
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = column === 0 ? x.localeCompare(y) : Number(x) - Number(y);
    return up ? order : -order;
  };
  [...body.rows].sort(rank).forEach((row) => body.append(row));
}));
document.querySelectorAll(".tabs button").forEach((tab) => tab.addEventListener("click", () => {
  tab.parentNode.querySelectorAll("button").forEach((other) => {
    other.setAttribute("aria-selected", other === tab);
    document.getElementById(other.getAttribute("aria-controls")).hidden = other !== tab;
  });
}));

"use strict";
for (const box of document.querySelectorAll(".drawn")) {
  const figure = JSON.parse(box.closest("figure").querySelector("script").textContent);
  Plotly.newPlot(box, figure.data, figure.layout, {responsive: true, displayModeBar: false});
}

const inOrder = new Intl.Collator("en", {numeric: true});
const text = cell => cell.textContent.trim();

function compareCells(first, second, ascending) {
  const blank = cell => ["", "-"].includes(text(cell));
  if (blank(first) || blank(second)) return blank(first) - blank(second);
  const keys = [first, second].map(cell => Number(cell.dataset.key ?? NaN));
  const order = keys.some(Number.isNaN) ? inOrder.compare(text(first), text(second)) : keys[0] - keys[1];
  return ascending ? order : -order;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows.sort((a, b) => compareCells(a.cells[column], b.cells[column], ascending)));
  }));
  const filter = table.parentElement.previousElementSibling, field = filter.querySelector("input");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    filter.querySelector("output").value = `${rows.filter(row => !row.hidden).length} of ${rows.length} rows`;
  });
}

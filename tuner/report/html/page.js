"use strict";
// Sorts tables by a click on a title, and copies commands.
function value(row, column) {
  const cell = row.cells[column];
  return cell.querySelector("[data-value]")?.dataset.value ?? cell.textContent.trim();
}

function compare(one, other) {
  const [a, b] = [Number(one), Number(other)];
  if (one !== "" && other !== "" && !isNaN(a) && !isNaN(b)) return a - b;
  return one.localeCompare(other, undefined, { numeric: true });
}

function sort(table, column, head) {
  const down = head.getAttribute("aria-sort") === "ascending";
  const [first, ...rows] = table.rows;
  const empty = (row) => value(row, column) === "";
  rows.sort((one, other) => empty(one) - empty(other) ||
    compare(value(one, column), value(other, column)) * (down ? -1 : 1));
  for (const each of first.cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  first.parentNode.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.rows[0].cells].slice(0, -1).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column, head));
    head.append(button);
  });
}

for (const command of document.querySelectorAll("pre.command")) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "copy", textContent: "Copy" });
  command.after(button);
  button.addEventListener("click", () => {
    // Pages that were opened as files have no clipboard API in some browsers.
    getSelection().selectAllChildren(command);
    button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl-C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

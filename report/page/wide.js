// A hint at tables wider than the page: some systems show no scroll bar until the reader scrolls.
function tellWidth(part) {
  const hidden = part.scrollWidth - part.clientWidth > 2;
  const told = part.previousElementSibling?.classList.contains("wider");
  if (hidden && !told) {
    const hint = document.createElement("p");
    hint.className = "note wider screen";
    hint.textContent = "More columns to the right: scroll the table sideways\u00a0\u2192";
    part.before(hint);
  } else if (!hidden && told) part.previousElementSibling.remove();
  part.classList.toggle("beyond", hidden);
}

// the same for rows; the hint stays where it is at the end of the table, or else the page would move
function tellHeight(part) {
  if (!part.matches(".tall")) return;
  const hidden = part.scrollHeight - part.clientHeight > 2;
  let hint = part.nextElementSibling;
  if (hidden && !hint?.matches(".longer")) {
    hint = document.createElement("p");
    hint.className = "note longer screen";
    part.after(hint);
    part.addEventListener("scroll", () => tellHeight(part), { passive: true });
  } else if (!hidden && hint?.matches(".longer")) hint.remove();
  if (!hidden) return;
  const end = part.getBoundingClientRect().bottom;
  const below = [...part.querySelectorAll("tbody tr:not(.group)")].filter((row) => row.getBoundingClientRect().bottom > end + 2).length;
  hint.textContent = below ? `${below} more ${below === 1 ? "row" : "rows"} below: scroll the table\u00a0\u2193` : "End of the table.";
}

// the same for figures, which narrow screens show at a width at which their texts can be read
function tellFigure(part) {
  part.classList.toggle("beyond", part.scrollWidth - part.clientWidth > 2);
}

function tellSize(part) {
  tellWidth(part);
  tellHeight(part);
}

const sheets = new ResizeObserver((changes) => changes.forEach((change) => tellFigure(change.target)));
for (const part of document.querySelectorAll(".plot")) sheets.observe(part);

const widths = new ResizeObserver((changes) => changes.forEach((change) => tellSize(change.target.closest(".scroll"))));
for (const part of document.querySelectorAll(".scroll")) {
  widths.observe(part);
  if (part.firstElementChild) widths.observe(part.firstElementChild);
}

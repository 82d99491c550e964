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
}

// the same for figures, which narrow screens show at a width at which their texts can be read
function tellFigure(part) {
  part.classList.toggle("beyond", part.scrollWidth - part.clientWidth > 2);
}

const sheets = new ResizeObserver((changes) => changes.forEach((change) => tellFigure(change.target)));
for (const part of document.querySelectorAll(".plot")) sheets.observe(part);

const widths = new ResizeObserver((changes) => changes.forEach((change) => tellWidth(change.target.closest(".scroll"))));
for (const part of document.querySelectorAll(".scroll")) {
  widths.observe(part);
  if (part.firstElementChild) widths.observe(part.firstElementChild);
}

// Points of figures that open the page of their scan: links over the figure, drawn when the figure comes into view.
const points = JSON.parse($("figure-points").textContent);
const { namespaceURI: SVG } = element("template", { innerHTML: "<svg></svg>" }).content.firstChild;
const POINT_RADIUS = 8; // CSS pixels of the figure

function svgElement(name, values) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  return made;
}

function pointLink([position, x, y]) {
  const row = primary.get(points.scans[position]);
  if (!row?.page) return [];
  // keyboard and screen readers find the same pages in the table of scans
  const link = svgElement("a", { href: `${row.page}.html`, "data-scan": row.scan, tabindex: -1 });
  const circle = svgElement("circle", { cx: x, cy: y, r: POINT_RADIUS });
  const title = svgElement("title", {});
  title.textContent = row.scan;
  circle.append(title);
  link.append(circle);
  return [link];
}

function drawPoints(sheet) {
  const image = sheet.querySelector("img");
  const box = `0 0 ${image.getAttribute("width")} ${image.getAttribute("height")}`;
  const layer = svgElement("svg", { class: "points", viewBox: box, "aria-hidden": "true" });
  layer.append(...points.figures[sheet.dataset.points].flatMap(pointLink));
  sheet.append(layer);
}

function startPoints() {
  const seen = new IntersectionObserver((changes) => {
    for (const change of changes.filter((one) => one.isIntersecting)) {
      seen.unobserve(change.target);
      drawPoints(change.target);
    }
  }, { rootMargin: "50%" });
  for (const sheet of document.querySelectorAll("[data-points]")) if (points.figures[sheet.dataset.points]) seen.observe(sheet);
}

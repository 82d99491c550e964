// The table of scans (shown, filtered, sorted and saved) and the gallery, from the data in the page.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("scan-data").textContent);
const ROWS_A_PAGE = 50, ROWS_ON_PAPER = 300, GALLERY = 8;
const VERDICTS = { accepted: "✓ accepted", rejected: "✕ rejected", "needs-edit": "✎ needs edit" };
const inOrder = new Intl.Collator("en", { numeric: true }).compare;

// one object per structure of a prediction, and the primary prediction of each scan
const scans = data.scans.map(([scan, sex, age, site, folder]) => ({
  scan, sex, age, site, page: folder < 0 ? "" : `${data.folders[folder]}/${scan}`,
}));
const rows = data.rows.map(([person, set, fold, flags, why, ...values]) => {
  const row = { ...scans[person], set, fold, flags: flags.replaceAll(" ", ", ").replaceAll("_", " "), codes: flags.split(" ").filter(Boolean) };
  [row.group, row.network, row.protocol, row.structure] = data.sets[set];
  data.numbers.forEach((number, position) => (row[number.name] = values[position]));
  row.reasons = data.reasons[why];
  row.searched = `${row.scan} ${row.site} ${row.flags} ${flags}`.toLowerCase();
  return row;
});
const primary = new Map();
for (const row of rows) if (!primary.has(row.scan)) primary.set(row.scan, row);
const samePrediction = (a, b) => ["group", "network", "protocol"].every((name) => a[name] === b[name]);
const primaryRows = rows.filter((row) => samePrediction(row, primary.get(row.scan)));
const reviewable = [...primary.values()].filter((row) => row.page);

const state = { sort: "dsc", down: false, page: 0, more: false, paper: false };
const marks = new Map(); // scan -> {verdict, comment, seen_mm3, corrected_mask}; review.js fills it
const verdictOf = (scan) => marks.get(scan)?.verdict ?? "";

const scanColumn = { name: "scan", head: "Scan" }, reviewColumn = { name: "review", head: "Review" };
const textColumns = [
  { name: "protocol", head: "Protocol" }, { name: "fold", head: "Fold" }, { name: "sex", head: "Sex" }, { name: "age", head: "Age" },
];
const siteColumn = { name: "site", head: "Site" };
const flagColumn = { name: "flags", head: "Flags" };
const LEADING = ["dsc", "re_percent"]; // numbers next to the name of the scan, where narrow screens show them
const severalSites = new Set(scans.map((scan) => scan.site)).size > 1;
const structures = new Set(data.sets.map(([, , , structure]) => structure));
const severalStructures = structures.size > 1;
const severalSets = new Set(data.sets.map(([group, network]) => `${group}/${network}`)).size > 1;

function columns() {
  const numbers = data.numbers.filter((number) => number.at_once || state.more);
  const leading = numbers.filter((number) => LEADING.includes(number.name));
  const others = numbers.filter((number) => !LEADING.includes(number.name));
  const models = state.more && severalSets ? [{ name: "models", head: "Models" }] : [];
  const sites = state.more || severalSites ? [siteColumn] : [];
  const named = severalStructures ? [{ name: "structure", head: "Structure" }] : [];
  const reviewed = [...marks.values()].some((mark) => mark.verdict);
  const first = reviewed ? [scanColumn, reviewColumn] : [scanColumn];
  const last = reviewed || state.paper ? [flagColumn] : [flagColumn, reviewColumn];
  return [...first, ...named, ...leading, ...textColumns, ...sites, ...models, ...others, ...last];
}

function valueOf(row, name) {
  if (name === "review") return verdictOf(row.scan);
  if (name === "models") return `${row.group}/${row.network}`;
  if (name === "age") return row.age === "" ? "" : parseFloat(row.age);
  return row[name];
}

function shownText(row, column) {
  const value = valueOf(row, column.name);
  if (column.digits !== undefined) return shownNumber(value, column);
  if (column.name === "age") return row.age;
  if (column.name === "protocol") return data.protocols[value];
  if (column.name === "review") return VERDICTS[value] ?? "";
  return String(value);
}

// volumes are mm³ in the data and in saved files, cm³ on the page: `factor` leads from one to the other
function shownNumber(value, { digits, factor }) {
  if (value === null || value === undefined) return "–";
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const text = (value * factor).toLocaleString("en-US", options);
  return text.replace("-", /[1-9]/.test(text) ? "−" : ""); // a number that rounds to 0 has no sign
}

// "89,999" has a thousands separator, as this page writes it; "0,98" has a decimal comma
const THOUSANDS = /^-?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$/;

const limitOf = (id) => {
  const given = $(id).value.trim().replace("−", "-");
  const text = THOUSANDS.test(given) ? given.replaceAll(",", "") : given.replace(",", ".");
  const value = text === "" ? NaN : Number(text);
  $(id).setAttribute("aria-invalid", text !== "" && Number.isNaN(value));
  return value;
};

function chosenRows() {
  const chosen = $("set").value;
  return chosen === "primary" ? primaryRows : rows.filter((row) => row.set === Number(chosen));
}

function filteredRows() {
  const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const same = ["sex", "protocol", "fold"].map((name) => [name, $(name).value]).filter(([, value]) => value);
  const [flag, verdict, limited] = ["flag", "verdict", "limited"].map((id) => $(id).value);
  const [low, high] = [limitOf("from"), limitOf("to")];
  const limits = !Number.isNaN(low) || !Number.isNaN(high);
  const factor = data.numbers.find((number) => number.name === limited)?.factor ?? 1;
  return chosenRows().filter((row) =>
    words.every((word) => row.searched.includes(word)) &&
    same.every(([name, value]) => String(row[name]) === value) &&
    (!flag || (flag === "any" ? row.codes.length > 0 : flag === "none" ? row.codes.length === 0 : row.codes.includes(flag))) &&
    (!verdict || (verdict === "none" ? !verdictOf(row.scan) : verdictOf(row.scan) === verdict)) &&
    (!limits || (row[limited] !== null && !(row[limited] * factor < low) && !(row[limited] * factor > high))));
}

function sorted(chosen) {
  const empty = (value) => value === "" || value === null || value === undefined;
  return chosen
    .map((row) => [valueOf(row, state.sort), row])
    .sort(([x, a], [y, b]) => {
      if (empty(x) || empty(y)) return empty(x) - empty(y) || inOrder(a.scan, b.scan);
      const order = typeof x === "number" && typeof y === "number" ? x - y : inOrder(String(x), String(y));
      return (state.down ? -order : order) || inOrder(a.scan, b.scan);
    })
    .map(([, row]) => row);
}

let shown = [];

function update() {
  shown = sorted(filteredRows());
  const pages = Math.max(1, Math.ceil(shown.length / ROWS_A_PAGE));
  state.page = Math.min(state.page, pages - 1);
  const start = state.page * ROWS_A_PAGE;
  const part = state.paper ? shown.slice(0, ROWS_ON_PAPER) : shown.slice(start, start + ROWS_A_PAGE);
  $("count").textContent = `${shown.length} of ${chosenRows().length} ${severalStructures ? "rows" : "scans"}`;
  $("page-number").textContent = `Page ${state.page + 1} of ${pages}`;
  $("page-back").disabled = state.page === 0;
  $("page-on").disabled = state.page >= pages - 1;
  $("print-note").hidden = !state.paper || shown.length <= ROWS_ON_PAPER;
  $("print-note").textContent = `The first ${ROWS_ON_PAPER} of ${shown.length} rows; metrics.csv and volumes.csv hold all rows.`;
  drawHeads();
  markHeads();
  $("scan-rows").tBodies[0].replaceChildren(...part.map(tableRow));
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function thumbnail(row, size) {
  return element("img", { src: `${row.page}-small.webp`, width: size, height: size, loading: "lazy", alt: "" });
}

function pageLink(row, ...children) {
  const link = element("a", { href: `${row.page}.html` }, ...children);
  link.dataset.scan = row.scan;
  return link;
}

function tableRow(row) {
  const line = element("tr");
  const picture = element("td", { className: "picture" });
  if (row.page) {
    const link = pageLink(row, thumbnail(row, 56));
    link.tabIndex = -1; // the name next to it links to the same page
    link.setAttribute("aria-hidden", "true");
    picture.append(link);
  }
  line.append(picture);
  for (const column of columns()) line.append(cell(row, column));
  return line;
}

function cell(row, column) {
  const text = shownText(row, column);
  if (column.name === "scan") {
    return element("th", { scope: "row" }, row.page ? pageLink(row, text) : text);
  }
  const made = element("td", { className: column.digits === undefined ? "" : "n" }, text);
  if (column.digits !== undefined && text === "–") made.title = row.reasons[column.name] ?? "not measured";
  if (column.name === "review") made.className = `verdict ${verdictOf(row.scan)}`;
  if (column.name === "flags" && text) made.prepend("⚑ ");
  if (column.name === "flags") made.classList.add("words", ...(row.codes.length > 1 ? ["many"] : []));
  if (column.name === "site" && text.length > 12) made.classList.add("words");
  return made;
}

let drawnHeads = "";

// new heads where columns come, go or move; others stay, and with them the focus
function drawHeads() {
  const wanted = JSON.stringify([state.paper, ...columns().map((column) => column.name)]);
  if (wanted === drawnHeads) return;
  drawnHeads = wanted;
  const line = element("tr", {}, element("th", { scope: "col", className: "picture" }, element("span", { className: "unseen" }, "Picture")));
  for (const column of columns()) {
    const head = element("th", { scope: "col", className: column.digits === undefined ? "" : "n" });
    head.dataset.name = column.name;
    // browsers do not repeat buttons on the next sheet of paper
    head.append(state.paper ? column.head : element("button", { type: "button" }, column.head));
    line.append(head);
  }
  $("scan-rows").tHead.replaceChildren(line);
}

function markHeads() {
  for (const head of $("scan-rows").tHead.rows[0].cells) {
    if (head.dataset.name === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function fill(id, first, options) {
  $(id).replaceChildren(...[["", first], ...options].map(([value, label]) => new Option(label, value)));
}

function fillFilters() {
  const unique = (name) => [...new Set(rows.map((row) => String(row[name])))].filter(Boolean).sort(inOrder);
  const setName = ([group, network, protocol, structure]) =>
    [data.protocols[protocol], group, network, ...(severalStructures ? [structure] : [])].join(" · ");
  $("set").replaceChildren(new Option("primary of each scan", "primary"), ...data.sets.map((set, position) => new Option(setName(set), position)));
  fill("sex", "all", unique("sex").map((sex) => [sex, { M: "men", F: "women" }[sex] ?? sex]));
  fill("protocol", "all", unique("protocol").map((name) => [name, data.protocols[name]]));
  fill("fold", "all", unique("fold").map((fold) => [fold, fold]));
  const codes = [...new Set(rows.flatMap((row) => row.codes))].sort();
  fill("flag", "all", [["any", "any flag"], ["none", "no flag"], ...codes.map((code) => [code, code.replaceAll("_", " ")])]);
  fill("verdict", "all", [["none", "not reviewed"], ...Object.entries(VERDICTS)]);
  $("limited").replaceChildren(...data.numbers.map((number) => new Option(number.head, number.name)));
}

function again() {
  state.page = 0;
  update();
}

function turnPage(step) {
  state.page += step;
  update();
}

function sortBy(name) {
  state.down = state.sort === name ? !state.down : false;
  state.sort = name;
  again();
}

// a blank in front of text that a spreadsheet would take for a formula; readers of review.csv strip blanks
const guarded = (value) => (typeof value === "string" && /^[=+\-@]/.test(value) ? ` ${value}` : String(value ?? ""));
const csvText = (text) => (/^[\w./+ -]*$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`);
const csvLine = (values) => values.map((value) => csvText(guarded(value))).join(",");
const csvFile = (lines) => lines.map((line) => csvLine(line) + "\r\n").join("");

function saveFile(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function saveRows() {
  const numbers = data.numbers.map((number) => number.name);
  const names = ["scan", "group", "network", "protocol", "fold", "sex", "age", "site", ...numbers];
  const lines = shown.map((row) => [...names.map((name) => row[name]), row.codes.join(" "), verdictOf(row.scan)]);
  saveFile("scans.csv", csvFile([[...names, "flags", "verdict"], ...lines]));
}

// the gallery shows each scan by its worst structure, and begins with the scans that most need a look
function galleryCard(row) {
  const doubt = row.dsc ?? row.member_dice;
  const told = data.numbers.find((number) => number.name === (row.dsc !== null ? "dsc" : "member_dice"));
  const of = severalStructures ? `${row.structure}: ` : "";
  const words = doubt !== null ? `${of}${told.title} ${shownNumber(doubt, told)}` : "";
  const lines = [row.scan, words, row.codes.length ? `⚑ ${row.flags}` : "", VERDICTS[verdictOf(row.scan)] ?? ""];
  return pageLink(row, thumbnail(row, 112), ...lines.filter(Boolean).map((line) => element("span", {}, line)));
}

const most = (value) => value ?? Infinity;
const worst = data.worst.map((position) => rows[position]).filter((row) => row.page);
const galleries = [
  ["Lowest Dice first", worst.filter((row) => row.dsc !== null).sort((a, b) => a.dsc - b.dsc)],
  ["Without a reference: most flags first, then the lowest agreement of the models",
    worst.filter((row) => row.dsc === null).sort((a, b) => b.codes.length - a.codes.length || most(a.member_dice) - most(b.member_dice) || inOrder(a.scan, b.scan))],
];

function drawGallery() {
  $("gallery-cards")?.replaceChildren(...galleries.filter(([, chosen]) => chosen.length).flatMap(([title, chosen]) => [
    element("h3", {}, `${title}: ${Math.min(GALLERY, chosen.length)} of ${chosen.length}`),
    element("div", { className: "thumbs" }, ...chosen.slice(0, GALLERY).map(galleryCard)),
  ]));
}

function startTable() {
  if (!$("scan-table")) return;
  fillFilters();
  $("scan-table").hidden = false;
  const form = document.querySelector(".filters");
  form.addEventListener("input", again);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(again));
  $("scan-rows").tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th[data-name]");
    if (head) sortBy(head.dataset.name);
  });
  // links elsewhere on the page that show only the scans with a flag
  for (const link of document.querySelectorAll("a[data-flag]")) {
    link.addEventListener("click", () => {
      $("reset").click(); // form.reset is the button of this id
      setTimeout(() => {
        $("flag").value = link.dataset.flag;
        again();
      });
    });
  }
  $("more").addEventListener("change", () => {
    state.more = $("more").checked;
    update();
  });
  $("page-back").addEventListener("click", () => turnPage(-1));
  $("page-on").addEventListener("click", () => turnPage(1));
  $("save-scans").addEventListener("click", saveRows);
  update();
}

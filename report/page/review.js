// Review: a person's verdict on each scan, given by mouse or keyboard, kept in the browser, saved as review.csv.
const HEADER = ["scan", "verdict", "comment", "seen_mm3", "corrected_mask"];
const STORE = `osteoflow-review/${data.study}/${data.digest}`;
const REVIEWED = JSON.stringify(data.reviews); // the review that this run used
const review = { order: [], place: 0, saved: "", home: "scan-table" };
const dialog = $("review"), frame = $("review-page"), comment = $("review-comment");

const lineOf = ([scan, mark]) => [scan, mark.verdict, mark.comment, mark.seen_mm3, mark.corrected_mask];

function reviewFile() {
  return csvFile([HEADER, ...[...marks].sort(([a], [b]) => inOrder(a, b)).map(lineOf)]);
}

const seenVolume = (scan) => {
  const volumes = primaryRows.filter((row) => row.scan === scan).map((row) => row.predicted_mm3);
  return volumes.length && !volumes.includes(null) ? volumes.reduce((sum, volume) => sum + volume, 0).toFixed(1) : "";
};

function setMark(scan, change) {
  const before = marks.get(scan) ?? { verdict: "", comment: "", corrected_mask: "" };
  const mark = { ...before, ...change, seen_mm3: seenVolume(scan) };
  if (mark.verdict || mark.comment || mark.corrected_mask) marks.set(scan, mark);
  else marks.delete(scan);
  keep();
  showProgress();
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify({ marks: [...marks], saved: review.saved, reviewed: REVIEWED }));
  } catch {
    // some browsers deny local files storage: marks then last until the page is closed, which warns of unsaved marks
  }
}

function recall() {
  for (const [scan, mark] of Object.entries(data.reviews)) {
    marks.set(scan, { verdict: mark.verdict, comment: mark.comment ?? "", seen_mm3: mark.seen_mm3 ?? "", corrected_mask: "" });
  }
  review.saved = reviewFile();
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    if (kept) takeKept(kept);
  } catch {
    // no storage, or unreadable content: the marks of the review that this run used remain
  }
}

function takeKept(kept) {
  if (kept.reviewed === REVIEWED) {
    marks.clear();
    for (const [scan, mark] of kept.marks) marks.set(scan, mark);
    review.saved = kept.saved;
  } else {
    // the run has since used another review: keep its marks, and add those that were never downloaded
    const downloaded = new Set(kept.saved.split("\r\n"));
    for (const [scan, mark] of kept.marks) if (!downloaded.has(csvLine(lineOf([scan, mark])))) marks.set(scan, mark);
  }
}

const unsaved = () => reviewFile() !== review.saved;

// the page knows which scans have a corrected mask, but not the paths of the masks
const withoutPath = () => reviewable.filter((row) => row.codes.includes("corrected") && !marks.get(row.scan)?.corrected_mask);

function showProgress() {
  const done = reviewable.filter((row) => verdictOf(row.scan)).length;
  const open = [...marks.values()].filter((mark) => mark.comment && !mark.verdict).length;
  const progress = `${done} of ${reviewable.length} reviewed`;
  $("review-progress").textContent = progress;
  if (!$("progress")) return;
  $("progress").textContent = progress + (open ? ` · ${open} with a comment but no verdict` : "");
  $("unsaved").textContent = unsaved() ? "Unsaved marks: download review.csv" : "";
  const lost = withoutPath().map((row) => row.scan);
  $("lost").textContent = lost.length ? `Load the review.csv of this run first: this page does not know the corrected masks of ${lost.join(", ")}, and its file would leave them out.` : "";
}

// marks of scans that this run does not show stay in the file unless they are removed
function showKept() {
  const gone = [...marks].filter(([scan]) => !primary.has(scan));
  const items = gone.map(([scan, mark]) => {
    const back = element("button", { type: "button" }, "Remove");
    back.setAttribute("aria-label", `Remove the mark of ${scan}`);
    back.addEventListener("click", () => {
      marks.delete(scan);
      keep();
      showProgress();
      showKept();
    });
    const said = [VERDICTS[mark.verdict], mark.comment, mark.corrected_mask].filter(Boolean);
    return element("li", {}, `${scan}: ${said.join(", ")} `, back);
  });
  const title = element("summary", {}, `Kept from an earlier review, on scans that are not in this table: ${gone.length}`);
  $("kept").replaceChildren(...(gone.length ? [element("details", {}, title, element("ul", {}, ...items))] : []));
}

const current = () => review.order[review.place];

function openReview(scan, chosen) {
  const order = [...new Set(chosen.filter((row) => row.page).map((row) => row.scan))];
  review.order = order.includes(scan) ? order : [scan];
  review.place = review.order.indexOf(scan);
  dialog.showModal();
  showScan();
}

function showScan() {
  const row = primary.get(current());
  $("review-scan").textContent = `Scan ${row.scan}`;
  $("review-place").textContent = `${review.place + 1} of ${review.order.length}`;
  $("review-scan").focus(); // a loading frame would swallow keys
  frame.title = `Page of scan ${row.scan}`;
  frame.contentWindow.location.replace(new URL(`${row.page}.html`, location.href));
  $("review-back").disabled = review.place === 0;
  $("review-on").disabled = review.place === review.order.length - 1;
  showMark();
}

function showMark() {
  const mark = marks.get(current());
  comment.value = mark?.comment ?? "";
  for (const button of dialog.querySelectorAll("[data-verdict]")) {
    if (button.dataset.verdict) button.setAttribute("aria-pressed", button.dataset.verdict === (mark?.verdict ?? ""));
  }
  showProgress();
}

function judge(verdict) {
  setMark(current(), verdict ? { verdict } : { verdict, comment: "" });
  showMark();
}

function step(by) {
  const place = review.place + by;
  if (place < 0 || place >= review.order.length) return;
  review.place = place;
  showScan();
}

function toggleHelp() {
  const keys = $("review-keys");
  keys.hidden = !keys.hidden;
  $("review-help").setAttribute("aria-expanded", !keys.hidden);
}

const KEYS = {
  a: () => judge("accepted"), r: () => judge("rejected"), e: () => judge("needs-edit"), u: () => judge(""),
  c: () => comment.focus(), n: () => step(1), j: () => step(1), ArrowRight: () => step(1),
  p: () => step(-1), k: () => step(-1), ArrowLeft: () => step(-1), Escape: () => dialog.close(), "?": toggleHelp,
};

function press(key) {
  const name = key.length === 1 ? key.toLowerCase() : key;
  const known = Object.hasOwn(KEYS, name);
  if (known) KEYS[name]();
  return known;
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === comment) {
    if (event.key === "Escape") {
      event.preventDefault();
      $("review-scan").focus();
    }
    return;
  }
  if (press(event.key)) event.preventDefault();
}

function fromFrame(event) {
  if (event.source !== frame.contentWindow || event.data?.osteoflow !== "key" || !dialog.open) return;
  press(event.data.key);
}

function saveReview() {
  review.saved = reviewFile();
  saveFile("review.csv", review.saved);
  keep();
  showProgress();
}

function readCsv(text) {
  const lines = [[""]];
  let quoted = false;
  const source = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
  const [head] = source.split("\n", 1), count = (mark) => head.split(mark).length;
  const separator = [",", ";", "\t"].reduce((most, mark) => (count(mark) > count(most) ? mark : most));
  for (let at = 0; at < source.length; at++) {
    const line = lines.at(-1), letter = source[at];
    if (quoted && letter === '"' && source[at + 1] === '"') line[line.length - 1] += source[++at];
    else if (letter === '"' && (quoted || !line.at(-1).trim())) quoted = !quoted;
    else if (letter === separator && !quoted) line.push("");
    else if (letter === "\n" && !quoted) lines.push([""]);
    else line[line.length - 1] += letter;
  }
  return lines.filter((line) => line.some((value) => value.trim()));
}

// a spreadsheet may have written a decimal comma; text that is not a volume is dropped
function volumeText(text) {
  const volume = text.replace(",", ".");
  return volume && Number(volume) >= 0 ? volume : "";
}

function takeReview(text) {
  const [head = [], ...lines] = readCsv(text);
  const names = head.map((name) => name.trim());
  if (!names.includes("scan") || !names.includes("verdict")) return "This is not a review.csv: its first line must name scan and verdict.";
  const odd = [];
  lines.forEach((line, position) => {
    const given = Object.fromEntries(names.map((name, column) => [name, (line[column] ?? "").trim()]));
    const { scan, verdict, comment = "", seen_mm3 = "", corrected_mask = "" } = given;
    const known = verdict ? Object.hasOwn(VERDICTS, verdict) : comment || corrected_mask;
    if (scan && known) marks.set(scan, { verdict, comment, seen_mm3: volumeText(seen_mm3), corrected_mask });
    else odd.push(position + 2);
  });
  const taken = lines.length - odd.length;
  const left = odd.length ? ` Left out: ${odd.length === 1 ? "row" : "rows"} ${odd.join(", ")}; a row needs a scan and accepted, rejected, needs-edit or a comment.` : "";
  return `${taken} ${taken === 1 ? "row" : "rows"} loaded.${left}`;
}

async function loadReview(event) {
  const [file] = event.target.files;
  if (!file) return;
  $("loaded").textContent = takeReview(await file.text());
  event.target.value = "";
  keep();
  showProgress();
  showKept();
  update();
  drawGallery();
}

function follow(event) {
  const link = event.target.closest?.("a[data-scan]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const inGallery = link.closest("#gallery-cards");
  review.home = inGallery ? "gallery-cards" : "scan-table";
  openReview(link.dataset.scan, inGallery ? galleries.flatMap(([, chosen]) => chosen) : shown);
}

// focus the scan that was seen last, on the table's page that holds it; a filter may have removed it
function backHome() {
  update();
  const place = shown.findIndex((row) => row.scan === current());
  if (place >= 0) turnPage(Math.floor(place / ROWS_A_PAGE) - state.page);
  drawGallery();
  const links = [...$(review.home).querySelectorAll("a[data-scan]")];
  (links.find((link) => link.dataset.scan === current() && link.tabIndex === 0) ?? $("start-review")).focus();
}

function startReview() {
  recall();
  showProgress();
  dialog.addEventListener("keydown", pressed);
  dialog.addEventListener("cancel", (event) => {
    if (document.activeElement === comment) event.preventDefault();
  });
  dialog.addEventListener("close", backHome);
  // the page of the scan handles keys for its slices and passes on the others
  frame.addEventListener("load", () => {
    if (dialog.open && document.activeElement !== comment) frame.contentWindow.focus();
  });
  addEventListener("message", fromFrame);
  comment.addEventListener("input", () => setMark(current(), { comment: comment.value }));
  for (const button of dialog.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => judge(button.dataset.verdict));
  $("review-back").addEventListener("click", () => step(-1));
  $("review-on").addEventListener("click", () => step(1));
  $("review-help").addEventListener("click", toggleHelp);
  $("review-close").addEventListener("click", () => dialog.close());
  document.addEventListener("click", follow);
  addEventListener("beforeunload", (event) => {
    if (unsaved()) event.preventDefault();
  });
  if (!$("scan-table")) return;
  showKept();
  $("save-review").addEventListener("click", saveReview);
  $("load-review").addEventListener("change", loadReview);
  $("start-review").addEventListener("click", () => {
    const first = shown.find((row) => row.page && !verdictOf(row.scan)) ?? shown.find((row) => row.page);
    review.home = "scan-table";
    if (first) openReview(first.scan, shown);
  });
}

// Review: a person's verdict on each scan, by mouse or keyboard, kept in the browser, saved as review.csv.
const HEADER = ["scan", "verdict", "comment", "seen_mm3", "corrected_mask"];
const STORE = `osteoflow-review/${data.study}/${data.digest}`;
const review = { order: [], place: 0, saved: "" };
const dialog = $("review"), frame = $("review-page"), comment = $("review-comment");

// ---- marks
const lineOf = ([scan, mark]) => [scan, mark.verdict, mark.comment, mark.seen_mm3, mark.corrected_mask];

function reviewFile() {
  const judged = [...marks].filter(([, mark]) => mark.verdict).sort(([a], [b]) => inOrder(a, b));
  return csvFile([HEADER, ...judged.map(lineOf)]);
}

const seenVolume = (scan) => primary.get(scan)?.predicted_mm3?.toFixed(1) ?? "";

function setMark(scan, change) {
  const before = marks.get(scan) ?? { verdict: "", comment: "", corrected_mask: "" };
  const mark = { ...before, ...change, seen_mm3: seenVolume(scan) };
  if (mark.verdict || mark.comment) marks.set(scan, mark);
  else marks.delete(scan);
  keep();
  showProgress();
}

function clearMark(scan) {
  marks.delete(scan);
  keep();
  showProgress();
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify({ marks: [...marks], saved: review.saved }));
  } catch {
    // a browser may forbid storage to local files: then marks live until the page is closed, and it warns of that
  }
}

function recall() {
  for (const [scan, mark] of Object.entries(data.reviews)) {
    marks.set(scan, { verdict: mark.verdict, comment: mark.comment ?? "", seen_mm3: mark.seen_mm3 ?? "", corrected_mask: "" });
  }
  review.saved = reviewFile();
  try {
    const kept = JSON.parse(localStorage.getItem(STORE));
    if (!kept) return;
    marks.clear();
    for (const [scan, mark] of kept.marks) marks.set(scan, mark);
    review.saved = kept.saved;
  } catch {
    // no storage, or not ours: the review of the last run stands
  }
}

const unsaved = () => reviewFile() !== review.saved;

function showProgress() {
  const done = reviewable.filter((row) => verdictOf(row.scan)).length;
  const open = [...marks.values()].filter((mark) => mark.comment && !mark.verdict).length;
  const progress = `${done} of ${reviewable.length} reviewed`;
  $("review-progress").textContent = progress;
  if (!$("progress")) return;
  $("progress").textContent = progress + (open ? ` · ${open} with a comment but no verdict, which the file leaves out` : "");
  $("unsaved").textContent = unsaved() ? "Unsaved marks: download review.csv" : "";
}

// verdicts on scans that this run does not show: kept in the file unless they are taken back
function showKept() {
  const gone = [...marks].filter(([scan, mark]) => mark.verdict && !primary.has(scan));
  const items = gone.map(([scan, mark]) => {
    const back = element("button", { type: "button" }, "Take back");
    back.setAttribute("aria-label", `Take back the verdict on ${scan}`);
    back.addEventListener("click", () => {
      clearMark(scan);
      showKept();
    });
    return element("li", {}, `${scan}: ${VERDICTS[mark.verdict]}${mark.comment ? `, ${mark.comment}` : ""} `, back);
  });
  const title = element("summary", {}, `Kept from an earlier review, on scans that are not in this table: ${gone.length}`);
  $("kept").replaceChildren(...(gone.length ? [element("details", {}, title, element("ul", {}, ...items))] : []));
}

// ---- the dialog
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
  if (verdict) setMark(current(), { verdict });
  else clearMark(current());
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

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === comment) {
    if (event.key === "Escape") {
      event.preventDefault();
      $("review-scan").focus();
    }
    return;
  }
  if (!Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
}

function fromFrame(event) {
  if (event.source !== frame.contentWindow || event.data?.osteoflow !== "key" || !dialog.open) return;
  if (Object.hasOwn(KEYS, event.data.key)) KEYS[event.data.key]();
}

// ---- review.csv
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
  for (let at = 0; at < source.length; at++) {
    const line = lines.at(-1), letter = source[at];
    if (quoted && letter === '"' && source[at + 1] === '"') line[line.length - 1] += source[++at];
    else if (letter === '"' && (quoted || line.at(-1) === "")) quoted = !quoted;
    else if (letter === "," && !quoted) line.push("");
    else if (letter === "\n" && !quoted) lines.push([""]);
    else line[line.length - 1] += letter;
  }
  return lines.filter((line) => line.some((value) => value.trim()));
}

function takeReview(text) {
  const [head = [], ...lines] = readCsv(text);
  const names = head.map((name) => name.trim());
  if (!names.includes("scan") || !names.includes("verdict")) return "No review.csv: its first line must name scan and verdict.";
  const odd = [];
  lines.forEach((line, position) => {
    const given = Object.fromEntries(names.map((name, column) => [name, (line[column] ?? "").trim()]));
    if (!given.scan || !Object.hasOwn(VERDICTS, given.verdict)) odd.push(position + 2);
    else marks.set(given.scan, { verdict: given.verdict, comment: given.comment ?? "", seen_mm3: given.seen_mm3 ?? "", corrected_mask: given.corrected_mask ?? "" });
  });
  const left = odd.length ? ` Left out: rows ${odd.join(", ")}; the verdict must be accepted, rejected or needs-edit.` : "";
  return `${lines.length - odd.length} verdicts loaded.${left}`;
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

// ---- events
function follow(event) {
  const link = event.target.closest?.("a[data-scan]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const inTable = shown.some((row) => row.scan === link.dataset.scan);
  openReview(link.dataset.scan, inTable ? shown : galleries.flatMap(([, chosen]) => chosen));
}

function startReview() {
  recall();
  showProgress();
  dialog.addEventListener("keydown", pressed);
  dialog.addEventListener("cancel", (event) => {
    if (document.activeElement === comment) event.preventDefault();
  });
  dialog.addEventListener("close", () => {
    if ($("scan-table")) update();
    drawGallery();
    [...document.querySelectorAll("a[data-scan]")].find((link) => link.dataset.scan === current() && link.tabIndex === 0)?.focus();
  });
  // the page of the scan takes the keys of its slices and hands on the others
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
    if (first) openReview(first.scan, shown);
  });
}

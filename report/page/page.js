// The table of contents, copying and printing.
const sections = [...document.querySelectorAll("main > section")];
const contents = $("contents");
const wide = matchMedia("(min-width: 1360px)");

function showHere() {
  const reached = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3).at(-1);
  for (const link of contents.querySelectorAll("a")) {
    const here = link.hash === `#${reached?.id}`;
    if (here) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    if (here) $("here").textContent = link.textContent;
  }
  if (!reached) $("here").textContent = "";
}

function startContents() {
  contents.open = wide.matches;
  wide.addEventListener("change", () => (contents.open = wide.matches));
  contents.addEventListener("click", (event) => {
    if (event.target.closest("a") && !wide.matches) contents.open = false;
  });
  addEventListener("scroll", () => requestAnimationFrame(showHere), { passive: true });
  showHere();
}

// browsers copy lists without their numbers, but the text cites by number
function methodsText() {
  const works = [...document.querySelectorAll("#methods-copy .references li")];
  return [$("methods-text").innerText, ...works.map((work, position) => `${position + 1}. ${work.textContent}`)].join("\n");
}

async function copyMethods() {
  const part = $("methods-copy");
  try {
    await navigator.clipboard.writeText(methodsText());
  } catch {
    getSelection().selectAllChildren(part); // some browsers deny local files the clipboard
    document.execCommand("copy");
    getSelection().removeAllRanges();
  }
  $("copied").textContent = "Copied.";
}

// on paper all folded parts are open
function toPaper(paper) {
  for (const part of document.querySelectorAll("details.print")) {
    if (paper) part.dataset.closed = !part.open;
    part.open = paper || part.dataset.closed !== "true";
  }
  for (const image of document.images) image.loading = "eager";
  state.paper = paper;
  if ($("scan-table")) update();
}

startReview();
startTable();
drawGallery();
startContents();
startPoints();
$("copy-methods").hidden = false;
$("copy-methods").addEventListener("click", copyMethods);
// printing does not wait for lazy pictures, so figures and gallery are loaded as soon as the page is
addEventListener("load", () => {
  for (const image of document.querySelectorAll("figure img, .thumbs img")) image.loading = "eager";
});
addEventListener("beforeprint", () => toPaper(true));
addEventListener("afterprint", () => toPaper(false));

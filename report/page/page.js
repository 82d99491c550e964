// The page itself: contents, copying, printing.
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

// lists are copied without their numbers, and the text cites by number
function methodsText() {
  const works = [...document.querySelectorAll("#methods-copy .references li")];
  return [$("methods-text").innerText, ...works.map((work, position) => `${position + 1}. ${work.textContent}`)].join("\n");
}

async function copyMethods() {
  const part = $("methods-copy");
  try {
    await navigator.clipboard.writeText(methodsText());
  } catch {
    getSelection().selectAllChildren(part); // browsers that keep the clipboard from local files
    document.execCommand("copy");
    getSelection().removeAllRanges();
  }
  $("copied").textContent = "Copied.";
}

// paper shows everything
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
$("copy-methods").hidden = false;
$("copy-methods").addEventListener("click", copyMethods);
// paper does not wait for pictures: those of figures and gallery come as soon as the page stands
addEventListener("load", () => {
  for (const image of document.querySelectorAll("figure img, .thumbs img")) image.loading = "eager";
});
addEventListener("beforeprint", () => toPaper(true));
addEventListener("afterprint", () => toPaper(false));

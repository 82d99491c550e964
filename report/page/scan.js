"use strict";
// Slices, contours and 3-D view of one scan. Keys that are not used here go to the page that frames this one.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const dash = "\u2013";
  const views = ["the front", "the front and left", "the patient's left", "the back and left",
    "the back", "the back and right", "the patient's right", "the front and right"];
  const shown = { predicted: true, reference: true };
  let slice = data.first;
  let model = 0;

  const move = (image, index, columns, edge) => {
    image.setAttribute("x", -(index % columns) * edge);
    image.setAttribute("y", -Math.floor(index / columns) * edge);
  };
  const area = (mask) => `${mask.areas[slice].toFixed(0)} mm\u00b2`;
  const masks = () => ({ predicted: data.predictions[model], reference: data.reference });

  function drawSlice() {
    const { predicted, reference } = masks();
    move(at("sheet"), slice, data.columns, data.edge);
    for (const [name, mask] of Object.entries(masks())) {
      at(`${name}-outline`).setAttribute("d", mask && shown[name] ? mask.paths[slice] : "");
    }
    at("here").setAttribute("d", `M${slice + 0.5} 0V100`);
    at("predicted-area").textContent = area(predicted);
    let text = `Slice ${slice + 1} of ${data.slices}, ${(slice * data.step_mm).toFixed(0)} mm above the lower end.`;
    if (!predicted.paths[slice]) text += " No bone predicted.";
    if (reference) {
      const dice = predicted.dice[slice];
      at("reference-area").textContent = area(reference);
      at("dice").textContent = dice === null ? `${dash} (no bone in either mask)` : dice.toFixed(4);
      text += dice === null ? " No bone in the reference." : ` Dice ${dice.toFixed(2)}.`;
    }
    at("slice").value = slice;
    at("slice").setAttribute("aria-valuetext", text);
    at("where").textContent = text;
  }

  function drawProfile() {
    const known = Object.entries(masks()).filter(([, mask]) => mask);
    const most = Math.max(1, ...known.flatMap(([, mask]) => mask.areas));
    for (const [name, mask] of known) {
      const points = mask.areas.map((value, index) => `${index + 0.5} ${(96 - 92 * value / most).toFixed(1)}`);
      at(`${name}-profile`).setAttribute("d", `M${points.join("L")}`);
    }
  }

  function chooseModel(index) {
    model = index;
    for (const row of document.querySelectorAll(".numbers tr:not(.group)")) {
      [...row.cells].forEach((cell, column) => {
        cell.classList.toggle("chosen", data.predictions.length > 1 && column === model + 1);
      });
    }
    drawProfile();
    drawSlice();
  }

  function goTo(index) {
    const wanted = Math.min(Math.max(index, 0), data.slices - 1);
    const moved = wanted !== slice;
    slice = wanted;
    drawSlice();
    return moved;
  }

  function worstSlice() {
    const known = data.predictions[model].dice.map((dice, index) => [dice, index]).filter(([dice]) => dice !== null);
    if (known.length) goTo(known.reduce((worst, one) => (one[0] < worst[0] ? one : worst))[1]);
  }

  function show(name, visible) {
    const button = at(`${name}-toggle`);
    if (!button) return;
    shown[name] = visible;
    button.setAttribute("aria-pressed", visible);
    drawSlice();
  }

  function drawTurn() {
    const view = Number(at("angle").value);
    const degrees = 360 / data.turn.views * view;
    move(at("turn-sheet"), view, data.turn.columns, data.turn.px);
    const text = `${views[Math.round(degrees / 45) % 8]} (${degrees.toFixed(0)}\u00b0)`;
    at("angle-text").textContent = text;
    at("angle").setAttribute("aria-valuetext", `seen from ${text}`);
  }

  const inView = () => {
    const box = at("stage").getBoundingClientRect();
    return box.bottom > 0 && box.top < window.innerHeight;
  };
  const steps = {
    ArrowUp: () => slice + 1, ArrowDown: () => slice - 1, PageUp: () => slice + 5, PageDown: () => slice - 5,
    Home: () => 0, End: () => data.slices - 1,
  };
  function ownKeys(target) {
    if (target.matches("select")) return () => true;
    if (target.matches("input")) return (key) => key.startsWith("Arrow") || key.startsWith("Page") || key === "Home" || key === "End";
    return (key) => key === "Tab" || (target.matches("button, a") && (key === "Enter" || key === " "));
  }
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const { key, target } = event;
    const onSlider = target === at("slice");
    if (key.toLowerCase() === "m" && !target.matches("select")) {
      const visible = !(shown.predicted || shown.reference);
      show("predicted", visible);
      shown.reference = visible;
      show("reference", visible);
    } else if (steps[key] && (onSlider || (!ownKeys(target)(key) && inView()))) {
      goTo(steps[key]());
      event.preventDefault();
    } else if (window.parent !== window && key !== "Tab" && (key === "Escape" || !ownKeys(target)(key))) {
      window.parent.postMessage({ osteoflow: "key", key }, "*");
    }
  }

  at("viewer").hidden = false;
  at("turn-control").hidden = false;
  at("slice").addEventListener("input", () => goTo(Number(at("slice").value)));
  at("angle").addEventListener("input", drawTurn);
  at("model")?.addEventListener("change", () => chooseModel(Number(at("model").value)));
  at("worst")?.addEventListener("click", worstSlice);
  for (const name of ["predicted", "reference"]) {
    at(`${name}-toggle`)?.addEventListener("click", () => show(name, !shown[name]));
  }
  at("stage").addEventListener("wheel", (event) => {
    if (!event.ctrlKey && event.deltaY && goTo(slice - Math.sign(event.deltaY))) event.preventDefault();
  }, { passive: false });
  document.addEventListener("keydown", onKey);
  chooseModel(0);
  // in a review, scroll to the slices
  if (window.parent !== window) window.scrollTo({ top: at("viewer").closest("section").offsetTop, behavior: "instant" });
})();

"use strict";
// Slices, contours and 3-D view of one scan. Keys that are not used here go to the page that frames this one.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const dash = "\u2013";
  const views = ["the front", "the front and left", "the patient's left", "the back and left",
    "the back", "the back and right", "the patient's right", "the front and right"];
  const shown = { predicted: true, reference: true };
  // ids of a study's several structures end in their position; one structure has none
  const ends = (data.structures ?? [""]).map((name, part) => name && `-${part}`);
  const references = [data.reference ?? []].flat();
  let slice = data.first;
  let model = 0;
  let alone = -1; // the only structure to show; -1: all

  const move = (image, index, columns, edge) => {
    image.setAttribute("x", -(index % columns) * edge);
    image.setAttribute("y", -Math.floor(index / columns) * edge);
  };
  const area = (mask) => `${mask.areas[slice].toFixed(0)} mm\u00b2`;
  const masks = (part) => ({ predicted: data.predictions[model * ends.length + part], reference: references[part] });
  const isShown = (part) => alone < 0 || alone === part;
  const shownParts = () => [...ends.keys()].filter(isShown);

  function drawStructure(end, part) {
    const { predicted, reference } = masks(part);
    for (const [name, mask] of Object.entries(masks(part))) {
      at(`${name}-outline${end}`).setAttribute("d", mask && shown[name] && isShown(part) ? mask.paths[slice] : "");
    }
    at(`predicted-area${end}`).textContent = area(predicted);
    if (reference) {
      const dice = predicted.dice[slice];
      at(`reference-area${end}`).textContent = area(reference);
      at(`dice${end}`).textContent = dice !== null ? dice.toFixed(4) : data.structures ? dash : `${dash} (no bone in either mask)`;
    }
  }

  function describeDice(predicted) {
    const dice = predicted.map((mask) => mask.dice[slice]);
    if (dice.every((value) => value === null)) return " No bone in the reference.";
    if (!data.structures) return ` Dice ${dice[0].toFixed(2)}.`;
    const told = shownParts().map((part, place) => `${data.structures[part]} ${dice[place]?.toFixed(2) ?? dash}`);
    return ` Dice: ${told.join(", ")}.`;
  }

  function drawSlice() {
    move(at("sheet"), slice, data.columns, data.edge);
    ends.forEach(drawStructure);
    at("here").setAttribute("d", `M${slice + 0.5} 0V100`);
    const predicted = shownParts().map((part) => masks(part).predicted);
    const kind = data.plane === "axial" ? "Slice" : `${data.plane[0].toUpperCase()}${data.plane.slice(1)} slice`;
    let text = `${kind} ${slice + 1} of ${data.slices}, ${(slice * data.step_mm).toFixed(0)} mm ${data.beyond}.`;
    if (!predicted.some((mask) => mask.paths[slice])) text += " No bone predicted.";
    if (references.length) text += describeDice(predicted);
    at("slice").value = slice;
    at("slice").setAttribute("aria-valuetext", text);
    at("where").textContent = text;
  }

  function drawProfile() {
    const known = [...ends.keys()].flatMap((part) => Object.entries(masks(part)).map(([name, mask]) => [name, mask, part]));
    const most = Math.max(1, ...known.flatMap(([, mask, part]) => (mask && isShown(part) ? mask.areas : [])));
    for (const [name, mask, part] of known) {
      const points = (mask?.areas ?? []).map((value, index) => `${index + 0.5} ${(96 - 92 * value / most).toFixed(1)}`);
      at(`${name}-profile${ends[part]}`).setAttribute("d", mask && isShown(part) ? `M${points.join("L")}` : "");
    }
  }

  function choose(index, part) {
    model = index;
    alone = part;
    const first = model * ends.length + 1;
    const some = data.predictions.length > shownParts().length;
    for (const row of document.querySelectorAll("#numbers tr:not(.group)")) {
      [...row.cells].forEach((cell, column) => {
        const chosen = column >= first && column < first + ends.length && isShown(column - first);
        cell.classList.toggle("chosen", some && chosen);
      });
    }
    if (data.structures) ends.forEach((end, place) => { at(`structure${end}`).hidden = !isShown(place); });
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
    const known = shownParts().flatMap((part) => masks(part).predicted.dice.map((dice, index) => [dice, index]))
      .filter(([dice]) => dice !== null);
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
  at("model")?.addEventListener("change", () => choose(Number(at("model").value), alone));
  at("structure")?.addEventListener("change", () => choose(model, Number(at("structure").value)));
  at("worst")?.addEventListener("click", worstSlice);
  for (const name of ["predicted", "reference"]) {
    at(`${name}-toggle`)?.addEventListener("click", () => show(name, !shown[name]));
  }
  at("stage").addEventListener("wheel", (event) => {
    if (!event.ctrlKey && event.deltaY && goTo(slice - Math.sign(event.deltaY))) event.preventDefault();
  }, { passive: false });
  document.addEventListener("keydown", onKey);
  choose(0, alone);
  // in a review, scroll to the slices
  if (window.parent !== window) window.scrollTo({ top: at("viewer").closest("section").offsetTop, behavior: "instant" });
})();

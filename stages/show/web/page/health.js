// How the gate is.
import { el } from "./dom.js";
import { following, lost, now, quiet } from "./news.js";
import { session } from "./session.js";

const LATE_MS = 2000; // the gate writes four times a second how it is

export function health() {
  const tiles = el("div", { class: "tiles numbers" });
  const update = () => {
    const [found, time] = [session.state.health, now()];
    if (!found || time === null) { tiles.replaceChildren(el("p", { class: "empty" }, "The gate has said nothing yet.")); return; }
    const late = time - found.at_ns / 1e6;
    tiles.replaceChildren(
      tile("Gate", late < LATE_MS ? "alive" : "silent", `last word ${Math.max(0, late / 1000).toFixed(1)} s ago`, late < LATE_MS),
      ...Object.entries(found.cameras).map(([name, camera]) => (lost(name)
        ? tile(`Camera ${name}`, "no picture", `none for ${(quiet(name) / 1000).toFixed(0)} s; the last was frame ${camera.seq}`, false)
        : tile(`Camera ${name}`, `${camera.age_ms.toFixed(0)} ms`, `from capture to the gate; frame ${camera.seq}`))),
      tile("Passages", String(found.open_passages), "open now"),
      tile("Threshold", found.objection ? "not held" : "holds", found.objection || "calibrated for what runs", !found.objection));
  };
  update();
  return { root: el("section", {}, el("h1", {}, "Health"), tiles), leave: following(update) };
}

function tile(title, figure, note, good) {
  return el("div", { class: "card" }, el("h2", {}, title),
    el("p", { class: `figure ${good === false ? "bad" : ""}` }, figure), el("span", { class: "muted" }, note));
}

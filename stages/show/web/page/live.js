// The live picture, the doors as they are, and the newest decisions.
import { drawn, el, when } from "./dom.js";
import { item } from "./events.js";
import { following, lost, now, quiet, silent } from "./news.js";
import { session } from "./session.js";
import { watch } from "./watch.js";

const DOOR = { open: "M5 21h14M7 21V4l8-1.5V21M12.2 12v.5M15 5h2v16", closed: "M5 21h14M7 21V3h10v18M14 12v.5" };
const NEWEST = 8;

export function live() {
  const picture = el("div", { class: "picture" });
  const tabs = el("div", { class: "cameras" });
  const doors = el("div", { "aria-live": "polite" });
  const recent = el("ul", { class: "feed" });
  const pick = camera(picture);
  const drawDoors = drawn(doors, ({ name }) => name, doorCard);
  const drawRecent = drawn(recent, ({ seq }) => seq, (event) => item(event), () => "Nobody has come by yet.");
  const drawTabs = drawn(tabs, ({ name }) => name, ({ name, chosen }) => el("button",
    { type: "button", class: "quiet", "aria-pressed": String(chosen), onclick: () => { pick.choose(name); update(); } }, name));
  const update = () => {
    const { cameras } = session.state;
    const chosen = pick.show(cameras);
    blank(picture, chosen);
    drawTabs(cameras.length < 2 ? [] : cameras.map((name) => ({ name, chosen: name === chosen })));
    drawDoors(doorStates());
    drawRecent(session.events.filter((event) => event.decision || event.erased).slice(0, NEWEST));
  };
  update();
  const root = el("div", { class: "live" }, el("h1", { class: "unseen" }, "Live"),
    el("section", { "aria-label": "Live picture" }, picture, tabs),
    el("aside", {}, doors, el("section", { class: "card" }, el("h2", {}, "Decisions"), recent)));
  const stop = following(update);
  return { root, leave: () => { stop(); pick.leave(); } };
}

// Whose picture is shown: that of the camera that was chosen, for as long as there is such a one. After a silence it is
// asked for anew, as a network that was gone closes no socket.
function camera(picture) {
  let [wanted, watched, unwatch, stale] = [undefined, null, () => {}, false];
  return {
    choose: (name) => { wanted = name; },
    show: (cameras) => {
      wanted ??= cameras[0];
      const name = cameras.includes(wanted) ? wanted : cameras[0];
      if (silent()) { stale = true; return watched; }
      if (name === watched && !stale) return name;
      unwatch();
      [watched, stale] = [name, false];
      const canvas = name && el("canvas", { role: "img", "aria-label": `Live picture of ${name}` });
      unwatch = name ? watch(name, canvas) : () => {};
      picture.replaceChildren(canvas ?? "No camera has given a picture yet.");
      return name;
    },
    leave: () => unwatch(),
  };
}

// A camera that is lost has no picture: its last one, with the boxes of who was there then, would pass for the present.
function blank(picture, name) {
  const gone = Boolean(name) && !silent() && lost(name);
  const canvas = picture.querySelector("canvas");
  if (!canvas || canvas.hidden === gone) return;
  canvas.hidden = gone;
  picture.querySelector("p")?.remove();
  if (gone) picture.append(el("p", { role: "status" }, `No picture from ${name} since ${when(now() - quiet(name))}.`));
}

function doorStates() {
  const time = now();
  const said = ({ cameras }) => Object.entries(session.faces)
    .flatMap(([name, faces]) => (lost(name) || (cameras.length && !cameras.includes(name)) ? [] : faces))
    .map((face) => (face.verdict ? `told “${face.verdict}”` : face.name)).find(Boolean);
  return session.state.doors.map((door) => {
    if (silent() || time === null) return { name: door.door, is: "unknown", who: "the gate says nothing" };
    const is = door.until_ns === null ? "unknown" : door.until_ns / 1e6 > time ? "open" : "closed";
    const by = session.events.find((event) => event.seq === door.seq)?.decision?.name;
    const nobody = is === "unknown" ? "not opened since the gate was started" : "nobody is waiting";
    const who = is === "open" ? by || "open" : said(door) || nobody;
    return { name: door.door, is, who };
  });
}

function doorCard({ name, is, who }) {
  return el("section", { class: `card door ${is}`, "aria-label": `Door ${name}` },
    el("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, el("path", { d: DOOR[is] ?? DOOR.closed,
      fill: "none", stroke: "currentColor", "stroke-width": "1.7", "stroke-linecap": "round", "stroke-linejoin": "round" })),
    el("div", {}, el("b", {}, is[0].toUpperCase() + is.slice(1)), el("span", { class: "muted" }, `${name} · ${who}`)));
}

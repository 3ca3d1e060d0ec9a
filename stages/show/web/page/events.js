// The views: live, events, people, threshold, health, account.
import { api, session, shown } from "./app.js";
import { account } from "./account.js";
import { ask, el, toast, when } from "./dom.js";
import { people } from "./people.js";
import { threshold } from "./threshold.js";
import { watch } from "./watch.js";

const DOOR = { open: "M5 21h14M7 21V4l8-1.5V21M12.2 12v.5M15 5h2v16", closed: "M5 21h14M7 21V3h10v18M14 12v.5" };

const NOTES = { started: "The gate was started", clock: "The clock jumped", command: "A door did not do as told",
  snapshot: "A face in a snapshot was covered", tombstone: "Events were erased", checkpoint: "Old events were cut off" };

function following(update) {
  document.addEventListener("news", update);
  return () => document.removeEventListener("news", update);
}

// Draws only what has changed: what is drawn anew loses the focus, and a screen reader says it once more.
function drawn(node, draw) {
  let before = null;
  return (what) => {
    const now = JSON.stringify(what);
    if (now !== before) node.replaceChildren(...draw(what));
    before = now;
  };
}

function live() {
  const picture = el("div", { class: "picture" });
  let unwatch = () => {};
  const choose = (name) => {
    unwatch();
    const canvas = el("canvas", { role: "img", "aria-label": `Live picture of ${name}` });
    unwatch = watch(name, canvas);
    picture.replaceChildren(canvas);
  };
  const doors = el("div", { "aria-live": "polite" });
  const recent = el("ul", { class: "feed" });
  const tabs = el("div", { class: "cameras" });
  const drawDoors = drawn(doors, (found) => found.map(doorCard));
  const drawRecent = drawn(recent, (found) => (found.length ? found.map((event) => item(event))
    : [el("li", { class: "empty" }, "Nobody has come by yet.")]));
  const drawTabs = drawn(tabs, (cameras) => {
    if (cameras.length) choose(cameras[0]); else picture.replaceChildren("No camera has given a picture yet.");
    return cameras.length < 2 ? [] : cameras.map((name) =>
      el("button", { type: "button", class: "quiet", onclick: () => choose(name) }, name));
  });
  const update = () => {
    drawDoors(doorStates());
    drawRecent(session.events.filter((event) => event.decision || event.erased).slice(0, 8));
    drawTabs(session.state.cameras);
  };
  update();
  const root = el("div", { class: "live" }, el("section", { "aria-label": "Live picture" }, picture, tabs),
    el("aside", {}, doors, el("section", { class: "card" }, el("h2", {}, "Decisions"), recent)));
  const stop = following(update);
  return { root, leave: () => { stop(); unwatch(); } };
}

function doorStates() {
  const now = Date.now() * 1e6;
  const last = session.events.find((event) => event.decision)?.decision;
  const said = Object.values(session.faces).flat();
  const found = session.state.doors.length ? session.state.doors : [{ door: last?.door || "door", until_ns: 0 }];
  return found.map((door) => {
    const open = door.until_ns > now;
    const by = session.events.find((event) => event.seq === door.seq)?.decision?.name;
    const who = open ? by || "open" : said.map((face) => face.verdict || face.name).filter(Boolean)[0] || "nobody is waiting";
    return { name: door.door, open, who };
  });
}

function doorCard({ name, open, who }) {
  return el("section", { class: `card door ${open ? "open" : ""}`, "aria-label": `Door ${name}` },
    el("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, el("path", { d: open ? DOOR.open : DOOR.closed,
      fill: "none", stroke: "currentColor", "stroke-width": "1.7", "stroke-linecap": "round", "stroke-linejoin": "round" })),
    el("div", {}, el("b", {}, open ? "Open" : "Closed"), el("span", { class: "muted" }, `${name} · ${who}`)));
}

function item(event, expand) {
  const made = event.decision;
  const title = made ? made.name || "Somebody unknown" : event.erased ? "Erased" : NOTES[event.kind] || event.kind;
  const image = event.has_snapshot ? el("img", { src: `/api/events/${event.seq}/snapshot`, alt: "", loading: "lazy" }) : el("span", { class: "blank" });
  const button = el("button", { type: "button", "aria-expanded": "false" }, image,
    el("span", {}, el("b", {}, title), " ", el("span", { class: `tag ${event.kind}` }, event.kind),
      el("br"), el("span", { class: "why" }, made ? made.why : event.erased ? "as a person or its retention asked" : "")),
    el("time", { datetime: new Date(event.at_ns / 1e6).toISOString() }, when(event.at_ns)));
  const node = el("li", {}, button);
  button.onclick = () => {
    if (!expand) { location.hash = "events"; return; }
    const on = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!on));
    if (on) node.lastChild.remove(); else node.append(detail(event));
  };
  return node;
}

function detail(event) {
  const made = event.decision;
  const share = (value) => (value === null || value === undefined ? "—" : value.toFixed(3));
  const rows = made ? {
    "Row of the log": event.seq, Camera: made.camera, Door: made.door, Reason: made.reason || "—",
    Similarity: `${share(made.score)}, threshold ${share(made.threshold)}`,
    "False accept rate": made.far === null ? "not calibrated" : made.far,
    Live: made.live === null ? "not asked" : `${share(made.live)}, threshold ${share(made.live_threshold)}`,
    "From capture to decision": made.age_ms === null ? "after the last picture" : `${made.age_ms.toFixed(0)} ms`,
    Faces: made.ballots.map((one) => share(one.similarity)).join(", "),
    Snapshot: `SHA-256 ${made.frame_sha256.slice(0, 16)}…`,
  } : { "Row of the log": event.seq, Note: event.note || "erased" };
  const still = event.has_snapshot ? el("img", { src: `/api/events/${event.seq}/snapshot`, alt: "What the camera saw" }) : "";
  return el("div", { class: "detail" }, el("div", {}, still, el("div", { class: "row" },
    event.has_clip ? film(event, still) : "", made?.person && event.has_snapshot ? wrong(event) : "")),
    el("dl", {}, ...Object.entries(rows).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])));
}

function wrong(event) {
  if (session.who.role === "viewer") return "";
  const { name } = event.decision;
  const button = el("button", { type: "button", class: "quiet", onclick: () => ask(`Is this not ${name}?`,
    `The face in this picture is kept as somebody else's, and matches ${name} less from now on. Do this only when you are sure.`,
    `It is not ${name}`, async () => {
      const { before, after } = await api("POST", `/api/events/${event.seq}/wrong`);
      button.replaceWith(el("p", { class: "muted" }, `Not ${name}: the match of this face went from ${before.toFixed(2)} to ${after.toFixed(2)}.`));
    }) }, "Not this person");
  return button;
}

let playing = "";

// Fetched as a whole: some browsers play from an address only where it gives parts of a file.
function film(event, still) {
  const button = el("button", { type: "button", class: "quiet", onclick: async () => {
    button.disabled = true;
    const answer = await fetch(`/api/events/${event.seq}/clip`);
    if (!answer.ok) { toast((await answer.json()).error); button.disabled = false; return; }
    URL.revokeObjectURL(playing);
    playing = URL.createObjectURL(await answer.blob());
    const video = el("video", { controls: "", playsinline: "", src: playing });
    if (still) still.remove();
    button.replaceWith(video);
    video.focus();
    video.play().catch(() => {});
  } }, "Play the clip");
  return button;
}

function events() {
  const list = el("ul", { class: "feed" });
  const filter = el("select", { "aria-label": "Which events" },
    ...["all", "opened", "refused", "held", "alarm"].map((kind) => el("option", { value: kind }, kind)));
  const wanted = (event) => filter.value === "all" || event.kind === filter.value;
  const draw = () => {
    list.replaceChildren(...session.events.filter(wanted).map((event) => item(event, true)));
    if (!list.children.length) list.append(el("li", { class: "empty" }, "There are no such events."));
  };
  const more = el("button", { type: "button", class: "quiet", onclick: async () => {
    const oldest = session.events.at(-1)?.seq;
    const found = await api("GET", `/api/events?limit=50${oldest ? `&before=${oldest}` : ""}`).catch((error) => toast(error.message));
    if (found?.length) { session.events.push(...shown(found)); draw(); } else toast("There are no older events.");
  } }, "Older");
  filter.onchange = draw;
  draw();
  const stop = following(({ detail }) => {
    for (const event of detail.filter(wanted)) {
      list.querySelector(".empty")?.remove();
      list.prepend(item(event, true));
    }
  });
  return { leave: stop, root: el("section", {}, el("div", { class: "row" }, el("h1", { class: "grow" }, "Events"),
    el("div", {}, filter)), el("div", { class: "card" }, list), el("p", {}, more)) };
}

function health() {
  const root = el("section", {}, el("h1", {}, "Health"));
  const tiles = el("div", { class: "tiles numbers" });
  root.append(tiles);
  const tile = (title, figure, note, good) => el("div", { class: "card" }, el("h2", {}, title),
    el("p", { class: `figure ${good === false ? "bad" : ""}` }, figure), el("span", { class: "muted" }, note));
  const update = () => {
    const found = session.state.health;
    if (!found) { tiles.replaceChildren(el("p", { class: "empty" }, "The gate has said nothing yet.")); return; }
    const late = Date.now() - found.at_ns / 1e6;
    tiles.replaceChildren(
      tile("Gate", late < 2000 ? "alive" : "silent", `last word ${Math.max(0, late / 1000).toFixed(1)} s ago`, late < 2000),
      ...Object.entries(found.cameras).map(([name, camera]) => tile(`Camera ${name}`, `${camera.age_ms.toFixed(0)} ms`,
        `from capture to the gate; frame ${camera.seq}`)),
      tile("Passages", String(found.open_passages), "open now"),
      tile("Threshold", found.objection ? "not held" : "holds", found.objection || "calibrated for what runs", !found.objection));
  };
  update();
  const clock = setInterval(update, 500);
  return { root, leave: () => clearInterval(clock) };
}

export const views = { live, events, people, threshold, health, account };

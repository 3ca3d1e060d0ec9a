// What the gate has decided and written down.
import { ask, drawn, el, once, when } from "./dom.js";
import { older, shorten } from "./log.js";
import { following } from "./news.js";
import { api, session } from "./session.js";

const NOTES = { started: "The gate was started", clock: "The clock jumped", command: "A door did not do as told",
  snapshot: "A face in a snapshot was covered", tombstone: "Events were erased", checkpoint: "Old events were cut off" };

export function events() {
  const list = el("ul", { class: "feed" });
  const open = new Set(); // numbers of those that show all
  const filter = el("select", { "aria-label": "Which events", onchange: () => draw() },
    ...["all", "opened", "refused", "held", "alarm"].map((kind) => el("option", { value: kind }, kind)));
  const wanted = (event) => filter.value === "all" || event.kind === filter.value;
  const drawList = drawn(list, ({ seq }) => seq, (event) => item(event, open), () => "There are no such events.");
  const draw = () => {
    drawList(session.events.filter(wanted));
    if (playing && !list.querySelector("video")) unload(); // a clip of what was erased is in memory no longer
  };
  const more = el("button", { type: "button", class: "quiet", onclick: () => once(more, async () => {
    const left = await older(wanted);
    draw();
    if (!left) more.replaceWith(el("span", { class: "muted", role: "status" }, "There are no older events."));
  }) }, "Older");
  draw();
  const stop = following(({ detail }) => { if (detail.length) draw(); });
  return { leave: () => { stop(); unload(); session.deep = false; shorten(); },
    root: el("section", {}, el("div", { class: "row" }, el("h1", { class: "grow" }, "Events"), el("div", {}, filter)),
      el("div", { class: "card" }, list), el("p", {}, more)) };
}

// A row of a list. With `open`, the numbers of those that show all, it shows all when it is pressed.
export function item(event, open) {
  const made = event.decision;
  const title = made ? made.name || "Somebody unknown" : event.erased ? "Erased" : NOTES[event.kind] || event.kind;
  const image = event.has_snapshot ? el("img", { src: snapshot(event), alt: "", loading: "lazy" }) : el("span", { class: "blank" });
  const shown = () => open?.has(event.seq);
  const button = el("button", { type: "button", "aria-expanded": open && String(shown()), onclick: () => {
    if (!open) { location.hash = "events"; return; }
    if (!open.delete(event.seq)) open.add(event.seq);
    button.setAttribute("aria-expanded", String(shown()));
    if (shown()) node.append(detail(event)); else node.lastChild.remove();
  } }, image, el("span", {}, el("b", {}, title), " ", el("span", { class: `tag ${event.kind}` }, event.kind),
    el("br"), el("span", { class: "why" }, made ? made.why : event.erased ? "as a person or its retention asked" : "")),
  el("time", { datetime: new Date(event.at_ns / 1e6).toISOString() }, when(event.at_ns / 1e6)));
  const node = el("li", {}, button, shown() ? detail(event) : "");
  return node;
}

// A picture that somebody was covered in has another address, so that no browser shows the one before.
const snapshot = ({ seq, covered }) => `/api/events/${seq}/snapshot${covered ? `?${covered}` : ""}`;

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
  const still = event.has_snapshot ? el("img", { src: snapshot(event), alt: "What the camera saw" }) : "";
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

function unload() {
  URL.revokeObjectURL(playing);
  playing = "";
}

// Fetched as a whole: some browsers play from an address only where it gives parts of a file.
function film(event, still) {
  const button = el("button", { type: "button", class: "quiet", onclick: () => once(button, async () => {
    const answer = await fetch(`/api/events/${event.seq}/clip`);
    if (!answer.ok) throw new Error((await answer.json()).error);
    const content = await answer.blob();
    if (!button.isConnected) return;
    unload();
    playing = URL.createObjectURL(content);
    const video = el("video", { controls: "", playsinline: "", src: playing });
    if (still) still.remove();
    button.replaceWith(video);
    video.focus();
    video.play().catch(() => {});
  }) }, "Play the clip");
  return button;
}

// What the gate pushes, five times a second, and whether it still does. Views hear "news": with the new rows, or, on a
// timer, with none, as time alone closes a door.
import { take } from "./log.js";
import { after, api, at, session } from "./session.js";

const SILENT_MS = 2000;
const DEAD_MS = 10000; // a network that is gone closes no socket
const TICK_MS = 500;

let [socket, tried] = [null, 0];
let heard = { at: 0, gate: null }; // the same moment by performance.now() and by the gate's clock, ms

export const silent = () => performance.now() - heard.at > SILENT_MS;

// Milliseconds since the epoch by the gate's clock, as the browser's may be wrong; null until the gate has told.
export const now = () => (heard.gate === null ? null : heard.gate + performance.now() - heard.at);

// Milliseconds since a camera's newest frame came through the gate; 0 where the gate has told of none.
export function quiet(name) {
  const [found, time] = [session.state.health, now()];
  const camera = found?.cameras[name];
  return camera && time !== null ? camera.quiet_s * 1000 + Math.max(0, time - found.at_ns / 1e6) : 0;
}

// Whether what is known of a camera is not how it is now.
export const lost = (name) => quiet(name) > SILENT_MS;

export const lastWord = () => heard.gate;

export function listen() {
  heard = { at: performance.now(), gate: null };
  push();
}

export function stop() {
  socket?.close();
  socket = null;
}

export function following(update) {
  document.addEventListener("news", update);
  return () => document.removeEventListener("news", update);
}

const tell = (rows) => document.dispatchEvent(new CustomEvent("news", { detail: rows }));

function push() {
  socket?.close();
  tried = performance.now();
  const current = socket = new WebSocket(at(`/api/push?after=${session.newest}`));
  current.binaryType = "arraybuffer";
  current.onmessage = ({ data }) => { if (current === socket) hear(JSON.parse(new TextDecoder().decode(data))); };
  current.onclose = async (closed) => {
    if (current !== socket) return;
    await api("GET", "/api/me").catch(() => {}); // whoever is not logged in any more sees the log-in
    setTimeout(() => { if (current === socket) push(); }, after(closed));
  };
}

function hear({ now_ns: ns, doors, health, cameras, faces, gallery, events }) {
  heard = { at: performance.now(), gate: ns / 1e6 };
  Object.assign(session.state, { doors, health, cameras, gallery });
  session.faces = faces;
  take(events);
  tell(events);
}

setInterval(() => {
  if (socket && performance.now() - Math.max(heard.at, tried) > DEAD_MS) push();
  tell([]);
}, TICK_MS);

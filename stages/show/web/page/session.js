// Who is logged in, what the gate has said so far, and how it is asked.
import { toast } from "./dom.js";

export const session = { who: null, state: { doors: [], health: null, cameras: [], warnings: [], groups: [] }, faces: {},
  events: [], newest: 0, oldest: 0, deep: false };

// What the server's framework says of itself is no sentence.
const BARE = ["Not Found", "Method Not Allowed"];

export async function api(method, path, body) {
  const headers = session.who ? { "X-CSRF-Token": session.who.csrf } : {};
  if (body !== undefined && !(body instanceof FormData) && !(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  const answer = await fetch(path, { method, headers, body }).catch(() => { throw new Error("the gate does not answer: try again in a moment"); });
  const found = await answer.json().catch(() => ({})); // null where nothing is calibrated
  if (answer.status === 401 && session.who) document.dispatchEvent(new Event("ended"));
  if (BARE.includes(found?.error)) throw new Error("this gate does not know what the page asks for: load the page again");
  if (!answer.ok) throw new Error(found?.error || `the gate answers ${answer.status}: load the page again`);
  return found;
}

export const at = (path) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;

// Milliseconds until a socket is opened again; where too many are open (1013) the gate's sentence is shown.
export function after({ code, reason }) {
  if (code === 1013) toast(reason);
  return code === 1013 ? 10000 : 1000;
}

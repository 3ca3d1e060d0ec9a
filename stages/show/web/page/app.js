// The page: a view for each part of the hash, fed by the API and by what the gate pushes. No framework, no build.
import { el, toast } from "./dom.js";
import { views } from "./views.js";

export const session = { who: null, state: { doors: [], health: null, cameras: [], warnings: [] }, faces: {}, events: [], newest: 0 };
const main = document.querySelector("#main");
const header = document.querySelector("header");
let leave = () => {};
let socket = null;

export async function api(method, path, body) {
  const headers = session.who ? { "X-CSRF-Token": session.who.csrf } : {};
  if (body !== undefined && !(body instanceof FormData) && !(body instanceof Blob)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  const answer = await fetch(path, { method, headers, body });
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 401 && session.who) { session.who = null; show(); }
  if (!answer.ok) throw new Error(found.error || `the gate answers ${answer.status}`);
  return found;
}

export const at = (path) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;

// Milliseconds until a socket is opened again; where too many are open (1013) the gate's sentence is shown.
export function after({ code, reason }) {
  if (code === 1013) toast(reason);
  return code === 1013 ? 10000 : 1000;
}

function push() {
  socket?.close();
  socket = new WebSocket(at(`/api/push?after=${session.newest}`));
  socket.onmessage = async ({ data }) => {
    const news = JSON.parse(await new Response(data).text());
    Object.assign(session.state, { doors: news.doors, health: news.health, cameras: news.cameras });
    session.faces = news.faces;
    session.newest = news.events.at(-1)?.seq ?? session.newest;
    const fresh = shown(news.events);
    session.events.unshift(...[...fresh].reverse());
    session.events.length = Math.min(session.events.length, 500);
    document.dispatchEvent(new CustomEvent("news", { detail: fresh }));
  };
  socket.onclose = (closed) => { if (session.who) setTimeout(() => session.who && push(), after(closed)); };
}

// A row that says that a clip is kept is no event of its own: the decision that it belongs to has one from now on.
export function shown(events) {
  for (const event of events.filter((one) => one.kind === "clip")) {
    const made = session.events.concat(events).find((one) => one.seq === JSON.parse(event.note).of);
    if (made) made.has_clip = made.decision !== null;
  }
  return events.filter((one) => one.kind !== "clip");
}

async function enter(who) {
  session.who = who;
  session.state = await api("GET", "/api/state");
  const events = await api("GET", "/api/events?limit=50");
  session.newest = events[0]?.seq ?? 0;
  session.events = shown(events);
  history.replaceState(null, "", location.hash.startsWith("#setup") || !location.hash ? "#live" : location.hash);
  push();
  show();
}

function show() {
  leave();
  leave = () => {};
  const who = session.who;
  header.hidden = !who;
  document.querySelector("#warnings").replaceChildren(...(who ? session.state.warnings : []).map((text) => el("p", {}, text)));
  if (!who) { socket?.close(); main.replaceChildren(gateway()); main.querySelector("input")?.focus(); return; }
  document.querySelector(".who").textContent = `${who.name} · ${who.role}`;
  const name = location.hash.slice(1) in views ? location.hash.slice(1) : "live";
  for (const link of header.querySelectorAll("nav a")) {
    link.hidden = link.dataset.role === "operator" && who.role === "viewer";
    link.toggleAttribute("aria-current", link.hash === `#${name}`);
  }
  const view = views[name](who);
  main.replaceChildren(view.root);
  leave = view.leave || leave;
}

function gateway() {
  const secret = new URLSearchParams(location.hash.slice(1)).get("setup");
  const error = el("p", { class: "error", role: "alert" });
  const form = el("form", { class: "card" },
    el("h1", {}, secret ? "Set the first password" : "Log in"),
    el("p", { class: "muted" }, secret ? "This link works once. The account is an admin's." : "framewire gate"),
    el("label", {}, "Name", el("input", { name: "name", autocomplete: "username", required: "", maxlength: "60" })),
    el("label", {}, "Password", el("input", { name: "password", type: "password", required: "",
      autocomplete: secret ? "new-password" : "current-password", minlength: secret ? "10" : "1" }),
      secret ? el("small", {}, "At least 10 characters.") : ""),
    error, el("button", {}, secret ? "Make the account" : "Log in"));
  form.onsubmit = async (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    try {
      await enter(await api("POST", secret ? "/api/setup" : "/api/login", secret ? { secret, ...given } : given));
    } catch (problem) { error.textContent = problem.message; }
  };
  return el("div", { class: "gateway" }, form);
}

document.querySelector("#logout").onclick = async () => {
  await api("POST", "/api/logout", {}).catch(() => {});
  session.who = null;
  show();
};
addEventListener("hashchange", () => { if (session.who || location.hash.startsWith("#setup")) show(); });
fetch("/api/me").then((answer) => (answer.ok ? answer.json() : null)).then((who) => (who ? enter(who) : show()))
  .catch((problem) => { show(); toast(problem.message); });

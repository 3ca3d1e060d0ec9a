// The page: a view for each part of the hash, fed by the API and by what the gate pushes. No framework, no build.
import { account } from "./account.js";
import { el, once, toast, when } from "./dom.js";
import { events } from "./events.js";
import { health } from "./health.js";
import { live } from "./live.js";
import { begin } from "./log.js";
import { lastWord, listen, silent, stop } from "./news.js";
import { people } from "./people.js";
import { api, session } from "./session.js";
import { threshold } from "./threshold.js";

const views = { live, events, people, threshold, health, account };
const main = document.querySelector("#main");
const header = document.querySelector("header");
let leave = () => {};

async function enter(who) {
  session.who = who;
  session.state = await api("GET", "/api/state");
  begin(await api("GET", "/api/events?limit=50"));
  history.replaceState(null, "", location.hash.startsWith("#setup") || !location.hash ? "#live" : location.hash);
  listen();
  show();
}

// Nothing of what was seen stays behind.
function exit(note) {
  stop();
  session.who = null;
  begin([]);
  Object.assign(session, { state: { doors: [], health: null, cameras: [], warnings: [] }, faces: {} });
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  show(note);
}

function show(note) {
  leave();
  leave = () => {};
  const who = session.who;
  header.hidden = !who;
  document.querySelector("#warnings").replaceChildren(...session.state.warnings.map((text) => el("p", {}, text)));
  if (!who) {
    document.title = "Log in · framewire gate";
    main.replaceChildren(gateway(note));
    main.querySelector("input").focus();
    return;
  }
  document.querySelector(".who").textContent = `${who.name} · ${who.role}`;
  const wanted = location.hash.slice(1);
  const name = Object.hasOwn(views, wanted) ? wanted : "live";
  for (const link of header.querySelectorAll("nav a")) {
    link.hidden = link.dataset.role === "operator" && who.role === "viewer";
    link.removeAttribute("aria-current");
    if (link.hash !== `#${name}`) continue;
    link.setAttribute("aria-current", "page");
    document.title = `${link.textContent} · framewire gate`;
  }
  const view = views[name]();
  main.replaceChildren(view.root);
  leave = view.leave || leave;
}

function gateway(note = "") {
  const secret = new URLSearchParams(location.hash.slice(1)).get("setup");
  const error = el("p", { class: "error", role: "alert" }, note);
  const button = el("button", {}, secret ? "Make the account" : "Log in");
  const form = el("form", { class: "card" },
    el("h1", {}, secret ? "Set the first password" : "Log in"),
    el("p", { class: "muted" }, secret ? "This link works once. The account is an admin's." : "framewire gate"),
    el("label", {}, "Name", el("input", { name: "name", autocomplete: "username", required: "", maxlength: "60" })),
    el("label", {}, "Password", el("input", { name: "password", type: "password", required: "",
      autocomplete: secret ? "new-password" : "current-password", minlength: secret ? "10" : "1" }),
      secret ? el("small", {}, "At least 10 characters.") : ""),
    error, button);
  form.onsubmit = (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    once(button, async () => enter(await api("POST", secret ? "/api/setup" : "/api/login", secret ? { secret, ...given } : given)), error);
  };
  return el("div", { class: "gateway" }, form);
}

const logout = document.querySelector("#logout");
logout.onclick = () => once(logout, async () => {
  await api("POST", "/api/logout", {});
  exit();
});
document.querySelector(".skip").onclick = (event) => { // to follow it would change the hash, and with it the view
  event.preventDefault();
  main.focus();
};
document.addEventListener("ended", () => exit("Your session has ended: log in again."));
document.addEventListener("news", () => {
  const lost = Boolean(session.who) && silent();
  const banner = document.querySelector("#connection");
  const text = !lost ? "" : lastWord() ? `No connection since ${when(lastWord())}.` : "No connection yet.";
  if (banner.textContent !== text) banner.textContent = text;
  document.body.classList.toggle("lost", lost);
});
addEventListener("hashchange", () => { if (session.who || location.hash.startsWith("#setup")) show(); });
fetch("/api/me").then((answer) => (answer.ok ? answer.json() : null)).then((who) => (who ? enter(who) : show()))
  .catch((problem) => { show(); toast(problem.message); });

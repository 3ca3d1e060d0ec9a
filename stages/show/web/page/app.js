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
let secret = ""; // of a link that was opened

// A link's secret leaves the address bar, and with it what the browser remembers, before it is used.
function opened() {
  const found = new URLSearchParams(location.hash.slice(1)).get("setup");
  if (!found) return;
  secret = found;
  history.replaceState(null, "", location.pathname);
}

async function enter(who) {
  session.who = who;
  session.state = await api("GET", "/api/state");
  begin(await api("GET", "/api/events?limit=50"));
  history.replaceState(null, "", location.hash || "#live");
  listen();
  show();
}

// Nothing of what was seen stays behind.
function exit(note) {
  stop();
  session.who = null;
  begin([]);
  Object.assign(session, { state: { doors: [], health: null, cameras: [], warnings: [], groups: [] }, faces: {} });
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  show(note);
}

function show(note) {
  leave();
  leave = () => {};
  const who = session.who;
  header.hidden = !who || Boolean(secret);
  document.querySelector("#warnings").replaceChildren(...session.state.warnings.map((text) => el("p", {}, text)));
  if (!who || secret) {
    document.title = `${secret ? "Set a password" : "Log in"} · framewire gate`;
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
  const title = el("h1", {}, secret ? "Set a password" : "Log in");
  const about = el("p", { class: "muted" }, secret ? "This link works once." : "framewire gate");
  const name = el("input", { name: "name", autocomplete: "username", required: "", maxlength: "60" });
  const error = el("p", { class: "error", role: "alert" }, note);
  const button = el("button", {}, secret ? "Set the password" : "Log in");
  const form = el("form", { class: "card" },
    title, about, el("label", {}, "Name", name),
    el("label", {}, "Password", el("input", { name: "password", type: "password", required: "",
      autocomplete: secret ? "new-password" : "current-password", minlength: secret ? "10" : "1", maxlength: "1000" }),
      secret ? el("small", {}, "At least 10 characters.") : ""),
    error, button);
  form.onsubmit = (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    once(button, async () => {
      const who = await api("POST", secret ? "/api/setup" : "/api/login", secret ? { secret, ...given } : given);
      secret = "";
      await enter(who);
    }, error);
  };
  if (secret) {
    form.append(el("button", { type: "button", class: "quiet", onclick: () => { secret = ""; show(); } }, "Not now"));
    api("POST", "/api/link", { secret }).then((link) => {
      title.textContent = link.first ? "Set the first password" : "Set a new password";
      about.textContent = link.first ? "This link works once. The account is an admin's."
        : `This link works once. ${link.name} is logged out everywhere else.`;
      if (!link.name) return;
      name.value = link.name;
      name.readOnly = true;
      form.querySelector("[type=password]").focus();
    }, (problem) => { error.textContent = problem.message; });
  }
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
addEventListener("hashchange", () => { opened(); if (session.who || secret) show(); });
opened();
fetch("/api/me").then((answer) => (answer.ok ? answer.json() : null)).then((who) => (who ? enter(who) : show()))
  .catch((problem) => { show(); toast(problem.message); });

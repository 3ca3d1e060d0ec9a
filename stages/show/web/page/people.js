// Who is enrolled: by upload or webcam, with rules, and how they are forgotten.
import { ask, drawn, el, fill, toast } from "./dom.js";
import { following } from "./news.js";
import { api, session } from "./session.js";
import { webcam } from "./webcam.js";

const CARDS = 50; // at once
const AGAIN_MS = 3000; // after a question that failed
const path = (name, rest = "") => `/api/people/${encodeURIComponent(name)}${rest}`;

export function people() {
  let [found, most, gallery, asking] = [[], CARDS, null, false];
  const grid = el("div", { class: "people" });
  const search = el("input", { type: "search", "aria-label": "Search", placeholder: "Search", autocomplete: "off",
    oninput: () => { most = CARDS; draw(); } });
  const more = el("button", { type: "button", class: "quiet", hidden: "", onclick: () => { most += CARDS; draw(); } }, "More");
  const drawGrid = drawn(grid, ({ name }) => name, (person) => card(person, refresh),
    () => (found.length ? "Nobody of that name is enrolled." : "Nobody is enrolled yet."));
  const draw = () => {
    const wanted = found.filter(({ name }) => name.toLowerCase().includes(search.value.trim().toLowerCase()));
    drawGrid(wanted.slice(0, most));
    more.hidden = wanted.length <= most;
  };
  const refresh = async () => {
    [gallery, asking] = [session.state.gallery, true];
    try {
      found = await api("GET", "/api/people");
      draw();
    } catch (error) {
      toast(error.message);
      setTimeout(() => { gallery = null; }, AGAIN_MS); // then it asks again
    } finally { asking = false; }
  };
  refresh();
  const root = el("section", {}, el("div", { class: "row" }, el("h1", { class: "grow" }, "People"), el("div", { class: "search" }, search),
    el("button", { type: "button", onclick: () => enrol(refresh) }, "Enrol somebody")), grid, el("p", {}, more));
  // Somebody may be forgotten elsewhere, or enrolled.
  return { root, leave: following(() => { if (!asking && gallery !== session.state.gallery) refresh(); }) };
}

// Whether the gate has groups and somebody is in none of them, with no windows of their own.
function groupless({ groups, windows }) {
  const known = session.state.groups;
  return known.length > 0 && !windows.length && !groups.some((name) => known.includes(name));
}

function card(person, refresh) {
  const rules = person.access;
  const said = [...rules.groups, ...rules.windows, rules.valid_from ? `from ${new Date(rules.valid_from).toLocaleDateString()}` : "",
    rules.valid_until ? `until ${new Date(rules.valid_until).toLocaleDateString()}` : "",
    rules.badges ? several(rules.badges, "badge") : ""].filter(Boolean);
  return el("article", { class: "card person" },
    el("img", { src: path(person.name, "/portrait"), alt: "", loading: "lazy" }),
    el("div", {}, el("b", {}, person.name), " ", rules.watch ? el("span", { class: "tag alarm" }, "watch list") : "",
      el("div", { class: "muted" }, `${several(person.photos, "photo")}`),
      el("div", { class: "muted" }, said.join(" · ") || (groupless(rules) ? "" : "at any time")),
      groupless(rules) ? el("div", { class: "muted" }, "in no group of this gate: may not come in") : "",
      el("div", { class: "row" },
        el("button", { type: "button", class: "quiet", "aria-label": `Rules of ${person.name}`, onclick: () => access(person, refresh) }, "Rules"),
        el("button", { type: "button", class: "quiet", "aria-label": `Add a photo of ${person.name}`, onclick: () => enrol(refresh, person.name) }, "Add photo"),
        el("button", { type: "button", class: "quiet", "aria-label": `${person.name} is out`, onclick: () => out(person) }, "Is out"),
        ...(session.who.role === "admin" ? [
          el("a", { class: "button quiet", href: path(person.name, "/export"), download: `${person.name}.json`, "aria-label": `Export ${person.name}` }, "Export"),
          el("button", { type: "button", class: "danger", "aria-label": `Forget ${person.name}`, onclick: () => forget(person, refresh) }, "Forget")] : []))));
}

function enrol(refresh, name = "") {
  const file = el("input", { type: "file", name: "photo", accept: "image/*", multiple: "" });
  const [camera, shots] = [el("div"), []];
  const force = el("label", { hidden: "" }, el("input", { type: "checkbox", name: "force", value: "true" }), "Enrol it all the same");
  const dialog = fill("Enrol somebody", [
    el("label", {}, "Name", el("input", { name: "name", value: name, required: "", maxlength: "100" })),
    el("label", {}, "Photos", el("small", {}, "One face in each, from the front."), file), camera,
    el("label", {}, el("input", { type: "checkbox", name: "watch", value: "true" }), "On the watch list: raise an alarm, open nothing"),
    force,
  ], "Enrol", async (given) => {
    if (!file.files.length) given.delete("photo");
    shots.forEach((shot) => given.append("picture", shot, "webcam.jpg"));
    const done = await api("POST", "/api/people", given).catch((problem) => {
      force.hidden = force.hidden && !/looks? like/.test(problem.message);
      throw problem;
    });
    refresh();
    const said = `${done.name} is enrolled with ${several(done.photos, "photo")}.`;
    if (done.warning) return [el("h2", {}, said), el("p", {}, done.warning)]; // too much to be read in passing
    toast(said);
    return null;
  }, el("button", { type: "button", class: "quiet", onclick: ({ target }) => { target.textContent = "Start again"; webcam(camera, shots); } }, "Use the webcam"));
  dialog.addEventListener("close", () => camera.stop?.());
}

// A day as a field for dates has it, here; a moment of it that was set otherwise stays as it is.
function day(moment) {
  const date = moment ? new Date(moment) : null;
  return date ? [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0")).join("-") : "";
}

const moment = (given, before, time) => (!given ? null : given === day(before) ? before : new Date(`${given}T${time}`).toISOString());
const parts = (text, by) => text.split(by).map((part) => part.trim()).filter(Boolean);
const several = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

function access(person, refresh) {
  const rules = person.access;
  const held = rules.badges ? `${several(rules.badges, "badge")}, kept as hashes. New ones take the place of all.` : "None yet.";
  fill(`Rules of ${person.name}`, [
    el("label", {}, "Name", el("input", { name: "name", value: person.name, required: "", maxlength: "100" })),
    el("label", {}, "Groups", el("small", {}, "Names from the gate's config, with commas."), el("input", { name: "groups", value: rules.groups.join(", ") })),
    el("label", {}, "Weekly windows", el("small", {}, "One a line, like Mon-Fri 07:00-19:00. None: as the groups say."),
      el("textarea", { name: "windows", rows: "3" }, rules.windows.join("\n"))),
    el("div", { class: "pair" },
      el("label", {}, "May come in from", el("input", { name: "from", type: "date", value: day(rules.valid_from) })),
      el("label", {}, "until", el("input", { name: "until", type: "date", value: day(rules.valid_until) }))),
    el("label", {}, "Numbers of badges", el("small", {}, `With commas. ${held}`), el("input", { name: "badges", autocomplete: "off" })),
    rules.badges ? el("label", {}, el("input", { type: "checkbox", name: "none" }), `Take ${rules.badges === 1 ? "the badge" : `the ${rules.badges} badges`} away`) : "",
    el("label", {}, el("input", { type: "checkbox", name: "watch", ...(rules.watch ? { checked: "" } : {}) }), "On the watch list: raise an alarm, open nothing"),
  ], "Save", async (given) => {
    const badges = parts(given.get("badges"), ",");
    const name = given.get("name").trim();
    const access = {
      groups: parts(given.get("groups"), ","), windows: parts(given.get("windows"), "\n"),
      valid_from: moment(given.get("from"), rules.valid_from, "00:00:00"),
      valid_until: moment(given.get("until"), rules.valid_until, "23:59:59"),
      watch: given.has("watch"), badges: badges.length || given.has("none") ? badges : null,
    };
    if (name === person.name) await api("PUT", path(name, "/access"), access);
    else await api("PUT", path(person.name, "/name"), { name, access }); // both or neither: one may be refused
    refresh();
  });
}

function out({ name }) {
  ask(`Is ${name} out?`, "Whatever the doors have seen: passback lets them in again.", `${name} is out`, async () => {
    await api("POST", path(name, "/out"), {});
    toast(`${name} is out, and may come in again.`);
  });
}

function forget(person, refresh) {
  ask(`Forget ${person.name}?`, "Keys, templates, faces and what the log knows of this person are destroyed. This cannot be undone.",
    `Forget ${person.name} for good`, async () => {
      const { receipt } = await api("DELETE", path(person.name));
      refresh();
      return [el("h2", {}, "Receipt"), el("pre", {}, receipt.join("\n\n"))];
    });
}

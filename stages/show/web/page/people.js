// Who is enrolled: by upload or webcam, with rules, and how they are forgotten.
import { api, session } from "./app.js";
import { el, toast } from "./dom.js";

const path = (name, rest = "") => `/api/people/${encodeURIComponent(name)}${rest}`;

export function people() {
  const grid = el("div", { class: "people" });
  const refresh = async () => {
    try {
      const found = await api("GET", "/api/people");
      grid.replaceChildren(...found.map((person) => card(person, refresh)));
      if (!found.length) grid.append(el("p", { class: "empty" }, "Nobody is enrolled yet."));
    } catch (error) { toast(error.message); }
  };
  refresh();
  const root = el("section", {}, el("div", { class: "row" }, el("h1", { class: "grow" }, "People"),
    el("button", { type: "button", onclick: () => enrol(refresh) }, "Enrol somebody")), grid);
  return { root };
}

function card(person, refresh) {
  const rules = [...person.access.groups, ...person.access.windows,
    person.access.valid_until ? `until ${new Date(person.access.valid_until).toLocaleDateString()}` : "",
    person.access.badges ? `${person.access.badges} badges` : ""].filter(Boolean);
  return el("article", { class: "card person" },
    el("img", { src: path(person.name, "/portrait"), alt: "", loading: "lazy" }),
    el("div", {}, el("b", {}, person.name), person.access.watch ? el("span", { class: "tag alarm" }, "watch list") : "",
      el("div", { class: "muted" }, `${person.photos} ${person.photos === 1 ? "photo" : "photos"}`),
      el("div", { class: "muted" }, rules.join(" · ") || "at any time"),
      el("div", { class: "row" },
        el("button", { type: "button", class: "quiet", "aria-label": `Rules of ${person.name}`, onclick: () => access(person, refresh) }, "Rules"),
        el("button", { type: "button", class: "quiet", "aria-label": `Add a photo of ${person.name}`, onclick: () => enrol(refresh, person.name) }, "Add photo"),
        session.who.role === "admin" ? el("button", { type: "button", class: "danger", "aria-label": `Forget ${person.name}`, onclick: () => forget(person, refresh) }, "Forget") : "")));
}

function modal(title, ...children) {
  const dialog = el("dialog", { "aria-label": title }, el("h1", {}, title), ...children);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

function enrol(refresh, name = "") {
  const error = el("p", { class: "error", role: "alert" });
  const file = el("input", { type: "file", name: "photo", accept: "image/*", multiple: "" });
  const camera = el("div");
  const form = el("form", {},
    el("label", {}, "Name", el("input", { name: "name", value: name, required: "", maxlength: "100" })),
    el("label", {}, "Photos", el("small", {}, "One face in each, from the front."), file), camera,
    el("label", {}, el("input", { type: "checkbox", name: "watch", value: "true" }), "On the watch list: raise an alarm, open nothing"),
    el("label", { hidden: "" }, el("input", { type: "checkbox", name: "force", value: "true" }), "It is somebody else who looks alike"),
    error, el("div", { class: "row" }, el("button", {}, "Enrol"),
      el("button", { type: "button", class: "quiet", onclick: () => webcam(camera, shots, error) }, "Use the webcam"),
      el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")));
  const shots = [];
  const dialog = modal("Enrol somebody", form);
  dialog.addEventListener("close", () => camera.stop?.());
  form.onsubmit = async (event) => {
    event.preventDefault();
    const data = new FormData(form);
    if (!file.files.length) data.delete("photo");
    shots.forEach((shot, index) => data.append("photo", shot, `webcam-${index}.jpg`));
    try {
      const done = await api("POST", "/api/people", data);
      toast(`${done.name} is enrolled with ${done.photos} photos.`);
      dialog.close();
      refresh();
    } catch (problem) {
      error.textContent = problem.message;
      if (problem.message.includes("looks like")) form.querySelector("label[hidden]")?.removeAttribute("hidden");
    }
  };
}

async function webcam(place, shots, error) {
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } }); } catch {
    error.textContent = "The browser gives no camera: allow it, or choose photos.";
    return;
  }
  const video = el("video", { autoplay: "", playsinline: "", "aria-label": "Webcam" });
  video.muted = true;
  video.srcObject = stream;
  const advice = el("p", { class: "muted", role: "status" }, "…");
  const grab = () => new Promise((done) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob(done, "image/jpeg", 0.95);
  });
  const take = el("button", { type: "button", class: "quiet", disabled: "" }, "Take the picture");
  take.onclick = async () => { shots.push(await grab()); toast(`${shots.length} taken.`); };
  place.replaceChildren(video, advice, take);
  const timer = setInterval(async () => {
    if (!video.videoWidth) return;
    const pictures = new FormData();
    for (const shot of [...shots, await grab()]) pictures.append("picture", shot, "webcam.jpg");
    const said = await api("POST", "/api/look", pictures).catch((problem) => ({ advice: problem.message }));
    advice.textContent = said.advice || "Good: take the picture.";
    take.disabled = Boolean(said.advice);
  }, 700);
  place.stop = () => { clearInterval(timer); stream.getTracks().forEach((one) => one.stop()); };
}

function access(person, refresh) {
  const rules = person.access;
  const error = el("p", { class: "error", role: "alert" });
  const form = el("form", {},
    el("label", {}, "Groups", el("small", {}, "Names from the gate's config, with commas."), el("input", { name: "groups", value: rules.groups.join(", ") })),
    el("label", {}, "Weekly windows", el("small", {}, "One a line, like Mon-Fri 07:00-19:00. None: as the groups say."),
      el("textarea", { name: "windows", rows: "3" }, rules.windows.join("\n"))),
    el("label", {}, "May come in until", el("input", { name: "until", type: "date", value: rules.valid_until?.slice(0, 10) || "" })),
    el("label", {}, el("input", { type: "checkbox", name: "watch", ...(rules.watch ? { checked: "" } : {}) }), "On the watch list: raise an alarm, open nothing"),
    error, el("div", { class: "row" }, el("button", {}, "Save"), el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")));
  const dialog = modal(`Rules of ${person.name}`, form);
  form.onsubmit = async (event) => {
    event.preventDefault();
    const given = new FormData(form);
    const parts = (text, by) => text.split(by).map((part) => part.trim()).filter(Boolean);
    const until = given.get("until");
    try {
      await api("PUT", path(person.name, "/access"), {
        groups: parts(given.get("groups"), ","), windows: parts(given.get("windows"), "\n"),
        valid_from: rules.valid_from, valid_until: until ? new Date(`${until}T23:59:59`).toISOString() : null, watch: given.has("watch"),
      });
      dialog.close();
      refresh();
    } catch (problem) { error.textContent = problem.message; }
  };
}

function forget(person, refresh) {
  const error = el("p", { class: "error", role: "alert" });
  const go = el("button", { type: "button", class: "danger" }, `Forget ${person.name} for good`);
  const dialog = modal(`Forget ${person.name}?`, el("p", {}, "Keys, templates, faces and what the log knows of this person are destroyed. This cannot be undone."),
    error, el("div", { class: "row" }, go, el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel")));
  go.onclick = async () => {
    go.disabled = true;
    try {
      const { receipt } = await api("DELETE", path(person.name));
      dialog.replaceChildren(el("h1", {}, "Receipt"), el("pre", {}, receipt.join("\n\n")),
        el("button", { type: "button", onclick: () => dialog.close() }, "Close"));
      refresh();
    } catch (problem) { error.textContent = problem.message; go.disabled = false; }
  };
}

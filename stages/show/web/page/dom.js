// Small pieces that every view needs. Text goes in as text, never as HTML.
export function el(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "circle", "text", "polyline", "g"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node[key] = value;
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== "" && child !== null));
  return node;
}

// A dialog, which Escape closes; it is gone when it is closed.
export function modal(title, ...children) {
  const dialog = el("dialog", { "aria-label": title }, el("h1", {}, title), ...children);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

function cancel(dialog, attributes = {}) {
  return el("button", { type: "button", class: "quiet", onclick: () => dialog().close(), ...attributes }, "Cancel");
}

// Asks before what cannot be undone. What `act` gives, if anything, is shown afterwards.
export function ask(title, text, label, act) {
  const error = el("p", { class: "error", role: "alert" });
  const go = el("button", { type: "button", class: "danger" }, label);
  const dialog = modal(title, el("p", {}, text), error,
    el("div", { class: "row" }, go, cancel(() => dialog, { autofocus: "" })));
  go.onclick = async () => {
    go.disabled = true;
    try { told(dialog, await act()); } catch (problem) { error.textContent = problem.message; go.disabled = false; }
  };
}

// Asks for what `fields` hold; `send` gets them.
export function fill(title, fields, label, send) {
  const error = el("p", { class: "error", role: "alert" });
  const form = el("form", {}, ...fields, error, el("div", { class: "row" }, el("button", {}, label), cancel(() => dialog)));
  form.onsubmit = async (event) => {
    event.preventDefault();
    try { told(dialog, await send(new FormData(form))); } catch (problem) { error.textContent = problem.message; }
  };
  const dialog = modal(title, form);
}

function told(dialog, what) {
  if (!what) { dialog.close(); return; }
  dialog.replaceChildren(...what, el("button", { type: "button", onclick: () => dialog.close() }, "Close"));
  dialog.querySelector("input, button").focus();
}

export function when(ns, long = false) {
  const date = new Date(ns / 1e6);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const today = date.toDateString() === new Date().toDateString();
  return long || !today ? `${date.toLocaleDateString()} ${time}` : time;
}

let timer;
export function toast(text) {
  const node = document.querySelector("#toast");
  node.textContent = text;
  node.classList.add("on");
  clearTimeout(timer);
  timer = setTimeout(() => node.classList.remove("on"), 4500);
}

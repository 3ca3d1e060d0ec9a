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

// Where the focus goes when what had it is gone: a keyboard would begin at the top again, and a screen reader be silent.
const elsewhere = () => document.querySelector("#main").focus();

// Keeps a list of nodes, one for each `key`, and makes anew only those of what has changed: a screen reader says once more
// what is made anew. The focus stays where it is. `none` gives what is said of an empty list.
export function drawn(list, key, make, none = null) {
  let there = new Map();
  return (found) => {
    const before = there;
    there = new Map(found.map((one) => {
      const [text, old] = [JSON.stringify(one), before.get(key(one))];
      return [key(one), old?.text === text ? old : { text, node: make(one) }];
    }));
    for (const [id, { node }] of before) {
      const after = there.get(id)?.node;
      if (after === node) continue;
      const focused = node.contains(document.activeElement);
      if (after) node.replaceWith(after); else node.remove();
      if (focused && after) (after.querySelector("button") ?? after).focus();
      else if (focused) elsewhere();
    }
    list.querySelector(":scope > .empty")?.remove();
    [...there.values()].forEach(({ node }, place) => {
      if (list.children[place] !== node) list.insertBefore(node, list.children[place] ?? null);
    });
    if (none && !there.size) list.append(el(list.tagName === "UL" ? "li" : "p", { class: "empty" }, none()));
  };
}

// Does what a button is for, once at a time. What goes wrong is said in the node `error`, or else in passing.
export async function once(button, act, error = null) {
  if (button.disabled) return;
  const focused = document.activeElement;
  button.disabled = true;
  if (error) error.textContent = "";
  try { await act(); } catch (problem) {
    if (error) error.textContent = problem.message; else toast(problem.message);
  } finally {
    button.disabled = false;
    if (document.activeElement === document.body && focused.isConnected) focused.focus(); // a disabled button loses it
  }
}

// A dialog, which Escape closes; it is gone when it is closed.
export function modal(title, ...children) {
  const dialog = el("dialog", { "aria-label": title }, el("h2", {}, title), ...children);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (document.activeElement === document.body) elsewhere(); // what it was opened by may be gone
  });
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
  go.onclick = () => once(go, async () => told(dialog, await act()), error);
}

// Asks for what `fields` hold; `send` gets them, and what it gives, if anything, is shown afterwards.
export function fill(title, fields, label, send, ...more) {
  const error = el("p", { class: "error", role: "alert" });
  const go = el("button", {}, label);
  const form = el("form", {}, ...fields, error, el("div", { class: "row" }, go, ...more, cancel(() => dialog)));
  form.onsubmit = (event) => {
    event.preventDefault();
    once(go, async () => told(dialog, await send(new FormData(form))), error);
  };
  const dialog = modal(title, form);
  return dialog;
}

function told(dialog, what) {
  if (!what) { dialog.close(); return; }
  dialog.replaceChildren(...what, el("button", { type: "button", onclick: () => dialog.close() }, "Close"));
  dialog.querySelector("input, button").focus({ preventScroll: true }); // what is told is read from its beginning
}

// The time of a moment, with its day unless that is today.
export function when(ms) {
  const date = new Date(ms);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const today = date.toDateString() === new Date().toDateString();
  return today ? time : `${date.toLocaleDateString()} ${time}`;
}

let timer;
export function toast(text) {
  const node = document.querySelector("#toast");
  node.textContent = text;
  node.classList.add("on");
  clearTimeout(timer);
  timer = setTimeout(() => {
    node.classList.remove("on");
    node.textContent = ""; // it may have named somebody
  }, 4500);
}

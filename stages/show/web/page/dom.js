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

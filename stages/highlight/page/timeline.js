// One video's timeline: what can be seen of it is drawn on a canvas that stays where its scroll bar moves under it.
const AXIS = 22, REEL = 20, SCORE = 96, CUTS = 16, PAUSES = 14, LANE = 26, GAP = 4; // pixels
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200]; // seconds between two times on the axis
const CLOSEST = 60; // pixels a second
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

// Text goes in as text, never as HTML.
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node[key] = value;
    else if (key === "hue") node.style.setProperty("--hue", value);
    else if (value !== null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function clock(seconds, digits = 0) {
  const parts = 10 ** digits, whole = Math.round(seconds * parts);
  const rest = ((whole / parts) % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  const minutes = Math.floor(whole / parts / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

class Timeline {
  // `strengths`: of each signal, 0..1 or null a second; `most`: the score that is as high as its lane;
  // `chosen(second)` is told what the pointer or a key has chosen, `text(second)` says what it holds.
  constructor(video, moments, signals, strengths, most, chosen, text) {
    Object.assign(this, { video, moments, signals, strengths, most, chosen, text });
    this.length = Math.max(1, video.score.length);
    this.now = this.best(0, this.length);
    this.scored = `score, 0 to ${most}`;
    this.rows = [["", AXIS], ["in the reel", REEL], [this.scored, SCORE], ["shot changes", CUTS], ["speech pauses", PAUSES],
      ...signals.map((signal) => [signal.name.replaceAll("_", " "), LANE, signal])];
    this.height = this.rows.reduce((sum, [, high]) => sum + high + GAP, 0);
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.long = el("div", {}, this.canvas);
    this.view = el("div", {
      class: "view", tabindex: 0, role: "slider", "aria-label": "Second of the video", "aria-valuemin": 0,
      "aria-valuemax": this.length - 1, onkeydown: (event) => this.key(event), onscroll: () => this.redraw(),
      onclick: (event) => this.point(event), onwheel: (event) => this.wheel(event),
      onpointermove: (event) => event.pointerType === "touch" || this.point(event),
    }, this.long);
    this.labels = el("div", { class: "labels" }, ...this.rows.map((row) => this.label(...row)));
    this.long.style.height = `${this.height}px`;
    const zoom = (text, label, act) => el("button", { type: "button", "aria-label": label, onclick: act }, text);
    const keys = el("p", {}, el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " a second, ", el("kbd", {}, "N"), " ", el("kbd", {}, "P"), " a moment, ", el("kbd", {}, "+"), " ", el("kbd", {}, "−"), " zoom");
    this.node = el("div", { class: "card" },
      el("div", { class: "tools" }, zoom("−", "Zoom out", () => this.zoom(0.5)), zoom("+", "Zoom in", () => this.zoom(2)),
        zoom("Whole video", "Show the whole video", () => this.fit()), keys),
      el("div", { class: "chart" }, this.labels, this.view));
    new ResizeObserver(() => this.resize()).observe(this.view);
    new IntersectionObserver(([seen]) => this.appear(seen.isIntersecting), { rootMargin: "400px" }).observe(this.node);
  }

  // The first of the seconds with the highest score.
  best(from, to) {
    let best = from;
    for (let second = from; second < to; second++) if (this.video.score[second] > this.video.score[best]) best = second;
    return best;
  }

  label(name, height, signal) {
    const empty = signal && this.strengths[signal.name].every((value) => value === null);
    const row = el("div", { class: empty ? "empty" : "" }, name, ...(signal ? [el("i", { hue: signal.hue })] : []));
    row.style.height = `${height + GAP}px`;
    return row;
  }

  // A thousand canvases are more than a browser keeps: those out of sight are empty.
  appear(near) {
    this.near = near;
    if (near) this.draw();
    else this.canvas.width = this.canvas.height = 0;
  }

  get whole() { return this.view.clientWidth / this.length; } // pixels a second with which all of it is seen

  resize() {
    if (!this.view.clientWidth) return;
    this.scale = this.fitted === false ? Math.max(this.scale, this.whole) : this.whole;
    this.spread();
  }

  spread() {
    this.fitted = this.scale <= this.whole * 1.001;
    this.long.style.width = this.fitted ? "100%" : `${this.length * this.scale}px`;
    this.draw();
  }

  fit() {
    this.scale = this.whole;
    this.spread();
  }

  zoom(factor, second = this.now + 0.5) {
    const seen = second * this.scale - this.view.scrollLeft;
    const at = seen >= 0 && seen <= this.view.clientWidth ? seen : this.view.clientWidth / 2;
    this.scale = Math.max(this.whole, Math.min(Math.max(CLOSEST, this.whole), this.scale * factor));
    this.spread();
    this.view.scrollLeft = second * this.scale - at;
    this.draw();
  }

  // A moment in the middle, with as much before and after it.
  show(moment) {
    const span = Math.max(5, moment.end - moment.start) * 3;
    this.scale = Math.max(this.whole, Math.min(CLOSEST, this.view.clientWidth / span));
    this.spread();
    this.view.scrollLeft = (moment.start + moment.end) / 2 * this.scale - this.view.clientWidth / 2;
    this.choose(this.best(Math.floor(moment.start), moment.end));
  }

  choose(second, follow = false) {
    this.now = Math.max(0, Math.min(this.length - 1, second));
    const x = (this.now + 0.5) * this.scale - this.view.scrollLeft;
    if (follow && (x < 0 || x > this.view.clientWidth)) this.view.scrollLeft += x - this.view.clientWidth / 2;
    this.view.setAttribute("aria-valuenow", this.now);
    this.view.setAttribute("aria-valuetext", this.text(this.now));
    this.chosen(this.now);
    this.redraw();
  }

  point(event) {
    const x = event.clientX - this.view.getBoundingClientRect().left + this.view.scrollLeft;
    const second = Math.max(0, Math.min(this.length - 1, Math.floor(x / this.scale)));
    if (second !== this.now || event.type === "click") this.choose(second);
  }

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.point(event);
    this.zoom(Math.exp(-event.deltaY / 200));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = this.moments.find((moment) => Math.floor(moment.start) > this.now);
    const last = this.moments.findLast((moment) => moment.end <= this.now);
    const page = Math.max(1, Math.floor(this.view.clientWidth / this.scale / 4));
    const to = {
      ArrowRight: this.now + (event.shiftKey ? 10 : 1), ArrowLeft: this.now - (event.shiftKey ? 10 : 1),
      ArrowUp: this.now + 1, ArrowDown: this.now - 1, PageUp: this.now + page, PageDown: this.now - page,
      Home: 0, End: this.length - 1, n: next && Math.floor(next.start), p: last && Math.floor(last.start),
    }[event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if (event.key === "+" || event.key === "=") this.zoom(2);
    else if (event.key === "-") this.zoom(0.5);
    else if (to !== undefined) this.choose(to, true);
    else return;
    event.preventDefault();
  }

  redraw() {
    this.asked ??= requestAnimationFrame(() => this.draw());
  }
}

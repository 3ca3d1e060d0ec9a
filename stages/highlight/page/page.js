// The page: how the score is made up, and of each video its timeline, what a second holds, and the moments.
const { reel, changed, signals, thumbs } = JSON.parse(document.getElementById("data").textContent);
signals.forEach((signal, index) => { signal.hue = Math.round(25 + index * 360 / signals.length); });
reel.moments.forEach((moment, index) => { moment.number = index + 1; });
const titled = (name) => name.replaceAll("_", " ");
const told = (value) => value === null ? "not measured" : Number(value.toPrecision(3)).toString();
const says = (name) => signals.find((signal) => signal.name === name)?.says ?? titled(name);
const hue = (name) => signals.find((signal) => signal.name === name)?.hue ?? 0;
const counted = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
const named = (video) => video.path.split("/").at(-1);
const lasts = (moments) => moments.reduce((sum, moment) => sum + moment.end - moment.start, 0);
const timelines = [];
const videos = reel.videos.map((video, index) => ({ video, index, moments: reel.moments.filter((moment) => moment.video === index) }))
  .sort((one, other) => !one.moments.length - !other.moments.length); // what nothing is taken from comes last
const most = Math.max(0.1, Math.ceil(reel.videos.reduce((high, video) => video.score.reduce((one, other) => Math.max(one, other), high), 0) * 10) / 10);

function made() {
  const { weights, preset } = reel;
  const weighed = signals.filter(({ name }) => weights?.[name]).sort((one, other) => weights[other.name] - weights[one.name]);
  const rows = signals.map((signal) => el("tr", {}, el("td", {}, el("i", { hue: signal.hue }), ` ${titled(signal.name)}`),
    el("td", {}, signal.says), ...(weights ? [el("td", { class: "number" }, weights[signal.name] ? told(weights[signal.name]) : "–")] : []),
    el("td", {}, `${signal.half} ${signal.unit}`)));
  const head = el("tr", {}, el("th", {}, "signal"), el("th", {}, "a high value says"), ...(weights ? [el("th", { class: "number" }, "weight")] : []), el("th", {}, "half strength at"));
  return el("section", { class: "card made" },
    el("h2", {}, "How the score is made up"),
    el("p", { class: "soft" }, weights ? "The score of a second is the weighted mean of the strengths of its signals; what was not measured in it does not count. "
      : `The score of a second was learned: the scorer “${preset}” gave it. The part that a signal has in it is what the score loses without the signal. `,
    "A value x has the strength x\u00a0/\u00a0(x\u00a0+\u00a0half), which the lanes below show.",
    weights ? changed ? ` The weights, changed from the preset “${preset}”:` : ` The weights of the preset “${preset}”:` : ""),
    ...(weights ? [el("p", { class: "weights numbers" }, ...weighed.map(({ name, hue }) => el("span", {}, el("i", { hue }), ` ${titled(name)} ${told(weights[name])}`)))] : []),
    el("details", {}, el("summary", { class: "soft" }, "All signals"), el("div", { class: "wide" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)))));
}

function strengths(video) {
  return Object.fromEntries(signals.map(({ name, half }) => [name, (video.signals[name] ?? video.score.map(() => null)).map(
    (value) => value === null ? null : value > 0 ? value / (value + half) : 0)]));
}

// What a second holds; `show` fills it.
function readout(video, moments) {
  const title = el("b", { class: "numbers" }), tag = el("span", { class: "tag" });
  const stack = el("div", { class: "stack", "aria-hidden": "true" }, ...signals.map((signal) => el("i", { hue: signal.hue })));
  const rows = signals.map((signal) => el("div", {}, el("i", { hue: signal.hue }), el("dt", {}, titled(signal.name)), el("dd", { class: "numbers" }), el("dd", { class: "numbers" })));
  const node = el("aside", { class: "card readout", "aria-label": "What the second holds" }, el("h3", {}, title, tag), stack, el("dl", {}, ...rows));
  const show = (second) => {
    const taken = moments.find((moment) => moment.start < second + 1 && moment.end > second);
    title.textContent = `${clock(second)} · score ${(video.score[second] ?? 0).toFixed(2)}`;
    tag.textContent = taken ? `moment ${taken.number}` : "not in the reel";
    tag.classList.toggle("taken", Boolean(taken));
    signals.forEach(({ name, unit }, index) => {
      const value = video.signals[name]?.[second] ?? null, part = video.shares[name]?.[second] ?? 0;
      const [, , share, raw] = rows[index].children;
      stack.children[index].style.width = `${Math.max(0, part) * 100}%`;
      rows[index].classList.toggle("none", value === null);
      share.textContent = part ? `+${part.toFixed(3)}` : "";
      raw.textContent = value === null ? told(value) : `${told(value)} ${unit === "0..1" ? "of 1" : unit}`;
    });
    return taken;
  };
  return { node, show };
}

function card(moment, act) {
  const why = Object.entries(moment.why).filter(([, part]) => part >= 0.005).slice(0, 4);
  const most = Math.max(...why.map(([, part]) => part));
  const reasons = why.map(([name, part]) => {
    const bar = el("i", { hue: hue(name) });
    bar.style.width = `${part / most * 100}%`;
    return el("li", {}, el("span", {}, says(name)), el("span", { class: "soft numbers" }, `+${part.toFixed(2)}`), bar);
  });
  const time = `${clock(moment.start, 1)} – ${clock(moment.end, 1)}`;
  return el("li", { class: "card moment" },
    el("img", { src: thumbs[moment.number - 1], alt: "" }),
    el("div", {},
      el("div", { class: "line" }, el("span", { class: "tag taken" }, String(moment.number)),
        el("button", { type: "button", "aria-label": `Show moment ${moment.number}, ${time}, on the timeline`, onclick: act }, time),
        el("span", { class: "numbers" }, moment.score.toFixed(2))),
      ...(moment.must ? [el("div", {}, el("span", { class: "tag" }, "asked for"))] : []),
      el("ul", {}, ...reasons)));
}

function section({ video, index, moments }) {
  const { node, show } = readout(video, moments);
  const chosen = (second) => {
    const taken = show(second);
    cards.forEach((one, place) => taken === moments[place] ? one.setAttribute("aria-current", "true") : one.removeAttribute("aria-current"));
  };
  const text = (second) => `${clock(second)}, score ${(video.score[second] ?? 0).toFixed(2)}: ` + signals
    .filter(({ name }) => (video.signals[name]?.[second] ?? null) !== null).map(({ name }) => `${titled(name)} ${told(video.signals[name][second])}`).join(", ");
  const timeline = new Timeline(video, moments, signals, strengths(video), most, chosen, text);
  const looked = el("div", { class: "looked" }, timeline.node, node);
  const cards = moments.map((moment) => card(moment, () => {
    timeline.show(moment);
    timeline.view.focus({ preventScroll: true });
    looked.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }));
  timelines.push(timeline);
  timeline.choose(timeline.now);
  const facts = [clock(video.duration, 1), `${video.width} × ${video.height}`, counted(video.frames, "frame"), video.sound ? "with sound" : "no sound", moments.length ? `${counted(moments.length, "moment")}, ${clock(lasts(moments), 1)} in the reel` : "nothing of it in the reel"];
  return el("section", { class: "video", id: `video-${index}` },
    el("header", {}, el("h2", {}, named(video)), el("p", {}, facts.join(" · "))), looked,
    el("ol", { class: "moments" }, ...cards));
}

function contents() {
  return el("nav", { class: "card", "aria-label": "Videos" }, el("ol", {}, ...videos.map(({ video, index, moments }) =>
    el("li", {}, el("a", { href: `#video-${index}` }, named(video)), el("span", { class: "soft numbers" }, ` ${clock(video.duration)}, ${counted(moments.length, "moment")}`)))));
}

document.getElementById("summary").textContent = `${counted(reel.moments.length, "moment")}, ${clock(lasts(reel.moments))} of ${clock(reel.videos.reduce((sum, video) => sum + video.duration, 0))} · ${reel.weights ? "preset" : "scorer"} ${reel.preset}`;
document.getElementById("main").append(made(), ...(reel.videos.length > 1 ? [contents()] : []), ...videos.map(section));

function redraw(printed) {
  document.documentElement.classList.toggle("printed", printed);
  for (const timeline of timelines) {
    timeline.near ||= printed;
    timeline.resize();
  }
}
addEventListener("beforeprint", () => redraw(true));
addEventListener("afterprint", () => redraw(false));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(false));

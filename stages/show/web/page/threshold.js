// What gate calibrate has found: the DET curve on the scale of a normal deviate, and the numbers behind it.
import { api } from "./session.js";
import { el } from "./dom.js";

const TICKS = [1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8];
const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT] = [720, 480, 80, 12, 60, 24];

// The inverse of the normal distribution's cumulative function: Acklam's rational approximation, 1e-9 relative.
function probit(p) {
  const a = [-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716, 2.506628277459239];
  const b = [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572];
  const c = [-0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783];
  const d = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416];
  if (p > 0.5) return -probit(1 - p);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) / ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
  }
  const [q, r] = [p - 0.5, (p - 0.5) ** 2];
  return ((((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q) / (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

function scale(least, most, from, to) {
  const [low, high] = [probit(least), probit(most)];
  return (rate) => from + ((probit(Math.min(Math.max(rate, least), most)) - low) / (high - low)) * (to - from);
}

function curve(found) {
  const least = 10 ** Math.floor(Math.log10(1 / found.impostor));
  const x = scale(least, 0.8, LEFT, WIDTH - RIGHT);
  const fewest = Math.max(1e-3, 10 ** Math.floor(Math.log10(1 / found.genuine)));
  const y = scale(fewest, 0.8, HEIGHT - BOTTOM, TOP);
  const percent = (rate) => `${+(rate * 100).toPrecision(2)} %`;
  const lines = TICKS.flatMap((tick) => [
    ...(tick >= least ? [el("line", { class: "grid", x1: x(tick), x2: x(tick), y1: TOP, y2: HEIGHT - BOTTOM }),
      el("text", { x: x(tick), y: HEIGHT - BOTTOM + 22, "text-anchor": "middle" }, percent(tick))] : []),
    ...(tick >= fewest ? [el("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }),
      el("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, percent(tick))] : []),
  ]);
  const [px, py] = [x(found.measured_far), y(1 - found.tar)];
  return el("svg", { class: "det", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `False rejects against false accepts; at the threshold ${found.threshold.toFixed(3)} they are ${percent(1 - found.tar)} and ${percent(found.measured_far)} of comparisons` },
  ...lines,
  el("polyline", { class: "curve", points: found.curve.map((point) => `${x(point.far)},${y(point.frr)}`).join(" ") }),
  el("line", { class: "bounds", x1: x(found.measured_far_span[0]), x2: x(found.measured_far_span[1]), y1: py, y2: py }),
  el("line", { class: "bounds", x1: px, x2: px, y1: y(1 - found.tar_span[1]), y2: y(1 - found.tar_span[0]) }),
  el("circle", { class: "point", cx: px, cy: py, r: 6 }),
  el("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, "false accepts of a comparison"),
  el("text", { x: 14, y: HEIGHT / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${HEIGHT / 2})` }, "false rejects"));
}

export function threshold() {
  const root = el("section", {}, el("h1", {}, "Threshold"));
  api("GET", "/api/calibration").then((found) => {
    if (!found) {
      root.append(el("div", { class: "card empty" }, "Nothing is calibrated, so only simulated doors open. Run: gate calibrate --far 0.01 --impostors FOLDER"));
      return;
    }
    const span = ([low, high]) => `${+low.toPrecision(2)} to ${+high.toPrecision(2)}`;
    const rows = {
      "False accepts of a passage": found.far, "of a comparison, allowed": +found.comparison_far.toPrecision(2),
      "of a comparison, measured": +found.measured_far.toPrecision(2), "95 %, people resampled": span(found.measured_far_span),
      "3/n, optimistic": +found.optimistic_far.toPrecision(2), "True accepts": found.tar.toFixed(3), "95 %": span(found.tar_span),
      People: found.people, "Genuine, impostor": `${found.genuine}, ${found.impostor}`,
      "Photos, at most": found.photos, "Faces a passage": found.most, Mode: found.mode, Made: new Date(found.made_at).toLocaleDateString(),
    };
    root.append(el("div", { class: "split" }, el("div", { class: "card" }, curve(found)),
      el("aside", { class: "card numbers" }, el("h2", {}, "Cosine similarity"), el("p", { class: "figure" }, found.threshold.toFixed(3)),
        el("p", { class: "muted" }, `embedder ${found.model.slice(0, 12)}`),
        el("dl", {}, ...Object.entries(rows).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])))));
  }).catch((error) => root.append(el("p", { class: "error" }, error.message)));
  return { root };
}

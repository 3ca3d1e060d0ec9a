// The drawing of a timeline. Of the seconds that fall into one pixel, the largest is drawn.
Timeline.prototype.draw = function () {
  this.asked = undefined;
  const width = this.view.clientWidth;
  if (!width || !this.scale || !this.near) return;
  const { height } = this, ratio = devicePixelRatio;
  this.canvas.width = Math.round(width * ratio);
  this.canvas.height = Math.round(height * ratio);
  this.canvas.style.width = `${width}px`;
  this.canvas.style.height = `${height}px`;
  const pen = this.canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = FONT;
  const from = this.view.scrollLeft / this.scale;
  const see = { pen, width, from, to: Math.min(this.length, from + width / this.scale), x: (second) => (second - from) * this.scale, ...colours(this.node) };
  const tops = {};
  this.rows.reduce((top, [name, high]) => { tops[name] = top; return top + high + GAP; }, 0);
  const seen = this.moments.filter((moment) => moment.end >= see.from && moment.start <= see.to);

  this.axis(see, height);
  pen.fillStyle = see.band;
  for (const moment of seen) pen.fillRect(see.x(moment.start), AXIS + GAP, this.width(moment, 1), height - AXIS - GAP);
  for (const moment of seen) this.numbered(see, moment, tops["in the reel"]);
  this.scores(see, tops[this.scored], seen);
  this.cuts(see, tops["shot changes"]);
  this.pauses(see, tops["speech pauses"]);
  const swatches = this.labels.querySelectorAll("i");
  this.signals.forEach((signal, index) => this.lane(see, signal, tops[signal.name.replaceAll("_", " ")], getComputedStyle(swatches[index]).backgroundColor));
  this.cursor(see, height);
};

function colours(node) {
  const probe = el("span");
  node.append(probe);
  const found = {};
  for (const name of ["ink", "soft", "rest", "line", "accent", "on-accent", "band", "sunk", "paper"]) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

Timeline.prototype.width = function (moment, least) {
  return Math.max(least, (moment.end - moment.start) * this.scale);
};

Timeline.prototype.axis = function (see, height) {
  const { pen } = see;
  const step = STEPS.find((one) => one * this.scale >= 64) ?? Math.ceil(64 / this.scale / 3600) * 3600;
  for (let second = Math.floor(see.from / step) * step; second <= see.to; second += step) {
    pen.fillStyle = see.line;
    pen.fillRect(Math.round(see.x(second)), 0, 1, height);
    pen.fillStyle = see.soft;
    pen.fillText(clock(second), see.x(second) + 5, 13);
  }
};

Timeline.prototype.numbered = function (see, moment, top) {
  const { pen } = see, left = see.x(moment.start), wide = this.width(moment, 3), number = String(moment.number);
  pen.fillStyle = see.accent;
  pen.beginPath();
  pen.roundRect(left, top, wide, REEL, Math.min(4, wide / 2));
  pen.fill();
  if (wide < pen.measureText(number).width + 6) return;
  pen.fillStyle = see["on-accent"];
  pen.textAlign = "center";
  pen.fillText(number, left + wide / 2, top + 14);
  pen.textAlign = "start";
};

// Bars of a second, or of as many as fall into a pixel.
Timeline.prototype.bars = function (see, values, top, high, full) {
  const step = Math.max(1, Math.ceil(1 / this.scale)), gap = step * this.scale > 6 ? 1 : 0;
  see.pen.beginPath();
  for (let second = Math.floor(see.from / step) * step; second < see.to; second += step) {
    let most = 0;
    for (let one = second; one < Math.min(second + step, this.length); one++) if (values[one] > most) most = values[one];
    const tall = Math.min(1, most / full) * high, left = Math.round(see.x(second)), right = Math.round(see.x(second + step));
    if (tall > 0) see.pen.rect(left, top + high - tall, Math.max(1, right - left - gap), tall);
  }
};

Timeline.prototype.scores = function (see, top, seen) {
  const { pen } = see;
  pen.fillStyle = see.line;
  for (const share of [0, 0.5, 1]) pen.fillRect(0, top + Math.round(SCORE * share), see.width, 1);
  this.bars(see, this.video.score, top, SCORE, this.most);
  pen.fillStyle = see.rest;
  pen.fill();
  pen.save();
  pen.beginPath();
  for (const moment of seen) pen.rect(see.x(moment.start), top, this.width(moment, 1), SCORE);
  pen.clip();
  this.bars(see, this.video.score, top, SCORE, this.most);
  pen.fillStyle = see.accent;
  pen.fill();
  pen.restore();
};

// Each a line; where they lie close, the darker the more there are.
Timeline.prototype.cuts = function (see, top) {
  const cuts = this.video.cuts.filter((cut) => cut >= see.from && cut <= see.to);
  see.pen.fillStyle = see.soft;
  see.pen.globalAlpha = Math.min(1, Math.max(0.03, see.width / 3 / cuts.length));
  for (const cut of cuts) see.pen.fillRect(Math.round(see.x(cut)), top, 1, CUTS);
  see.pen.globalAlpha = 1;
};

Timeline.prototype.pauses = function (see, top) {
  if (!this.video.sound) return this.unmeasured(see, top + PAUSES / 2 + 4);
  see.pen.fillStyle = see.rest;
  for (const [start, end] of this.video.pauses) if (end >= see.from && start <= see.to) see.pen.fillRect(see.x(start), top + 4, (end - start) * this.scale, PAUSES - 8);
};

Timeline.prototype.unmeasured = function (see, base) {
  see.pen.fillStyle = see.soft;
  see.pen.fillText("not measured", 6, base);
};

Timeline.prototype.lane = function (see, signal, top, colour) {
  const { pen } = see, values = this.strengths[signal.name];
  pen.fillStyle = see.line;
  pen.fillRect(0, top + LANE, see.width, 1);
  if (values.every((value) => value === null)) return this.unmeasured(see, top + 17);
  this.bars(see, values, top, LANE, 1);
  pen.fillStyle = colour;
  pen.fill();
};

Timeline.prototype.cursor = function (see, height) {
  const { pen } = see, middle = see.x(this.now + 0.5), text = clock(this.now), wide = pen.measureText(text).width + 12;
  const left = Math.max(0, Math.min(see.width - wide, middle - wide / 2));
  pen.fillStyle = see.ink;
  pen.fillRect(Math.round(middle), AXIS - 4, 1, height - AXIS + 4);
  pen.beginPath();
  pen.roundRect(left, 1, wide, AXIS - 5, 4);
  pen.fill();
  pen.fillStyle = see.paper;
  pen.fillText(text, left + 6, 13);
};

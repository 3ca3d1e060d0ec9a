// The events that the page has, the newest first, and what rows that come later change of them.
import { api, session } from "./session.js";

const LONGEST = 500;
const ROWS = 200; // at once, the most that the gate gives

// A row that says that a clip is kept is no event of its own.
const shown = (rows) => rows.filter((row) => row.kind !== "clip");

export function begin(rows) {
  Object.assign(session, { events: shown(rows), newest: rows[0]?.seq ?? 0, oldest: rows.at(-1)?.seq ?? 0, deep: false });
}

// Rows that the gate pushes, the oldest first.
export function take(rows) {
  if (rows.length && rows[0].seq > session.newest + 1) begin([]); // too long away: what lies between was not told
  for (const row of rows) {
    heed(row);
    session.events.unshift(...shown([row]));
    session.newest = row.seq;
    session.oldest ||= row.seq;
  }
  shorten();
}

// Cuts off the oldest, unless somebody has asked for them.
export function shorten() {
  if (session.deep || session.events.length <= LONGEST) return;
  session.events.length = LONGEST;
  session.oldest = session.events.at(-1).seq;
}

// Loads older ones until one of them is `wanted`; whether there may be more.
export async function older(wanted) {
  session.deep = true;
  for (;;) {
    const before = session.oldest;
    const rows = await api("GET", `/api/events?limit=${ROWS}&before=${before}`);
    if (!session.deep || before !== session.oldest) return true; // all has changed meanwhile
    session.oldest = rows.at(-1)?.seq ?? before;
    session.events.push(...shown(rows));
    if (rows.length < ROWS) return false;
    if (shown(rows).some(wanted)) return true;
  }
}

// What a row says of those before it, which were read when it was not yet there.
function heed({ kind, seq, note }) {
  const said = parsed(note);
  for (const event of session.events) {
    const named = (list, to) => said[list]?.includes(event.seq) || event.seq <= said[to];
    const meant = said.of === event.seq;
    if (kind === "clip" && meant) Object.assign(event, { has_clip: event.decision !== null, film: seq });
    if (kind === "snapshot" && meant) event.covered = seq;
    if (kind !== "tombstone") continue;
    if (named("snapshots", "snapshots_to")) event.has_snapshot = false;
    if (named("clips", "clips_to")) event.has_clip = false;
    if (named("erased")) Object.assign(event, { decision: null, erased: true, has_snapshot: false, has_clip: false });
  }
  if (kind === "checkpoint") session.events = session.events.filter((event) => !(event.seq <= said.cut));
}

function parsed(note) {
  try { return JSON.parse(note) ?? {}; } catch { return {}; } // damaged: an audit says more
}

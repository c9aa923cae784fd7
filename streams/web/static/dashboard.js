// What is on show, and when it is fetched: the list and one experiment each second, while somebody looks.
//
// The experiment is in the address (#/chat), so a view can be bookmarked and sent. History and decisions are fetched only when there is
// a new version, and of the history only what is new. When the worker does not answer, the page keeps what it has and says since when.

import { redraw } from "./charts.js";
import { byId, show, write } from "./dom.js";
import { clock } from "./format.js";
import { renderExperiment, renderHealth, renderList, renderMessage, renderNotice } from "./render.js";

const INTERVAL_MS = 1000;
const TIMEOUT_MS = 5000;
const DECISIONS = 12;
const HISTORY_MAX = 5000;

const shown = { name: null, detail: null, history: [], decisions: [] };
let fresh = null; // when the worker last answered, in the browser's seconds
let ahead = 0; // the worker's clock minus the browser's, in seconds
let round = 0; // a newer round makes the answers of an older one void
let timer = null;

/** The worker answered, with an error it explains. */
class Refused extends Error {
  constructor(status, answer) {
    super(answer.error);
    this.answer = answer;
    this.status = status;
    this.expected = answer.expected ?? "";
  }
}

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  const date = Date.parse(response.headers.get("Date"));
  if (date) {
    const difference = date / 1000 - Date.now() / 1000;
    ahead = Math.abs(difference) > 2 ? difference : 0; // the header has whole seconds
  }
  const answer = await response.json();
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

function now() {
  return Date.now() / 1000 + ahead;
}

function nameInAddress() {
  const match = /^#\/(.+)$/.exec(location.hash);
  try {
    return match ? decodeURIComponent(match[1]) : null;
  } catch {
    return match[1]; // not an encoding: the server will say that it knows no such name
  }
}

function choose(list) {
  return (list.find((experiment) => experiment.status === "running") ?? list[0]).name;
}

async function update(current) {
  const list = await get("/api/experiments");
  const name = nameInAddress() ?? (list.length ? choose(list) : null);
  if (!current()) return;
  renderList(list, name);
  if (name === null) {
    await explainEmpty(current);
    return;
  }
  await updateExperiment(name, current);
}

async function updateExperiment(name, current) {
  const path = `/api/experiments/${encodeURIComponent(name)}`;
  const [detail, health] = await Promise.all([get(path), get(`${path}/health`).catch(() => null)]); // an owner of an older release has none
  const known = shown.name === name && detail.version >= (shown.detail?.version ?? 0);
  let { history, decisions } = known ? shown : { history: [], decisions: [] };
  if (!known || detail.version !== shown.detail.version || detail.ts !== shown.detail.ts) {
    const after = history.length ? history[history.length - 1].version : 0;
    const [newer, latest] = await Promise.all([get(`${path}/history?after=${after}`), get(`${path}/decisions?limit=${DECISIONS}`)]);
    history = history.concat(newer).slice(-HISTORY_MAX);
    decisions = latest;
  }
  if (!current()) return;
  Object.assign(shown, { name, detail, history, decisions });
  renderExperiment(detail, history, decisions, now());
  renderHealth(health);
}

async function explainEmpty(current) {
  const { ready, reason } = await get("/ready").catch((error) => {
    if (error instanceof Refused) return error.answer; // 503 tells why, too
    throw error;
  });
  if (!current()) return;
  shown.name = null;
  if (ready) renderMessage("No experiments yet", "Describe one in a file and apply it; it appears here within a second.", "allocator apply spec.yaml");
  else renderMessage("The worker is getting ready", reason || "It restores its state first; this page follows by itself.");
}

/** The worker is there but has no answer for this experiment: show what it says, and keep the numbers if there are any. */
function explainRefusal(error) {
  const name = nameInAddress();
  if (shown.name !== null && (name === null || shown.name === name) && error.status !== 404) {
    renderNotice(`${error.message}. Expected: ${error.expected}.`);
    return;
  }
  shown.name = null;
  renderMessage(error.status === 404 ? "Not found" : "Not available", `${error.message}. Expected: ${error.expected}.`);
}

function renderConnection(state) {
  const text = { live: "live", stale: fresh === null ? "no answer" : `stale since ${clock(fresh, Date.now() / 1000)}` };
  document.documentElement.dataset.state = state;
  write(byId("live-text"), text[state]);
}

async function tick() {
  clearTimeout(timer);
  const mine = ++round;
  const current = () => mine === round;
  try {
    await update(current);
    if (current()) renderNotice("");
  } catch (error) {
    if (!current()) return;
    if (!(error instanceof Refused)) {
      if (!(error instanceof TypeError && /fetch/i.test(error.message)) && error.name !== "TimeoutError") console.error(error);
      renderConnection("stale");
      timer = setTimeout(tick, INTERVAL_MS);
      return;
    }
    explainRefusal(error);
  }
  if (!current()) return;
  fresh = Date.now() / 1000;
  renderConnection("live");
  if (!document.hidden) timer = setTimeout(tick, INTERVAL_MS);
}

addEventListener("hashchange", tick);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : tick()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
// "#main" would be taken for an experiment in the address.
document.querySelector("[data-skip]").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
show(byId("message"), false);
tick();

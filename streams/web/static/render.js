// From answers to the page. Every function may be called again with newer answers and changes only what differs.

import { drawBest, drawPosterior, drawWeights } from "./charts.js";
import { armClass, byId, make, shareBar, show, sync, write } from "./dom.js";
import { clock, count, duration, estimate, probability, sentence, share } from "./format.js";

/** The experiments; the one called `current` is marked. */
export function renderList(list, current) {
  write(byId("list-count"), list.length ? count(list.length) : "");
  sync(byId("list"), list, (experiment) => experiment.name, createListed, (item, experiment) => {
    const link = item.firstChild;
    const [name, status, facts, bar] = link.children;
    link.href = `#/${encodeURIComponent(experiment.name)}`;
    if (experiment.name === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    write(name, experiment.name);
    renderStatus(status, experiment.status);
    write(facts, experiment.version ? `v${experiment.version} · ${experiment.policy}` : `no weights yet · ${experiment.policy}`);
    shareBar(bar, experiment.arms);
  });
}

function createListed() {
  return make("li", "", make("a", "", make("span", "name"), make("span", "pill"), make("span", "facts"), make("span", "shares")));
}

/** Instead of an experiment: what is the matter and what to do. */
export function renderMessage(title, text, code = "") {
  show(byId("experiment"), false);
  show(byId("message"), true);
  write(byId("message-title"), title);
  write(byId("message-text"), text);
  write(byId("message-code"), code);
  show(byId("message-code"), code !== "");
  document.title = "Allocator";
}

/** Above the numbers, which are not the newest any more; nothing for an empty text. */
export function renderNotice(text) {
  show(byId("notice"), text !== "");
  write(byId("notice"), text);
}

/** One experiment: `detail` as the worker answers, `history` oldest first, `decisions` newest first. */
export function renderExperiment(detail, history, decisions, now) {
  show(byId("message"), false);
  show(byId("experiment"), true); // before the charts: they measure the room they have
  document.title = `${detail.name} · Allocator`;
  const objective = declared(detail.spec, detail.spec.objective);
  renderTitle(detail);
  renderStage(detail, now);
  renderHoldback(detail);
  renderBreaches(detail);
  renderKpis(detail, now);
  renderCharts(detail, history, now);
  renderArms(detail, objective);
  renderMetrics(detail);
  renderDecisions(decisions, detail, now);
  renderCounters(detail);
  write(byId("spec"), JSON.stringify(detail.spec, null, 2));
}

const STATES = ["broken", "warn", "unknown", "ok"];

/** The worst of the checks in one line; unfolded, all of them, the worst first. */
export function renderHealth(health) {
  show(byId("health"), health !== null);
  if (health === null) return;
  const checks = STATES.flatMap((state) => health.checks.filter((check) => check.state === state));
  const bad = checks.filter(({ state }) => state === "broken" || state === "warn");
  const known = checks.filter(({ state }) => state !== "unknown");
  renderHealthState(byId("health-state"), health.state);
  const others = bad.length > 1 ? ` (and ${count(bad.length - 1)} more)` : "";
  write(byId("health-text"), bad.length ? `${bad[0].name}: ${bad[0].sentence}${others}` : `${count(known.length)} of ${count(checks.length)} health checks know enough, and find nothing wrong`);
  sync(byId("health-checks"), checks, (check) => check.name, () => make("li", "", make("span", "pill"), make("strong"), make("span")), (item, check) => {
    const [state, name, sentence] = item.children;
    renderHealthState(state, check.state);
    write(name, check.name);
    write(sentence, check.sentence);
  });
}

function renderHealthState(pill, state) {
  write(pill, state);
  pill.dataset.state = state;
}

function renderStatus(pill, status) {
  write(pill, status);
  pill.dataset.status = status;
}

function renderTitle({ name, spec, status, reason, version }) {
  write(byId("name"), name);
  renderStatus(byId("status"), status);
  const policy = spec.policy.name;
  const facts = [`${policy} on ${spec.objective}`, `control ${spec.control}`, `spec revision ${spec.revision}`];
  if (spec.phase > 1) facts.push(`phase ${spec.phase}`);
  if (spec.enrolment < 1 && !spec.stages?.length) facts.push(`${share(spec.enrolment * 1e6)} enrolled`);
  if (spec.holdback > 0) facts.push(`${share(spec.holdback * 1e6)} held back`);
  if (spec.owner) facts.push(spec.owner);
  write(byId("facts"), facts.join(" · "));
  write(byId("reason"), sentence(reason) || (version ? "" : "Waiting for the first decision."));
}

/** One line, if the experiment has stages. */
function renderStage({ stage }, now) {
  show(byId("stage"), Boolean(stage));
  if (!stage) return;
  const name = stage.name ? `, ${stage.name}` : "";
  const facts = [`stage ${stage.number} of ${stage.of}${name}`, `${share(stage.enrolment_ppm)} enrolled`, `for ${duration(now - stage.since)}`];
  if (stage.waits_for) facts.push(sentence(stage.waits_for));
  write(byId("stage"), facts.join(" · "));
}

/** What stands of the guardrails broken: which, by whom, what is done about it, and what was measured. */
function renderBreaches({ breaches = [], spec }) {
  show(byId("breaches"), breaches.length > 0);
  const create = () => make("li", "", make("span", "pill"), make("span"));
  sync(byId("breaches"), breaches, ({ metric, arm }) => `${metric} ${arm}`, create, (item, breach) => {
    const [action, text] = item.children;
    write(action, breach.action);
    action.dataset.action = breach.action;
    const binary = spec.metrics[breach.metric]?.type === "binary";
    const size = (value) => `${value < 0 ? "−" : "+"}${estimate({ mean: Math.abs(value), interval: null }, binary).mean}`;
    const since = `since v${breach.version}, ${count(breach.units)} units`;
    write(text, `guardrail ${breach.metric} broken by ${breach.arm}: ${size(breach.estimate)} from control, bound ${size(breach.bound)}, ${since}`);
  });
}

/** What allocating does to the objective, against the units held back on control; nothing where nobody is. */
function renderHoldback({ holdback, spec }) {
  const found = holdback?.metrics[spec.objective];
  show(byId("holdback"), Boolean(found));
  if (!found) return;
  const held = `${count(holdback.held_back)} units held back on ${spec.control}`;
  if (found.interval === null) {
    write(byId("holdback"), `${held}; no effect to tell yet: ${found.refusal}.`);
    return;
  }
  const effect = estimate({ mean: found.effect, interval: found.interval }, spec.metrics[spec.objective].type === "binary");
  const gain = estimate({ mean: found.gain, interval: found.gain_interval }, false);
  write(
    byId("holdback"),
    `As allocated against ${held}: ${spec.objective} ${effect.mean} (${effect.interval}) a unit; ` +
      `gain so far ${gain.mean} (${gain.interval}) over ${count(found.allocated)} units.`,
  );
}

function renderKpis(detail, now) {
  const units = detail.arms.reduce((sum, arm) => sum + arm.n, 0);
  write(byId("kpi-units"), count(units));
  write(byId("kpi-units-sub"), `in ${detail.arms.length} arms`);
  write(byId("kpi-events"), count(detail.events_read));
  const lag = detail.lag_seconds === null ? "none yet" : `newest ${duration(detail.lag_seconds)} old`;
  write(byId("kpi-events-sub"), detail.lag_records ? `${lag}, ${count(detail.lag_records)} partials to read` : lag);
  write(byId("kpi-age"), detail.ts === null ? "–" : `${duration(now - detail.ts)} ago`);
  write(byId("kpi-age-sub"), detail.version ? `version ${count(detail.version)}` : "nothing published yet");
  const left = detail.valid_until === null ? null : detail.valid_until - now;
  const expired = left !== null && left <= 0;
  byId("kpi-lease-box").classList.toggle("warn", expired);
  write(byId("kpi-lease"), left === null ? "–" : expired ? "expired" : duration(left));
  const fallback = detail.spec.fallback;
  write(byId("kpi-lease-sub"), expired ? `${duration(-left)} ago: routers serve ${fallback}` : `then routers serve ${fallback}`);
}

function renderCharts(detail, history, now) {
  const { arms, spec } = detail;
  sync(byId("legend"), arms, (arm) => arm.id, () => make("li", "", make("span"), make("span", "name"), make("b")), (item, arm, i) => {
    const [swatch, name, ppm] = item.children;
    swatch.className = `swatch ${armClass(i)}`;
    write(name, arm.id === spec.control ? `${arm.id} ◆ control` : arm.id);
    write(ppm, share(arm.ppm));
  });
  show(byId("chart-weights"), history.length > 0);
  show(byId("chart-weights-empty"), history.length === 0);
  const until = ["running", "promoted"].includes(detail.status) ? Math.min(now, detail.valid_until ?? now) : 0;
  if (history.length) drawWeights(byId("chart-weights"), arms, history, Math.floor(until));
  const counted = arms.some((arm) => arm.mean !== null);
  show(byId("chart-posterior"), counted);
  show(byId("chart-posterior-empty"), !counted);
  const binary = declared(spec, spec.objective).type === "binary";
  write(byId("posterior-title"), objectiveTitle(spec));
  if (counted) drawPosterior(byId("chart-posterior"), arms, spec.control, binary);
  drawBest(byId("chart-pbest"), arms, spec.control);
}

/** What the spec says of a metric, observed or made of others. */
function declared(spec, name) {
  return spec.metrics[name] ?? spec.derived?.[name] ?? {};
}

function objectiveTitle(spec) {
  return `${spec.objective}${declared(spec, spec.objective).direction === "down" ? " (lower is better)" : ""}`;
}

function renderArms({ arms, spec }, objective) {
  const binary = objective.type === "binary";
  write(byId("arms-mean"), spec.objective);
  sync(byId("arms"), arms, (arm) => arm.id, () => row(5), (line, arm, i) => {
    const [name, n, mean, best, ppm] = line.children;
    renderName(name, arm.id, i, arm.id === spec.control ? "control" : "");
    write(n, count(arm.n));
    renderEstimate(mean, arm, binary);
    write(best, probability(arm.p_best));
    write(ppm, share(arm.ppm));
  });
}

/** A table row: its first cell a header, the others for numbers. */
function row(cells) {
  const header = make("th");
  header.scope = "row";
  return make("tr", "", header, ...Array.from({ length: cells - 1 }, () => make("td", "number")));
}

function renderName(cell, id, i, note) {
  if (!cell.firstChild) cell.append(make("span"), make("span", "name"), make("small"));
  cell.className = "named";
  const [swatch, name, small] = cell.children;
  swatch.className = `swatch ${armClass(i)}`;
  write(name, id);
  write(small, note);
}

function renderEstimate(cell, state, binary) {
  if (!cell.firstChild) cell.append(make("span", "mean"), make("small"));
  const { mean, interval } = estimate(state, binary);
  write(cell.children[0], mean);
  write(cell.children[1], interval);
}

function renderMetrics({ metrics, spec, arms }) {
  const others = Object.keys(metrics).filter((name) => name !== spec.objective);
  const place = new Map(arms.map((arm, i) => [arm.id, i]));
  const lines = others.flatMap((name) => metrics[name].map((state, i) => ({ name, state, first: i === 0 })));
  show(byId("metrics-card"), lines.length > 0);
  sync(byId("metrics"), lines, ({ name, state }) => `${name} ${state.id}`, () => row(4), (line, { name, state, first }) => {
    const [metric, arm, n, mean] = line.children;
    const { type, direction } = declared(spec, name);
    line.classList.toggle("first", first);
    write(metric, first ? `${name}\u00a0${direction === "down" ? "↓" : "↑"}` : "");
    metric.title = direction === "down" ? "lower is better" : "higher is better";
    renderName(arm, state.id, place.get(state.id) ?? 0, "");
    write(n, count(state.n));
    renderEstimate(mean, state, type === "binary");
  });
}

function renderDecisions(decisions, detail, now) {
  show(byId("decisions-empty"), decisions.length === 0);
  sync(byId("decisions"), decisions, (decision) => decision.version, createDecision, (line, decision) => {
    const [time, version, reason, shares] = line.children;
    write(time, clock(decision.ts, now));
    write(version, `v${decision.version}`);
    write(reason, sentence(decision.reason));
    const ppm = new Map(decision.arms.map((arm) => [arm.id, arm.ppm]));
    shareBar(shares.children[0], detail.arms.map(({ id }) => ({ id, ppm: ppm.get(id) ?? 0 })));
    const most = decision.arms.reduce((best, arm) => (arm.ppm > best.ppm ? arm : best));
    write(shares.children[1], `${most.id} ${share(most.ppm)}`);
  });
}

function createDecision() {
  const cells = ["time", "version", "why", "to"].map((name) => make("td", name));
  cells[3].append(make("span", "shares"), make("small"));
  const line = make("tr", "", ...cells);
  line.setAttribute("role", "row"); // on a narrow screen these are no table cells to the browser
  for (const cell of cells) cell.setAttribute("role", "cell");
  return line;
}

/** Counters are named "exposures.applied", "rewards.waiting"; one line an outcome, one column a topic, and the sum. */
function renderCounters({ counters, events_read: read }) {
  const lines = new Map();
  const total = [0, 0];
  for (const [name, n] of Object.entries(counters)) {
    const [topic, ...outcome] = name.split(".");
    const column = topic === "exposures" ? 0 : 1;
    const key = outcome.join(".") || topic;
    if (!lines.has(key)) lines.set(key, [null, null]);
    lines.get(key)[column] = (lines.get(key)[column] ?? 0) + n;
    total[column] += n;
  }
  const update = (line, [name, [exposures, rewards]]) => {
    write(line.children[0], name);
    [exposures, rewards].forEach((n, i) => {
      write(line.children[i + 1], n === null ? "" : count(n));
      line.children[i + 1].classList.toggle("zero", n === 0);
    });
  };
  sync(byId("counters"), [...lines], ([name]) => name, () => row(3), update);
  sync(byId("counters-total"), [["total", total]], ([name]) => name, () => row(3), update);
  const sum = total[0] + total[1];
  const agree = sum === read;
  byId("counters-hint").classList.toggle("warn", !agree);
  write(byId("counters-hint"), agree ? (sum ? `${count(sum)} events, each in one outcome.` : "No events yet.") : `${count(sum)} in outcomes, ${count(read)} read: these should agree.`);
}

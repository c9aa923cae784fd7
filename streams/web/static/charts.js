// The three charts. Each is drawn anew only when what it shows has changed, or the colours have.

import { COLOURS } from "./dom.js";
import { estimate, localTime, probability, share } from "./format.js";

const PATTERNS = ["", "/", "\\", "x", ".", "+", "-", "|"]; // tells arms of the same colour apart; cannot run out at 64
const LABEL_MAX = 16;
const QUARTERS = [0, 25, 50, 75, 100];
const ROW_PX = 34;
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset+autosize", showTips: false };

const drawn = new Map(); // chart → how to draw it again, and what was drawn

/** Share of each arm over time. `until`: how far the last weights reach, in seconds since the epoch. */
export function drawWeights(node, arms, history, until) {
  const ids = arms.map((arm) => arm.id);
  const last = history[history.length - 1];
  const points = until > last.ts ? [...history, { ...last, ts: until }] : history;
  once(node, [ids, points.length, points[0].ts, until, last.version], (theme) => {
    const x = points.map((point) => localTime(point.ts));
    const traces = arms.map((arm, i) => ({
      type: "scatter",
      mode: "lines",
      name: escape(arm.id),
      x,
      y: points.map((point) => (point.ppm[point.arms.indexOf(arm.id)] ?? 0) / 1e4),
      stackgroup: "arms",
      fillcolor: theme.colour(i),
      fillpattern: { shape: pattern(i), fillmode: "overlay", fgcolor: theme.surface, fgopacity: 0.55, size: 7 },
      line: { shape: "hv", width: 0.75, color: theme.surface },
      hovertemplate: "%{y:.1f} %",
    }));
    const axes = {
      xaxis: { ...theme.axis, type: "date", showgrid: false, nticks: node.clientWidth < 500 ? 4 : 8, hoverformat: "%d %b %H:%M:%S" },
      yaxis: { ...theme.axis, range: [0, 100], tickvals: QUARTERS, ticktext: QUARTERS.map((y) => `${y} %`), fixedrange: true },
    };
    return { traces, layout: theme.layout({ ...axes, height: 260, hovermode: "x unified", margin: { l: 48, r: 12, t: 8, b: 32 } }) };
  });
  describe(node, `Newest shares: ${arms.map((arm) => `${arm.id} ${share(arm.ppm)}`).join(", ")}`);
}

/** Posterior mean and interval of each arm, the control's mean as a line through all. */
export function drawPosterior(node, arms, control, binary) {
  once(node, [arms, control, binary], (theme) => {
    const traces = arms.flatMap((arm, i) => {
      if (arm.mean === null) return [];
      const [low, high] = arm.interval ?? [arm.mean, arm.mean];
      const { mean, interval } = estimate(arm, binary);
      return {
        type: "scatter",
        mode: "markers",
        x: [arm.mean],
        y: [i],
        error_x: { type: "data", symmetric: false, array: [high - arm.mean], arrayminus: [arm.mean - low], color: theme.colour(i), thickness: 2.5, width: 5 },
        marker: { color: theme.colour(i), size: 10, symbol: arm.id === control ? "diamond" : "circle", line: { color: theme.surface, width: 1.5 } },
        hovertemplate: `${mean} (${interval})<extra>${escape(arm.id)}</extra>`,
      };
    });
    const reference = arms.find((arm) => arm.id === control)?.mean ?? null;
    const line = { type: "line", x0: reference, x1: reference, yref: "paper", y0: 0, y1: 1, layer: "below", line: { color: theme.muted, width: 1, dash: "dot" } };
    const xaxis = { ...theme.axis, zeroline: false, tickformat: binary ? ".1~%" : "", nticks: 6, fixedrange: true };
    return { traces, layout: theme.layout({ ...rows(theme, arms, control), xaxis, shapes: reference === null ? [] : [line] }) };
  });
  describe(node, arms.map((arm) => `${arm.id} ${estimate(arm, binary).mean}`).join(", "));
}

/** Each arm's probability of being the best. */
export function drawBest(node, arms, control) {
  once(node, [arms.map((arm) => [arm.id, arm.p_best]), control], (theme) => {
    const trace = {
      type: "bar",
      orientation: "h",
      x: arms.map((arm) => arm.p_best),
      y: arms.map((_, i) => i),
      width: 0.5,
      marker: { color: arms.map((_, i) => theme.colour(i)), pattern: { shape: arms.map((_, i) => pattern(i)), fgcolor: theme.surface, size: 6 } },
      text: arms.map((arm) => escape(probability(arm.p_best))),
      textposition: "outside",
      textfont: { color: theme.text },
      cliponaxis: false,
      hoverinfo: "skip",
    };
    const xaxis = { ...theme.axis, range: [0, 1.22], tickvals: [0, 0.25, 0.5, 0.75, 1], tickformat: ".0%", zeroline: false, fixedrange: true };
    return { traces: [trace], layout: theme.layout({ ...rows(theme, arms, control), xaxis, bargap: 0.5 }) };
  });
  describe(node, arms.map((arm) => `${arm.id} ${probability(arm.p_best)}`).join(", "));
}

/** Draw every chart again, in the colours that now hold. */
export function redraw() {
  for (const chart of drawn.values()) chart.draw();
}

function once(node, shown, build) {
  const signature = JSON.stringify(shown);
  if (drawn.get(node)?.signature === signature) return;
  const draw = () => {
    const { traces, layout } = build(readTheme());
    window.Plotly.react(node, traces, layout, CONFIG);
  };
  drawn.set(node, { signature, draw });
  draw();
}

function describe(node, text) {
  if (node.getAttribute("aria-label") !== text) node.setAttribute("aria-label", text);
}

function rows(theme, arms, control) {
  const labels = arms.map((arm) => `${escape(shorten(arm.id))}${arm.id === control ? " ◆" : ""}`);
  const yaxis = { ...theme.axis, range: [arms.length - 0.5, -0.5], tickvals: arms.map((_, i) => i), ticktext: labels, showgrid: false };
  return {
    yaxis: { ...yaxis, zeroline: false, automargin: true, ticklabelstandoff: 6, fixedrange: true },
    height: Math.max(3, arms.length) * ROW_PX + 34,
    margin: { l: 24, r: 12, t: 4, b: 24 },
  };
}

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  const font = { family: style.fontFamily, size: 12, color: read("--muted") };
  const text = read("--text");
  const surface = read("--surface");
  return {
    text,
    surface,
    muted: read("--muted"),
    colour: (i) => read(`--arm-${i % COLOURS}`),
    axis: { gridcolor: read("--line"), linecolor: read("--line"), tickfont: font, automargin: false },
    layout: (layout) => ({
      autosize: true,
      uirevision: "kept", // a zoom outlives the next second
      showlegend: false,
      paper_bgcolor: surface,
      plot_bgcolor: surface,
      font,
      hoverlabel: { bgcolor: surface, bordercolor: read("--line"), font: { ...font, color: text } },
      ...layout,
    }),
  };
}

function pattern(i) {
  return PATTERNS[Math.floor(i / COLOURS) % PATTERNS.length];
}

function shorten(text) {
  return text.length > LABEL_MAX ? `${text.slice(0, LABEL_MAX - 1)}…` : text;
}

/** Plotly reads a few HTML tags in labels. */
function escape(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

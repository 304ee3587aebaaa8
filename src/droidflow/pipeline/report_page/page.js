"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const word = (index) => data.strings[index];
const SVG = "http://www.w3.org/2000/svg";

// ---------------------------------------------------------------- elements

const add = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick" || name === "oninput" || name === "onchange") element[name] = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
};
const h = (name, attributes, ...children) => add(document.createElement(name), attributes, children);
const s = (name, attributes, ...children) => add(document.createElementNS(SVG, name), attributes, children);
const fill = (name, ...children) => document.querySelector(`[data-fill="${name}"]`).append(...children.flat().filter(Boolean));

// ---------------------------------------------------------------- words for numbers

const whole = new Intl.NumberFormat("en");
const count = (n, noun) => `${whole.format(n)} ${noun}${n === 1 ? "" : "s"}`;
const short = (value) => {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return whole.format(value);
  const size = Math.abs(value);
  if (size >= 10000) return whole.format(Math.round(value));
  if (size < 0.001) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
};
const fixed = (places) => (value) => value === null || value === undefined ? "–" : value.toFixed(places);
/// Rounded to so many places behind the point.
const digits = (value, places) => places > 12 || Math.abs(value) >= 1e15 ? String(Number(value.toPrecision(6)))
  : Number(value.toFixed(Math.max(places, 0))).toLocaleString("en", { maximumFractionDigits: Math.max(places, 0) });
const percent = (value) => value === null || value === undefined ? "–" : (100 * value).toFixed(value > 0.0995 ? 0 : 1) + " %";
const duration = (seconds) => {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 60) return `${seconds.toFixed(0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${String(Math.floor(seconds % 3600 / 60)).padStart(2, "0")} m`;
  return `${Math.floor(seconds / 86400)} d ${String(Math.floor(seconds % 86400 / 3600)).padStart(2, "0")} h`;
};
const milliseconds = (value) => value < 10 ? value.toFixed(2) : short(value);
const bytes = (size) => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) { size /= 1000; ++unit; }
  return `${unit === 0 ? size : size.toPrecision(3)} ${units[unit]}`;
};
const clock = (ms) => new Date(ms).toISOString().slice(0, 16).replace("T", " ");
const median = (values) => {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
const sum = (values) => values.reduce((total, value) => total + (value || 0), 0);
const groupBy = (items, key) => {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(item);
  }
  return groups;
};

// ---------------------------------------------------------------- episodes

const episodes = data.rows.map((row, index) => {
  const [key, path, lab, outcome, state, status, message, stage, task, attempts, start, seconds, size, stages, steps, fps, pathM,
    idle, warnings, score, cameras] = row;
  const list = cameras.map(([serial, role, type, metric, inImage, delay, depth, check]) =>
    ({ serial: word(serial), role: word(role), type: word(type), metric, inImage, delay, depth, check }));
  const mean = (name) => {
    const values = list.map((camera) => camera[name]).filter((value) => value !== null);
    return values.length ? sum(values) / values.length : null;
  };
  const judged = list.filter((camera) => camera.metric !== null);
  const times = [];
  for (let i = 0; i < stages.length; i += 2) times.push([word(stages[i]), stages[i + 1]]);
  return {
    index, key, path, lab: word(lab), outcome: word(outcome), state: word(state), status: word(status), message: word(message),
    stage: word(stage), task: word(task), attempts, start, size, steps, fps, pathM, idle, score, cameras: list, times,
    seconds: seconds !== null ? seconds : times.length ? sum(times.map((time) => time[1])) / 1000 : null,
    warnings: warnings.map(word), metric: judged.length ? mean("metric") : null, metricType: judged.length ? judged[0].type : "",
    inImage: mean("inImage"), delay: mean("delay"), depth: mean("depth"),
  };
});
const robotTime = (list) => sum(list.map((episode) => episode.fps ? episode.steps / episode.fps : 0)) || null;
const inState = (state) => episodes.filter((episode) => episode.state === state);
const done = inState("done");
const STATES = ["done", "quarantined", "skipped", "running", "pending"];

// ---------------------------------------------------------------- tables

/// columns: { name, get, show, right, title, sortable }; options: { caption, page, detail, sort: [column, direction] }
const makeTable = (columns, rows, options = {}) => {
  let shown = rows;
  let page = 0;
  let [by, direction] = options.sort || [-1, 1];
  const size = options.page || Infinity;
  const body = h("tbody");
  const status = h("span", { role: "status" });
  const turn = (name, step) => h("button", { type: "button", onclick: () => { page += step; draw(); } }, name);
  const back = turn("Previous", -1);
  const on = turn("Next", 1);
  const heads = columns.map((column, i) => h("th", { scope: "col", class: column.right ? "right" : null, title: column.title },
    options.fixed ? column.name : h("button", { type: "button", onclick: () => {
      direction = by === i ? -direction : column.right ? -1 : 1;
      by = i;
      page = 0;
      sort();
      draw();
    } }, column.name)));
  const sort = () => {
    if (by < 0) return;
    const { get } = columns[by];
    const value = (row) => { const v = get(row); return v === "" || v === undefined || Number.isNaN(v) ? null : v; };
    shown = [...shown].sort((a, b) => {
      const x = value(a);
      const y = value(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return direction * (x < y ? -1 : x > y ? 1 : 0);
    });
  };
  const draw = () => {
    const pages = Math.max(1, Math.ceil(shown.length / size));
    page = Math.min(Math.max(page, 0), pages - 1);
    const first = size === Infinity ? 0 : page * size;
    body.replaceChildren(...shown.slice(first, first + size).flatMap((row) => {
      const line = h("tr", {}, columns.map((column, i) => {
        const text = column.show ? column.show(row) : column.get(row);
        return h(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: column.right ? "right" : column.kind },
          text === null || text === undefined ? "–" : text);
      }));
      return [line];
    }));
    if (!shown.length) body.append(h("tr", {}, h("td", { colspan: columns.length }, "None.")));
    heads.forEach((head, i) => { if (!options.fixed) head.setAttribute("aria-sort", i !== by ? "none" : direction > 0 ? "ascending" : "descending"); });
    status.textContent = shown.length === rows.length ? "" : `${whole.format(shown.length)} of ${count(rows.length, "episode")}`;
    if (size !== Infinity && shown.length) {
      status.textContent = `${whole.format(first + 1)} – ${whole.format(Math.min(first + size, shown.length))} of ${whole.format(shown.length)}`
        + (shown.length === rows.length ? "" : `, out of ${whole.format(rows.length)}`);
    }
    back.disabled = page === 0;
    on.disabled = page >= pages - 1;
  };
  sort();
  draw();
  const box = h("div", { class: "box", role: "region", "aria-label": options.label || options.caption, tabindex: "0" },
    h("table", {}, options.caption ? h("caption", {}, options.caption) : null, h("thead", {}, h("tr", {}, heads)), body));
  return {
    element: size === Infinity ? box : h("div", {}, box, h("div", { class: "pages" }, status, back, on)),
    show: (chosen) => { shown = chosen; page = 0; sort(); draw(); },
  };
};

// ---------------------------------------------------------------- charts

/// As many digits as tell it from the next tick.
const tick = (value, step) => {
  if (Math.abs(value) >= 1e5 || (value !== 0 && step < 1e-4)) return Number(value.toPrecision(3)).toExponential();
  return Number(value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)))).toLocaleString("en", { maximumFractionDigits: 6 });
};

const niceStep = (range, most) => {
  const raw = range / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= raw * (1 - 1e-9));
};

/// bars: [{ from, to, parts: [[class, count], …], text }], on an x axis with ticks [[x, text], …]
const barChart = (bars, { low, high, ticks, label, height = 150, width = 340, mark = null }) => {
  const [left, right, top, bottom] = [34, 8, 8, 20];
  const most = Math.max(1, ...bars.map((bar) => sum(bar.parts.map((part) => part[1]))));
  const step = Math.max(1, niceStep(most, 3));
  const ceiling = Math.ceil(most / step) * step;
  const x = (value) => left + (value - low) / (high - low || 1) * (width - left - right);
  const y = (value) => height - bottom - value / ceiling * (height - top - bottom);
  const chart = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (let value = 0; value <= ceiling; value += step) {
    chart.append(s("line", { x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    chart.append(s("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" },
      value >= 1e6 ? `${value / 1e6}M` : value >= 10000 ? `${value / 1e3}k` : String(value)));
  }
  for (const [value, text] of ticks) {
    const at = x(value);
    chart.append(s("text", { x: at, y: height - 5, "text-anchor": at > width - 22 ? "end" : at < left + 4 ? "start" : "middle" }, text));
  }
  for (const bar of bars) {
    const [from, to] = [x(bar.from), x(bar.to)];
    const gap = to - from > 3 ? 1 : 0;
    const group = s("g", {}, s("title", {}, bar.text));
    let base = 0;
    for (const [name, value] of bar.parts) {
      if (!value) continue;
      group.append(s("rect", { class: name, x: from, width: Math.max(to - from - gap, 0.5), y: Math.min(y(base + value), y(base) - 1),
        height: Math.max(y(base) - y(base + value), 1) }));
      base += value;
    }
    group.append(s("rect", { class: "hit", x: from, width: to - from, y: top, height: height - top - bottom }));
    chart.append(group);
  }
  if (mark !== null && mark >= low && mark <= high) {
    chart.append(s("line", { class: "median", x1: x(mark), x2: x(mark), y1: top, y2: height - bottom }));
  }
  return chart;
};

const histogramCard = ({ title, unit, of, first, step, counts, below, above, n, min, middle, max }) => {
  const edge = (i) => Number((first + i * step).toPrecision(12));
  const places = Math.ceil(-Math.log10(step) - 1e-9);
  const edgeText = (i) => digits(edge(i), places);
  const exact = (value) => digits(value, Math.max(places + 2, 1));
  const isOne = counts.length === 1;
  const [low, high] = isOne ? [first - step, first + 2 * step] : [first, edge(counts.length)];
  const every = niceStep(high - low, 5);
  const ticks = isOne && min === max ? [[first + step / 2, exact(min)]] : [];
  for (let value = ticks.length ? Infinity : Math.ceil(first / every - 1e-9) * every; value <= high + every * 1e-9; value += every) ticks.push([value, tick(value, every)]);
  const bars = counts.map((value, i) => {
    const ends = (i === 0 && below) || (i === counts.length - 1 && above);
    const range = min === max ? exact(min) : i === 0 && below ? `below ${edgeText(1)}` : i === counts.length - 1 && above ? `${edgeText(i)} and more` : `${edgeText(i)} – ${edgeText(i + 1)}`;
    return { from: edge(i), to: edge(i + 1), parts: [[ends ? "bar end" : "bar", value]], text: `${range} ${unit}: ${count(value, of.slice(0, -1))}` };
  });
  const told = exact(min) === exact(max) ? `all ${exact(middle)}` : `median ${exact(middle)}, ${exact(min)} to ${exact(max)}`;
  const facts = `${told}${unit ? ` ${unit}` : ""} · ${count(n, of.slice(0, -1))}`;
  const ends = below + above ? ` · ${whole.format(below + above)} farther away, in the end bars` : "";
  return h("div", { class: "card" }, h("h3", {}, title + (unit ? ` (${unit})` : "")),
    barChart(bars, { low, high, ticks, mark: isOne ? null : middle, label: `${title}: ${facts}` }), h("p", { class: "facts" }, facts + ends));
};

// ---------------------------------------------------------------- summary

const finished = episodes.filter((episode) => episode.start !== null && episode.seconds !== null);
const starts = finished.map((episode) => data.base + episode.start * 1000);
const ends = finished.map((episode) => data.base + (episode.start + episode.seconds) * 1000);
const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const greatest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const [began, ended] = [least(starts), greatest(ends)];
const labs = groupBy(episodes, (episode) => episode.lab);

const summary = () => {
  const counts = STATES.map((state) => [state, inState(state).length]).filter(([, n]) => n);
  const bar = h("div", { class: "share", "aria-hidden": "true" }, counts.map(([state, n]) => h("i", { class: state, style: `flex: ${n}` })));
  const legend = h("ul", { class: "legend" }, counts.map(([state, n]) =>
    h("li", {}, h("i", { class: state, "aria-hidden": "true" }), `${state} ${whole.format(n)} (${percent(n / episodes.length)})`)));
  const numbers = [];
  const number = (name, value, small) => numbers.push(h("div", { class: "number" }, h("dt", {}, name), h("dd", {}, value, small ? h("small", {}, small) : null)));
  number("Episodes done", whole.format(done.length), `of ${whole.format(episodes.length)}`);
  const steps = sum(done.map((episode) => episode.steps));
  if (steps) {
    number("Time of the robot", duration(robotTime(done)), count(steps, "step"));
    number("Way of the gripper", `${short(sum(done.map((episode) => episode.pathM)) / (steps > 200000 ? 1000 : 1))} ${steps > 200000 ? "km" : "m"}`, `in ${count(done.length, "episode")}`);
  }
  number("Labs", whole.format(labs.size), [...labs.keys()].sort().slice(0, 4).join(", ") + (labs.size > 4 ? ", …" : ""));
  const cameras = sum(done.map((episode) => episode.cameras.length));
  if (cameras) number("Camera views", whole.format(cameras), count(done.filter((episode) => episode.depth !== null).length, "episode") + " with depth");
  const size = sum(done.map((episode) => episode.size));
  if (size) number("Written", bytes(size), `${bytes(size / done.length)} an episode`);
  if (starts.length) number("From start to end", duration((ended - began) / 1000), `${clock(began)} UTC`);
  const failures = inState("quarantined").length;
  number("Quarantined", whole.format(failures), percent(failures / episodes.length));
  fill("summary", h("div", { class: "card" }, bar, legend), h("dl", { class: "numbers" }, numbers),
    data.notes.length ? h("ul", { class: "notes" }, data.notes.map((note) => h("li", {}, note))) : null);
};

// ---------------------------------------------------------------- throughput

/// From the first start to the last end, without pauses that are far longer than an episode takes.
const workedTime = (rows) => {
  const pause = Math.max(10, 10 * median(rows.map((row) => row.seconds)));
  let [seconds, runs, from, to] = [0, 0, null, -Infinity];
  for (const { start, seconds: took } of [...rows].sort((a, b) => a.start - b.start)) {
    if (start > to + pause) {
      if (runs++) seconds += to - from;
      from = start;
    }
    to = Math.max(to, start + took);
  }
  return { seconds: Math.max(seconds + to - from, 0.001), runs };
};

const throughput = () => {
  const rows = finished.filter((episode) => episode.state === "done" || episode.state === "quarantined");
  if (!rows.length) return fill("throughput", h("p", { class: "note" }, "No run directory is known, so when episodes were finished is not known either."));
  const span = Math.max((ended - began) / 1000, 0.001);
  const width = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]
    .find((step) => span / step <= 60) || Math.ceil(span / 60 / 86400) * 86400;
  const name = duration(width);
  const bins = Array.from({ length: Math.floor(span / width) + 1 }, () => [0, 0]);
  for (const row of rows) {
    const at = Math.floor((row.start + row.seconds - (began - data.base) / 1000) / width);
    ++bins[Math.min(Math.max(at, 0), bins.length - 1)][row.state === "done" ? 0 : 1];
  }
  const bars = bins.map(([ok, failed], i) => ({ from: i * width, to: (i + 1) * width, parts: [["bar-done", ok], ["bar-failed", failed]],
    text: `${clock(began + i * width * 1000)} UTC (${duration(i * width)} after the start): ${ok} done, ${failed} quarantined` }));
  const high = bins.length * width;
  const every = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800].find((step) => high / step <= 7) || high / 5;
  const ticks = [];
  for (let at = 0; at <= high * 1.0001; at += every) ticks.push([at, at ? duration(at) : "0"]);
  const { seconds, runs } = workedTime(rows);
  const rateOf = (state, name) => {
    const n = rows.filter((row) => row.state === state).length;
    if (!n) return null;
    const rate = n / seconds;
    const told = rate >= 1 ? `${short(rate)} a second` : rate * 60 >= 1 ? `${short(rate * 60)} a minute` : `${short(rate * 3600)} an hour`;
    return `${count(n, "episode")} ${name}: ${told}`;
  };
  const rates = [rateOf("done", "done"), rateOf("quarantined", "quarantined")].filter(Boolean).join(", ");
  const worked = `in ${duration(seconds)}${runs > 1 ? ` of work (${runs} times, without the pauses between)` : ""}`;
  fill("throughput", h("div", { class: "card" },
    h("h3", {}, `Episodes finished every ${name}`),
    barChart(bars, { low: 0, high, ticks, height: 180, width: innerWidth < 600 ? 380 : 900, label: `Episodes finished over time: ${count(rows.length, "episode")} in ${duration(span)}` }),
    h("ul", { class: "legend" }, h("li", {}, h("i", { class: "done" }), "done"), h("li", {}, h("i", { class: "quarantined" }), "quarantined")),
    h("p", { class: "facts" }, `${clock(began)} to ${clock(ended)} UTC · ${rates}, ${worked}`)));
};

// ---------------------------------------------------------------- failures, warnings, labs

let lookFor = () => {};
const wordButton = (text, query, state) => h("button", { type: "button", class: "word", title: "Show these in the table of episodes", onclick: () => lookFor(query, state) }, text);

const failures = () => {
  const bad = episodes.filter((episode) => episode.state === "quarantined" || episode.state === "skipped");
  const rows = [...groupBy(bad, (episode) => [episode.state, episode.stage, episode.status].join("\n")).values()].map((list) => {
    const { state, stage, status } = list[0];
    const messages = [...groupBy(list, (episode) => episode.message)].sort((a, b) => b[1].length - a[1].length);
    return { state, stage, status, n: list.length, messages };
  });
  const table = makeTable([
    { name: "Status", get: (row) => row.status, show: (row) => wordButton(row.status || "(none)", row.status, row.state) },
    { name: "Episodes", get: (row) => row.n, show: (row) => whole.format(row.n), right: true },
    { name: "Stage", get: (row) => row.stage || null },
    { name: "State", get: (row) => row.state, show: (row) => stateMark(row.state), kind: "state" },
    { name: "Share", get: (row) => row.n, show: (row) => percent(row.n / episodes.length), right: true },
    { name: "Messages", get: (row) => row.messages[0][0], kind: "text", show: (row) => h("ul", { class: "messages" },
      row.messages.slice(0, 3).map(([text, list]) => h("li", {}, list.length > 1 ? h("b", {}, `${whole.format(list.length)} × `) : null, text || "no message")),
      row.messages.length > 3 ? h("li", {}, `and ${whole.format(row.messages.length - 3)} other messages`) : null) },
  ], rows, { sort: [1, -1], caption: "What was not done", label: "What was not done" });
  const codes = data.warnings;
  const warnings = codes.length ? makeTable([
    { name: "Warning", get: (row) => row[0], show: (row) => wordButton(row[0], row[0], "done") },
    { name: "Episodes", get: (row) => row[1], show: (row) => whole.format(row[1]), right: true },
    { name: "Share", get: (row) => row[1], show: (row) => percent(row[1] / Math.max(done.length, 1)), right: true },
    { name: "For example", get: (row) => row[2], kind: "text" },
  ], codes, { sort: [1, -1], caption: "Warnings of finished episodes", label: "Warnings" }).element : null;
  if (warnings) warnings.classList.add("gap");
  fill("failures", rows.length ? table.element : h("p", { class: "card" }, "Nothing was quarantined or skipped."), warnings);
};
const stateMark = (state) => h("span", {}, h("i", { class: `dot ${state}`, "aria-hidden": "true" }), state);

const labTable = () => {
  const rows = [...labs].map(([lab, list]) => {
    const of = (state) => list.filter((episode) => episode.state === state).length;
    const good = list.filter((episode) => episode.state === "done");
    return { lab, n: list.length, done: good.length, failed: of("quarantined"), skipped: of("skipped"), waiting: of("pending") + of("running"),
      success: good.filter((episode) => episode.outcome === "success").length, steps: sum(good.map((episode) => episode.steps)),
      seconds: robotTime(good), way: sum(good.map((episode) => episode.pathM)),
      score: median(good.map((episode) => episode.score).filter((value) => value !== null)),
      time: median(good.map((episode) => episode.seconds).filter((value) => value !== null)) };
  });
  const column = (name, key, show = whole.format, title = null) => ({ name, get: (row) => row[key], show: (row) => show(row[key]), right: true, title });
  const has = (key) => rows.some((row) => row[key]);
  fill("labs", makeTable([
    { name: "Lab", get: (row) => row.lab, show: (row) => wordButton(row.lab || "(none)", row.lab, "") },
    column("Episodes", "n"), column("Done", "done"), column("Success", "success", undefined, "Done episodes in which the robot did its task"),
    column("Quarantined", "failed"), has("skipped") && column("Skipped", "skipped"), has("waiting") && column("Waiting", "waiting"),
    column("Steps", "steps"), column("Robot time", "seconds", duration), column("Way, m", "way", short),
    data.score && column("Median score", "score", fixed(2), data.score), column("Median time", "time", duration, "To process an episode"),
  ].filter(Boolean), rows, { sort: [1, -1], label: "Labs" }).element);
};

// ---------------------------------------------------------------- time

const PALETTE = ["#2b7de9", "#e0862b", "#2f9e77", "#a764c9", "#d24d6b", "#8a7a2e"];
const timeSection = () => {
  const byStage = new Map();
  for (const episode of done) {
    for (const [name, ms] of episode.times) {
      if (!byStage.has(name)) byStage.set(name, []);
      byStage.get(name).push(ms);
    }
  }
  if (!byStage.size) return fill("time", h("p", { class: "note" }, "No times are known."));
  const stages = [...byStage].map(([name, list]) => {
    const sorted = list.sort((a, b) => a - b);
    return { name, total: sum(sorted), middle: median(sorted), p95: quantile(sorted, 0.95), most: sorted[sorted.length - 1] };
  });
  const all = sum(stages.map((stage) => stage.total));
  const ranked = [...stages].sort((a, b) => b.total - a.total);
  const colours = new Map(ranked.slice(0, PALETTE.length).map((stage, i) => [stage.name, PALETTE[i]]));
  const colour = (name) => colours.get(name) || "var(--skipped)";
  const stageTable = makeTable([
    { name: "Stage", get: (row) => row.name, show: (row) => h("span", {}, h("i", { class: "dot", style: `background: ${colour(row.name)}`, "aria-hidden": "true" }), row.name) },
    { name: "Share", get: (row) => row.total, show: (row) => percent(row.total / all), right: true },
    { name: "Total", get: (row) => row.total, show: (row) => duration(row.total / 1000), right: true },
    { name: "Median, ms", get: (row) => row.middle, show: (row) => milliseconds(row.middle), right: true },
    { name: "95 %, ms", get: (row) => row.p95, show: (row) => milliseconds(row.p95), right: true },
    { name: "Longest, ms", get: (row) => row.most, show: (row) => milliseconds(row.most), right: true },
  ], stages, { sort: [1, -1], caption: "Stages of the finished episodes", label: "Stages" });
  const slow = done.filter((episode) => episode.seconds !== null).sort((a, b) => b.seconds - a.seconds).slice(0, 10);
  const longest = slow.length ? slow[0].seconds : 1;
  const worst = (row) => row.times.reduce((a, b) => b[1] > a[1] ? b : a, ["", 0])[0];
  const slowTable = makeTable([
    { name: "Episode", get: (row) => row.key, show: (row) => wordButton(row.key, row.key, "") },
    { name: "Time", get: (row) => row.seconds, show: (row) => duration(row.seconds), right: true },
    { name: "Of which", get: worst, show: (row) => h("div", {}, worst(row), h("div", { class: "stages", "aria-hidden": "true" }, row.times.map(([name, ms]) =>
      h("i", { style: `width: ${100 * ms / 1000 / longest}%; background: ${colour(name)}`, title: `${name}: ${duration(ms / 1000)}` })))) },
    { name: "Steps", get: (row) => row.steps, right: true },
    { name: "Written", get: (row) => row.size, show: (row) => row.size ? bytes(row.size) : "–", right: true },
  ], slow, { sort: [1, -1], caption: "Slowest episodes", label: "Slowest episodes" }).element;
  slowTable.classList.add("gap");
  fill("time", stageTable.element, slow.length ? slowTable : null);
};

// ---------------------------------------------------------------- all episodes

const detailOf = (episode) => {
  const facts = [["Folder", episode.path], ["Task", episode.task], ["Message", episode.message], ["Failed in", episode.stage],
    ["Warnings", episode.warnings.join(", ")], ["Attempts", episode.attempts > 1 ? String(episode.attempts) : ""]].filter(([, text]) => text);
  const cameras = episode.cameras.length ? makeTable([
    { name: "Camera", get: (row) => `${row.role} ${row.serial}` },
    { name: "Calibration", get: (row) => row.metric, show: (row) => row.metric === null ? "–" : `${short(row.metric)} ${row.type}` },
    { name: "In image", get: (row) => row.inImage, show: (row) => percent(row.inImage), right: true },
    { name: "Delay, ms", get: (row) => row.delay, show: (row) => short(row.delay), right: true },
    { name: "Depth", get: (row) => row.depth, show: (row) => percent(row.depth), right: true },
    { name: "Check", get: (row) => row.check, show: (row) => short(row.check), right: true },
  ], episode.cameras, { fixed: true, label: `Cameras of ${episode.key}` }).element : null;
  return [h("dl", {}, facts.map(([name, text]) => [h("dt", {}, name), h("dd", {}, text)])), cameras];
};

const episodeTable = () => {
  const toggle = (event, row) => {
    const button = event.currentTarget;
    const line = button.closest("tr");
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) line.nextSibling.remove();
    else line.after(h("tr", { class: "detail" }, h("td", { colspan: line.children.length }, detailOf(row))));
  };
  const number = (name, key, show, title) => episodes.some((row) => row[key] !== null) &&
    { name, get: (row) => row[key], show: (row) => show(row[key]), right: true, title };
  const columns = [
    { name: "Episode", get: (row) => row.key, show: (row) => h("button", { type: "button", class: "word key", "aria-expanded": "false", onclick: (event) => toggle(event, row) }, row.key) },
    { name: "State", get: (row) => row.state + row.status, show: (row) => h("span", {}, stateMark(row.state), row.status ? ` · ${row.status}` : ""), kind: "state" },
    { name: "Outcome", get: (row) => row.outcome || null },
    number("Steps", "steps", (value) => value === null ? "–" : whole.format(value)),
    number("Path, m", "pathM", fixed(2), "Length of the gripper's way"),
    data.score && number("Score", "score", fixed(2), data.score),
    number("Calibration", "metric", short, "Mean of the calibration metrics of its cameras; only those of one type compare"),
    episodes.some((row) => row.metricType) && { name: "Metric", get: (row) => row.metricType || null },
    number("In image", "inImage", percent, "Share of the 2-D track points in the image"),
    number("Delay, ms", "delay", short, "Median of step start minus image capture"),
    number("Depth", "depth", percent, "Share of the pixels with depth"),
    number("Idle", "idle", percent, "Share of the steps without motion"),
    number("Time", "seconds", duration, "To process it"),
    { name: "Warnings", get: (row) => row.warnings.length, show: (row) => row.warnings.length || "", right: true },
  ].filter(Boolean);
  const table = makeTable(columns, episodes, { page: 50, label: "Episodes" });
  let words = null;
  const search = h("input", { type: "search", id: "search", placeholder: "uuid, lab, task, serial, warning, message …", autocomplete: "off", spellcheck: "false" });
  const state = h("select", { id: "state" }, h("option", { value: "" }, "all"), STATES.filter((name) => inState(name).length).map((name) => h("option", { value: name }, name)));
  const lab = h("select", { id: "lab" }, h("option", { value: "" }, "all"), [...labs.keys()].sort().map((name) => h("option", { value: name }, name || "(none)")));
  const find = () => {
    words ||= episodes.map((row) => [row.key, row.path, row.lab, row.outcome, row.state, row.status, row.stage, row.message, row.task, ...row.warnings,
      ...row.cameras.map((camera) => `${camera.serial} ${camera.type}`)].join("\n").toLowerCase());
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    table.show(episodes.filter((row, i) => (!state.value || row.state === state.value) && (!lab.value || row.lab === lab.value) &&
      wanted.every((text) => words[i].includes(text))));
  };
  search.oninput = find;
  state.onchange = find;
  lab.onchange = find;
  const clear = h("button", { type: "button", onclick: () => lookFor("", "", false) }, "Show all");
  lookFor = (query, wantedState, move = true) => {
    search.value = query;
    state.value = wantedState;
    lab.value = "";
    find();
    if (!move) return;
    document.getElementById("episodes").scrollIntoView();
    search.focus({ preventScroll: true });
  };
  fill("episodes", h("div", { class: "tools", role: "search" }, h("label", { class: "grow", for: "search" }, "Search episodes", search),
    h("label", { for: "state" }, "State", state), h("label", { for: "lab" }, "Lab", lab), clear),
    data.score ? h("p", { class: "note" }, `Score: ${data.score}.`) : null, table.element);
};

// ---------------------------------------------------------------- configuration

const configuration = () => {
  const flat = ({ config, ...made }) => ({ ...made, ...config });
  const list = data.configs.map(([text, n]) => ({ n, values: flat(JSON.parse(text)) }));
  const show = (value) => typeof value === "string" ? value : JSON.stringify(value);
  const differs = (key) => list.some(({ values }) => show(values[key]) !== show(list[0].values[key]));
  const cards = list.map(({ n, values }, i) => h("details", { open: i === 0, class: "card" },
    h("summary", {}, `droidflow ${values.droidflow_version}: ${count(n, "episode")}${list.length > 1 ? `, configuration ${i + 1} of ${list.length}` : ""}`),
    h("div", { class: "box gap", role: "region", "aria-label": `Configuration ${i + 1}`, tabindex: "0" }, h("table", {}, h("tbody", {}, Object.keys(values).map((key) =>
      h("tr", { class: differs(key) ? "differs" : null }, h("th", { scope: "row" }, key), h("td", {}, h("code", {}, show(values[key]))))))))));
  fill("configuration",
    list.length > 1 ? h("p", {}, `The episodes were made with ${list.length} configurations. What differs is marked.`) : null,
    cards.length ? cards : h("p", { class: "note" }, "No finished episode says how it was made."),
    data.runs.length ? h("p", { class: "note gap" }, "Run: ", data.runs.map((run) => h("code", {}, `${run} `))) : null,
    data.settings ? h("details", { class: "card gap" }, h("summary", {}, "Settings of the run"), h("pre", { tabindex: "0" }, data.settings)) : null);
};

// ---------------------------------------------------------------- the page

summary();
throughput();
failures();
labTable();
if (data.distributions.length) fill("distributions", h("div", { class: "charts" }, data.distributions.map(histogramCard)));
else fill("distributions", h("p", { class: "note" }, "No finished episode is here."));
timeSection();
episodeTable();
configuration();
for (const button of document.querySelectorAll(".picture")) {
  button.onclick = () => button.setAttribute("aria-pressed", String(button.closest("figure").classList.toggle("large")));
}
for (const button of document.querySelectorAll("[data-episode]")) button.onclick = () => lookFor(button.dataset.episode, "");
document.documentElement.dataset.ready = "true";
})();

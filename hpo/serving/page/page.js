"use strict";
// Shows what the service answers; draws into two SVG elements, and asks again while it is visible.
const EVERY_MS = 10000, SVG = "http://www.w3.org/2000/svg", TOKEN = "stgcn-token";
const byId = (id) => document.getElementById(id);
let known = null, shown = "reading", chosen = null, newest, asking = false;

async function ask(path) {
  // In a page of an export nothing is asked of a service.
  if (globalThis.answerLocally) return globalThis.answerLocally(path);
  const token = sessionStorage.getItem(TOKEN);
  const answer = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (answer.status === 401) throw new Locked(token !== null);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

class Locked extends Error {
  constructor(refused) { super("locked"); this.refused = refused; }
}

async function refresh(force = false) {
  if (asking || (document.hidden && !force)) return;
  asking = true;
  try {
    const health = await ask("health");
    showHealth(health);
    if (force || known === null || health.last_row !== newest) {
      const [sensors, errors] = await Promise.all([ask("sensors"), ask("errors")]);
      known = sensors; newest = health.last_row;
      byId("ask").hidden = true; byId("content").hidden = false;
      showSensors(); showErrors(errors);
      await showCurve();
    }
  } catch (error) { showTrouble(error); } finally { asking = false; }
}

function showTrouble(error) {
  if (error instanceof Locked) {
    sessionStorage.removeItem(TOKEN);
    byId("ask").hidden = false; byId("content").hidden = true; byId("refused").hidden = !error.refused;
    return;
  }
  byId("light").className = "light broken";
  byId("state").textContent = error instanceof TypeError ? "The service does not answer." : error.message;
}

function showHealth(health) {
  byId("name").textContent = health.export; document.title = `${health.export}: served forecasts`;
  byId("light").className = `light ${health.status}`;
  const last = health.last_row ? `Newest row ${readable(health.last_row)}.` : "No row has come yet.";
  byId("state").textContent = health.rows_missing
    ? `${last} A forecast needs ${health.rows_missing} more rows.` : `${last} The ${globalThis.answerLocally ? "student" : "service"} forecasts.`;
}

const readable = (time) => time.slice(0, 16).replace("T", " ");
const clock = (time) => time.slice(11, 16);
const number = (value, unit = "") => value === null || value === undefined ? "–" : `${value.toFixed(1)}${unit && ` ${unit}`}`;

// ---- sensors ----
function views() {
  const ahead = known.minutes.map((minutes, at) =>
    ({ key: `ahead-${at}`, name: `in ${minutes} min`, title: `Forecast in ${minutes} minutes, ${known.unit}`, values: known.forecast[at] }));
  const errors = known.minutes.map((minutes, at) =>
    ({ key: `error-${at}`, name: `error at ${minutes} min`, title: `Mean absolute error at ${minutes} minutes, last day, ${known.unit}`, values: known.mae[at], worst: "high" }));
  return [{ key: "reading", name: "reading", title: `Newest reading, ${known.unit}`, values: known.readings }, ...ahead, errors[0]];
}

function showSensors() {
  const all = views();
  if (chosen === null || !known.sensors.includes(chosen)) chosen = known.sensors[0];
  if (byId("choices").querySelectorAll("input").length !== all.length) makeChoices(all);
  if (byId("ids").childElementCount !== known.sensors.length)
    byId("ids").replaceChildren(...known.sensors.map((id, at) => new Option(label(at), id)));
  if (document.activeElement !== byId("sensor")) byId("sensor").value = chosen;
  drawMap(all.find((view) => view.key === shown));
  const missing = known.readings.filter((value) => value === null).length;
  byId("seen").textContent = known.at === null
    ? `${known.sensors.length} sensors; send rows to see their forecasts.`
    : `${known.sensors.length} sensors, ${missing ? `${missing} without a reading` : "all with a reading"} in the newest row.`;
  byId("where").textContent = known.places ? "" : "The export knows no places, so sensors stand in their order.";
}

function makeChoices(all) {
  const legend = byId("choices").querySelector("legend");
  byId("choices").replaceChildren(legend, ...all.map((view) => {
    const line = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "shown", checked: view.key === shown });
    input.addEventListener("change", () => { shown = view.key; showSensors(); });
    line.append(input, view.name);
    return line;
  }));
}

function label(at) {
  const place = known.places?.[at];
  return place ? [place.name, [place.freeway, place.direction].filter(Boolean).join(" ")].filter(Boolean).join(", ") : "";
}

function positions(width, height) {
  const places = known.places, count = known.sensors.length, pad = 16;
  if (!places) {
    const columns = Math.ceil(Math.sqrt(count * width / height)), rows = Math.ceil(count / columns);
    return known.sensors.map((_, at) => [
      pad + (at % columns + .5) * (width - 2 * pad) / columns,
      pad + (Math.floor(at / columns) + .5) * (height - 2 * pad) / rows]);
  }
  const middle = places.reduce((sum, one) => sum + one.latitude, 0) / count;
  const x = places.map((one) => one.longitude * Math.cos(middle * Math.PI / 180)), y = places.map((one) => -one.latitude);
  const left = Math.min(...x), top = Math.min(...y), wide = Math.max(...x) - left, tall = Math.max(...y) - top;
  const scale = Math.min((width - 2 * pad) / (wide || 1e-6), (height - 2 * pad) / (tall || 1e-6));
  return x.map((one, at) => [(width - wide * scale) / 2 + (one - left) * scale, (height - tall * scale) / 2 + (y[at] - top) * scale]);
}

function drawMap(view) {
  const svg = byId("map"), { width, height } = svg.getBoundingClientRect(), at = positions(width, height);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const present = view.values.filter((value) => value !== null).sort((a, b) => a - b);
  // Of two hundred sensors the outermost two are left out of the scale.
  const low = present[Math.floor(present.length * .01)] ?? 0, high = present[Math.ceil(present.length * .99) - 1] ?? 1;
  const colour = scale(low, high, view.worst === "high"), radius = known.sensors.length > 600 ? 3.2 : known.sensors.length > 100 ? 5 : 8;
  const lines = known.places ? known.edges.map(([from, to]) =>
    element("line", { x1: at[from][0], y1: at[from][1], x2: at[to][0], y2: at[to][1] })) : [];
  const dots = known.sensors.map((id, index) => {
    const dot = element("circle", { cx: at[index][0], cy: at[index][1], r: radius, fill: colour(view.values[index]) });
    if (id === chosen) dot.setAttribute("class", "chosen");
    dot.append(element("title", {}, [id, label(index), number(view.values[index], known.unit)].filter(Boolean).join(", ")));
    dot.addEventListener("click", () => choose(id));
    return dot;
  });
  dots.sort((a, b) => a.classList.contains("chosen") - b.classList.contains("chosen"));
  svg.replaceChildren(...lines, ...dots);
  byId("shown").textContent = view.title;
  document.querySelector(".scale").classList.toggle("reversed", view.worst === "high");
  byId("low").textContent = present.length ? number(low) : ""; byId("high").textContent = present.length ? number(high) : "";
}

function scale(low, high, reversed) {
  const style = getComputedStyle(document.documentElement);
  const stops = ["bad", "poor", "middle", "good", "best"].map((name) => style.getPropertyValue(`--${name}`).trim());
  if (reversed) stops.reverse();
  const parts = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  return (value) => {
    if (value === null) return "var(--unknown)";
    const place = Math.min(1, Math.max(0, (value - low) / (high - low || 1))) * (parts.length - 1);
    const first = Math.min(Math.floor(place), parts.length - 2), rest = place - first;
    return `rgb(${parts[first].map((part, at) => Math.round(part + (parts[first + 1][at] - part) * rest)).join(" ")})`;
  };
}

function choose(id) { chosen = id; byId("sensor").value = id; showSensors(); showCurve().catch(showTrouble); }

// ---- curve ----
async function showCurve() {
  const asked = chosen, found = await ask(`sensors/${encodeURIComponent(asked)}`);
  if (asked !== chosen) return;
  byId("title").textContent = label(known.sensors.indexOf(asked));
  const rows = 48, minutes = Object.keys(found.forecast_before)[0];
  byId("before").textContent = `forecast ${minutes} min before`;
  const times = [...found.times.slice(-rows), ...found.ahead.times], seen = Math.min(rows, found.times.length);
  const before = Array(Math.max(0, seen - 1)).fill(null), last = found.readings.at(-1) ?? null;
  const bounds = found.ahead.lower ? [found.ahead.lower, found.ahead.upper].map((one) => [...before, last, ...one]) : null;
  drawCurve(times, bounds, { truth: found.readings.slice(-rows), before: found.forecast_before[minutes].slice(-rows), ahead: seen ? [...before, last, ...found.ahead.forecast] : [] }, seen, found.unit);
}

function drawCurve(times, bounds, lines, seen, unit) {
  const svg = byId("curve"), { width, height } = svg.getBoundingClientRect();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const values = [...Object.values(lines), ...(bounds ?? [])].flat().filter((value) => value !== null);
  if (!values.length) { svg.replaceChildren(element("text", { x: 8, y: 24 }, "No reading has come yet.")); return; }
  const step = niceStep((Math.max(...values) - Math.min(...values) || 1) / 4);
  const low = Math.floor(Math.min(...values) / step) * step, high = Math.ceil(Math.max(...values) / step) * step || 1;
  const x = (at) => 40 + at * (width - 52) / Math.max(1, times.length - 1), y = (value) => 28 + (high - value) * (height - 56) / (high - low || 1);
  const drawn = [element("text", { x: 0, y: 9 }, unit)];
  for (let value = low; value <= high + step / 2; value += step)
    drawn.push(element("line", { class: "grid", x1: 40, x2: width - 12, y1: y(value), y2: y(value) }), element("text", { x: 34, y: y(value) + 4, "text-anchor": "end" }, +value.toFixed(2)));
  const every = Math.max(1, Math.ceil(times.length / Math.max(2, Math.floor(width / 90))));
  times.forEach((time, at) => { if (at % every === 0) drawn.push(element("text", { x: x(at), y: height - 6, "text-anchor": at ? "middle" : "start" }, clock(time))); });
  if (seen) drawn.push(element("line", { class: "now", x1: x(seen - 1), x2: x(seen - 1), y1: 28, y2: height - 28 }));
  if (bounds) drawn.push(element("path", { class: "band", d: band(bounds, x, y) }));
  for (const [name, line] of Object.entries(lines)) drawn.push(element("path", { class: name, d: path(line, x, y) }));
  svg.replaceChildren(...drawn);
}

function path(values, x, y) {
  let pen = "M";
  return values.map((value, at) => {
    if (value === null) { pen = "M"; return ""; }
    const part = `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

function band([lower, upper], x, y) {
  const points = (values) => values.map((value, at) => value === null ? null : `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).filter(Boolean);
  const around = [...points(lower), ...points(upper).reverse()];
  return around.length > 2 ? `M${around.join("L")}Z` : "";
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
}

// ---- errors ----
function showErrors(found) {
  const headings = [...document.querySelectorAll("thead th")].map((cell) => cell.textContent);
  byId("errors").replaceChildren(...found.minutes.map((minutes, at) => {
    const row = document.createElement("tr"), head = document.createElement("th");
    head.scope = "row"; head.textContent = `${minutes} min`;
    const values = [found.last_day.student, found.last_day.repeat_last, found.test_days.student, found.test_days.repeat_last].map((one) => one[at]);
    row.append(head, ...values.map((value, column) => cell(number(value, found.unit), headings[column + 1], column === 0 && value > values[1])));
    return row;
  }));
  const [now, repeated, promised] = [found.last_day.student[0], found.last_day.repeat_last[0], found.test_days.student[0]];
  byId("verdict").textContent = now === null ? "No forecast could be judged yet."
    : `${found.minutes[0]} minutes ahead the student is off by ${number(now, found.unit)}${promised ? `, ${(now / promised).toFixed(2)} times what it was on its test days` : ""}, and ${now < repeated ? "better" : "no better"} than repeating the last reading (${number(repeated, found.unit)}).`;
  byId("judged").textContent = `Mean absolute errors over ${found.rows} rows, all sensors; both columns judge the same readings.`;
}

function cell(text, heading, worse) {
  const made = document.createElement("td");
  made.className = worse ? "number worse" : "number"; made.textContent = text; made.dataset.heading = heading;
  return made;
}

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value);
  refresh(true);
});
byId("sensor").addEventListener("change", (event) => { if (known.sensors.includes(event.target.value)) choose(event.target.value); else event.target.value = chosen; });
for (const [target, name] of [[window, "resize"], [matchMedia("(prefers-color-scheme: dark)"), "change"]])
  target.addEventListener(name, () => { if (known) { showSensors(); showCurve().catch(showTrouble); } });
document.addEventListener("visibilitychange", () => refresh());
setInterval(() => refresh(), EVERY_MS);
refresh(true);

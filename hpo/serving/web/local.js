"use strict";
// Answers what the page asks, in place of a service: runs the student on readings that lie in the page or in a dropped file.
(() => {
const told = JSON.parse(document.getElementById("export").textContent);
const sensorCount = told.sensors.length, horizon = told.horizon_steps, history_ = told.history_steps;
const AT_ONCE = 32;
let held = null;

// The runtime is a module, which a browser starts after all scripts.
const runtime = new Promise((resolve) => { globalThis.runtimeReady = resolve; });
const session = start();

async function start() {
  const ort = await runtime;
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpacked("wasm");
  return { ort, student: await ort.InferenceSession.create(new Uint8Array(await unpacked("model"))) };
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

async function unpacked(id) {
  const packed = bytesOf(document.getElementById(id).textContent);
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// ---- readings ----
function example() {
  const rows = new Float32Array(bytesOf(told.example.readings).buffer);
  return { times: told.example.first_row === null ? [] : timesFrom(told.example.first_row, rows.length / sensorCount), rows };
}

function timesFrom(first, count) {
  const perDay = 1440 / told.interval_minutes, two = (value) => String(value).padStart(2, "0");
  return Array.from({ length: count }, (_, at) => {
    const row = first + at, minutes = (row % perDay) * told.interval_minutes;
    return `${`day ${1 + Math.floor(row / perDay)}`.padEnd(10)}T${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
  });
}

function numbersIn(cells) {
  return cells.map((cell) => (/^\s*(nan|null|na)?\s*$/i.test(cell) ? NaN : Number(cell.trim())));
}

function readCsv(text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const separator = [";", "\t", ","].find((one) => lines[0]?.includes(one)) ?? ",";
  const cells = lines.map((line) => line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1")));
  const named = told.sensors.every((id) => cells[0].includes(id));
  let columns = told.sensors.map((id) => cells[0].indexOf(id)), time = -1, body = cells;
  if (named) {
    body = cells.slice(1);
    time = cells[0].findIndex((name) => !told.sensors.includes(name));
  } else {
    const width = cells[0].length, extra = width - sensorCount;
    if (extra !== 0 && extra !== 1) throw new Error(`The file must have a column for each of ${sensorCount} sensors, but its first line has ${width}; give readings of the same sensors.`);
    if (body.length && numbersIn(body[0].slice(extra)).some(Number.isNaN)) body = body.slice(1);
    columns = told.sensors.map((_, at) => at + extra);
    time = extra - 1;
  }
  if (body.length < history_) throw new Error(`A forecast needs at least ${history_} rows, but the file has ${body.length}; give more rows before the newest.`);
  const rows = new Float32Array(body.length * sensorCount);
  body.forEach((line, row) => {
    const values = numbersIn(columns.map((column) => line[column] ?? ""));
    const wrong = values.findIndex((value, at) => Number.isNaN(value) && !/^\s*(nan|null|na)?\s*$/i.test(line[columns[at]] ?? ""));
    if (wrong >= 0) throw new Error(`Readings must be numbers, but row ${row + 1}, sensor ${told.sensors[wrong]} is "${line[columns[wrong]]}"; correct it, or leave it empty.`);
    rows.set(values, row * sensorCount);
  });
  const times = body.map((line) => (time < 0 ? "" : line[time].replace(" ", "T").slice(0, 16)));
  const known = time >= 0 && times.every((one) => /^\d{4}-\d\d-\d\dT\d\d:\d\d$/.test(one));
  return { times: known ? times : timesFrom(0, body.length), rows };
}

// ---- forecasts ----
async function forecastsOf({ times, rows }) {
  const { ort, student } = await session, count = times.length, windows = count - history_ + 1;
  const wide = sensorCount * horizon, found = { forecast: new Float32Array(windows * wide), lower: null, upper: null };
  for (let first = 0; first < windows; first += AT_ONCE) {
    const batch = Math.min(AT_ONCE, windows - first), input = new Float32Array(batch * history_ * sensorCount);
    for (let at = 0; at < batch; at++)
      input.set(rows.subarray((first + at) * sensorCount, (first + at + history_) * sensorCount), at * history_ * sensorCount);
    const out = await student.run({ readings: new ort.Tensor("float32", input, [batch, history_, sensorCount]) });
    found.forecast.set(out.forecast.data, first * wide);
    if (out.lower && first + batch === windows) {
      found.lower = out.lower.data.slice(-wide);
      found.upper = out.upper.data.slice(-wide);
    }
  }
  return { ...found, windows };
}

const finite = (value) => (Number.isFinite(value) ? value : null);

async function hold(readings) {
  held = { ...readings, ...await forecastsOf(readings) };
  held.errors = errorsOf(held);
}

function stepOf(minutes) { return minutes / told.interval_minutes - 1; }

/** The forecast for one step ahead that was made with `row` as the newest, of a sensor. */
function forecastAt(row, step, sensor) {
  const window = row - history_ + 1;
  return window < 0 || window >= held.windows ? NaN : held.forecast[(window * horizon + step) * sensorCount + sensor];
}

function errorsOf({ times, rows }) {
  const sums = told.minutes.map(() => ({ student: 0, repeat: 0, count: 0 }));
  const ofSensor = told.minutes.map(() => ({ sum: new Float64Array(sensorCount), count: new Uint32Array(sensorCount) }));
  told.minutes.forEach((minutes, which) => {
    const step = stepOf(minutes);
    for (let row = history_ - 1; row + step + 1 < times.length; row++)
      for (let sensor = 0; sensor < sensorCount; sensor++) {
        const truth = rows[(row + step + 1) * sensorCount + sensor], last = rows[row * sensorCount + sensor];
        const error = Math.abs(forecastAt(row, step, sensor) - truth);
        if (!Number.isFinite(error) || !Number.isFinite(last)) continue;
        sums[which].student += error; sums[which].repeat += Math.abs(last - truth); sums[which].count++;
        ofSensor[which].sum[sensor] += error; ofSensor[which].count[sensor]++;
      }
  });
  return { sums, ofSensor };
}

// ---- answers ----
const newest = () => held.times.length - 1;

function sensorsAnswer() {
  const row = newest(), all = told.sensors.map((_, at) => at);
  return {
    at: held.times[row], sensors: told.sensors, places: told.places, edges: told.edges, unit: told.unit, minutes: told.minutes,
    readings: all.map((at) => finite(held.rows[row * sensorCount + at])),
    forecast: told.minutes.map((minutes) => all.map((at) => finite(forecastAt(row, stepOf(minutes), at)))),
    mae: held.errors.ofSensor.map(({ sum, count }) => all.map((at) => (count[at] ? sum[at] / count[at] : null))),
  };
}

function sensorAnswer(id) {
  const sensor = told.sensors.indexOf(id), row = newest(), steps = Array.from({ length: horizon }, (_, at) => at);
  const minutes = told.minutes[0], step = stepOf(minutes);
  const ahead = (bounds) => bounds && steps.map((at) => finite(bounds[at * sensorCount + sensor]));
  return {
    unit: told.unit, times: held.times,
    readings: held.times.map((_, at) => finite(held.rows[at * sensorCount + sensor])),
    forecast_before: { [minutes]: held.times.map((_, at) => finite(forecastAt(at - step - 1, step, sensor))) },
    ahead: {
      times: steps.map((at) => `${held.times[row].slice(0, 10)}T${later(held.times[row], (at + 1) * told.interval_minutes)}`),
      forecast: steps.map((at) => finite(forecastAt(row, at, sensor))), lower: ahead(held.lower), upper: ahead(held.upper),
    },
  };
}

function later(time, minutes) {
  const [hour, minute] = time.slice(11, 16).split(":").map(Number), all = (hour * 60 + minute + minutes) % 1440;
  return `${String(Math.floor(all / 60)).padStart(2, "0")}:${String(all % 60).padStart(2, "0")}`;
}

function errorsAnswer() {
  const mean = (name) => held.errors.sums.map((one) => (one.count ? one[name] / one.count : null));
  return {
    minutes: told.minutes, unit: told.unit, rows: held.times.length,
    last_day: { student: mean("student"), repeat_last: mean("repeat") }, test_days: told.test_days,
  };
}

globalThis.answerLocally = async (path) => {
  if (held === null) await hold(example());
  if (path === "health") return { export: told.name, status: "ok", last_row: held.times[newest()], rows_missing: 0 };
  if (path === "sensors") return sensorsAnswer();
  if (path === "errors") return errorsAnswer();
  return sensorAnswer(decodeURIComponent(path.slice("sensors/".length)));
};

// ---- files ----
async function take(file) {
  const mistake = document.getElementById("mistake");
  try {
    await hold(readCsv(await file.text()));
    mistake.hidden = true;
    document.getElementById("about").textContent = `Shown is ${file.name}, ${held.times.length} rows. It stays on this machine.`;
    await refresh(true);
  } catch (error) {
    mistake.textContent = error.message;
    mistake.hidden = false;
  }
}

document.getElementById("file").addEventListener("change", (event) => { if (event.target.files[0]) take(event.target.files[0]); });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]); });
})();

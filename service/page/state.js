// The service's state, from /metrics, as long as somebody watches it.

import {ask} from "./ask.js";
import {unwatch, watch} from "./awake.js";
import {bar, byId, make} from "./dom.js";

const EVERY_MS = 2000;
const NAME = "state";

let timer, before;

export function showState() {
  byId("state-read").addEventListener("click", () => {
    const watches = byId("state-read").getAttribute("aria-pressed") !== "true";
    byId("state-read").setAttribute("aria-pressed", String(watches));
    if (watches) watch(NAME, start, stop);
    else unwatch(NAME);
  });
}

function start() {
  before = undefined;
  read();
  timer = setInterval(read, EVERY_MS);
}

function stop() {
  clearInterval(timer);
}

async function read() {
  try {
    const samples = parse(await (await ask("metrics", {headers: {Accept: "text/plain"}})).text());
    show(samples, performance.now());
    byId("state-told").textContent = `Read at ${new Date().toLocaleTimeString()}, every ${EVERY_MS / 1000} seconds.`;
  } catch (fault) {
    byId("state-told").textContent = fault.message;
  }
}

/** Samples of Prometheus's text format, as {name, labels, value}. */
export function parse(text) {
  return [...text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name, labels, value]) => ({
    name,
    labels: Object.fromEntries([...(labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text])),
    value: Number(value),
  }));
}

function show(samples, now) {
  const value = (name) => samples.find((each) => each.name === name)?.value ?? 0;
  // This page's own readings are no load.
  const answered = samples.filter(({name, labels}) => name === "kindling_requests_total" && labels.route !== "/metrics")
    .reduce((sum, each) => sum + each.value, 0);
  const rate = before && (answered - before.answered) / ((now - before.now) / 1000);
  before = {answered, now};
  const cold = samples.filter(({name, labels}) => name === "kindling_cold_start_seconds" && !["request", "answer"].includes(labels.phase));
  const tiles = {
    "waiting in the queue": value("kindling_queue_depth"),
    "being answered": Math.max(0, value("kindling_requests_in_flight") - 1),
    "still arriving": value("kindling_requests_receiving"),
    runners: value("kindling_runners"),
    "requests a second": rate === undefined ? "..." : rate.toFixed(1),
    "requests answered": answered,
    "memory, MB": Math.round(value("process_resident_memory_bytes") / 1e6),
    "last wake, ms": Math.round(1000 * cold.reduce((sum, each) => sum + each.value, 0)),
  };
  byId("state").replaceChildren(...Object.entries(tiles).map(([name, number]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, String(number)))), batches(samples));
}

function batches(samples) {
  const runs = samples.filter(({name}) => name === "kindling_runs_total");
  const most = Math.max(1, ...runs.map(({value}) => value));
  const rows = runs.map(({labels, value}) => make("li", {}, make("span", {class: "label"}, `of ${labels.batch_size}`),
    bar(value / most), make("span", {class: "number"}, String(value))));
  return make("div", {class: "all"}, make("dt", {}, "runs of the model, by the items in one"),
    make("dd", {}, rows.length ? make("ol", {class: "labels"}, ...rows) : "none yet"));
}

// Server-Timing as a waterfall: the request, and before it the wake, if it waited for one.

import {bar, make, milliseconds} from "./dom.js";

const WAKE = {
  python: "Python starts",
  imports: "imports",
  libraries: "the engine's libraries",
  fork: "the worker forks",
  app: "the application",
  model: "the model is loaded",
  ready: "the self-test",
};
const REQUEST = {decode: "decode", queue: "wait in the queue", run: "run the model", encode: "encode"};

export function waterfall({timing, took_ms}) {
  const wake = timing.filter(([name]) => name.startsWith("cold-")).map(([name, ms]) => [name.slice(5), ms]);
  const start = wake.filter(([name]) => name !== "request");
  const phases = timing.filter(([name]) => name in REQUEST);
  const total = timing.find(([name]) => name === "total")?.[1] ?? 0;
  const outside = Math.max(0, took_ms - total);
  const waited = wake.find(([name]) => name === "request")?.[1] ?? 0;
  // The time since readiness is part of the request's own time only if it was sent before the service was ready.
  const isWoken = start.length > 0 && took_ms >= waited + total;
  const tables = [];
  if (start.length) {
    const ready = start.reduce((sum, [, ms]) => sum + ms, 0);
    tables.push(table("The wake", start, WAKE, ready, "wake", `${milliseconds(ready)} until ready`));
    tables.push(make("p", {class: "quiet"}, isWoken ? "This request woke the service, or came while it woke."
      : `The service was ready ${milliseconds(waited)} before this request came.`));
  }
  tables.push(table("The request", phases, REQUEST, Math.max(total, 0.1), "", `${milliseconds(total)} in the service`));
  tables.push(make("p", {class: "quiet"}, `${milliseconds(outside)} more on the way there and back`
    + (isWoken ? ", or for the wake." : ".")));
  return make("details", {class: "timing", open: start.length > 0},
    make("summary", {}, `Where the ${milliseconds(took_ms)} went${start.length ? ", after a wake" : ""}`), ...tables);
}

function table(name, phases, words, total, kind, sum) {
  let from = 0;
  const rows = phases.map(([phase, ms]) => {
    const row = make("tr", {}, make("th", {scope: "row"}, words[phase] ?? phase),
      make("td", {class: "wide"}, bar(ms / total, Math.min(from / total, 1), kind)),
      make("td", {class: "number"}, milliseconds(ms)));
    from += ms;
    return row;
  });
  return make("table", {class: "waterfall"}, make("caption", {}, make("b", {}, name), `, ${sum}`), make("tbody", {}, ...rows));
}

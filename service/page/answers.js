// The list of answers: one card for each request, with what was asked, what came, and the curl line.

import {address, curl, infer} from "./ask.js";
import {announce, bar, byId, copied, make, percent} from "./dom.js";
import {waterfall} from "./timing.js";
import {follow} from "./jobs.js";

const MOST = 50;
// More requests at once would only wait in the queue.
const AT_ONCE = 4;
const LONGEST_LINE = 3000;

let free = AT_ONCE;
const waiting = [];

export const isLater = () => document.querySelector("input[name=when]:checked")?.value === "later";

/** Ask, and show the answer. `asked`: {name, path, body, headers, shown, file, from, json}; `shown` is an address. */
export async function answer(asked) {
  const later = isLater();
  const card = open(asked);
  await place();
  try {
    const got = await infer(asked.path, asked.body, asked.headers, later);
    if (got.job) follow(got.job, (job) => show(card, asked, later, job));
    else show(card, asked, later, {status: "succeeded", result: got.result, got});
  } catch (fault) {
    show(card, asked, later, {status: "failed", error: {message: fault.message}});
  } finally {
    free += 1;
    waiting.shift()?.();
  }
}

async function place() {
  if (free === 0) await new Promise((begin) => waiting.push(begin));
  free -= 1;
}

function open({name, shown}) {
  const told = make("div", {class: "told"}, make("p", {class: "quiet"}, "Waiting for the answer ..."));
  const picture = shown && make("img", {src: shown, alt: "", width: "120", error: () => picture.remove()});
  const card = make("article", {class: "card answer", "aria-label": name, "aria-busy": "true"},
    picture, make("div", {class: "grow"}, make("h3", {}, name), told));
  byId("no-answers").hidden = true;
  byId("answers").prepend(card);
  while (byId("answers").children.length > MOST) forget(byId("answers").lastElementChild);
  return card;
}

function forget(card) {
  const shown = card.querySelector("img")?.src ?? "";
  if (shown.startsWith("blob:")) URL.revokeObjectURL(shown);
  card.remove();
}

function show(card, asked, later, {id, status, result, error, got}) {
  const told = card.querySelector(".told");
  const job = id && make("p", {class: "quiet"}, "Job ", make("a", {href: address(`jobs/${id}`)}, id.slice(0, 8)),
    " ", make("span", {class: `status ${status}`}, status));
  const parts = [job];
  if (error) parts.push(make("p", {class: "error"}, error.message));
  else if (result?.labels) parts.push(labels(result.labels));
  else if (result?.outputs) parts.push(make("div", {class: "outputs"}, ...result.outputs.map(output)));
  else if (status === "succeeded") parts.push(make("p", {}, make("a", {href: address(`jobs/${id}/result`)}, "The result")));
  if (got) parts.push(waterfall(got));
  parts.push(line(asked, later));
  told.replaceChildren(...parts.filter(Boolean));
  card.setAttribute("aria-busy", String(status === "queued" || status === "running"));
  announce(`${asked.name}: ${sentence(status, result, error)}`);
}

function sentence(status, result, error) {
  if (error) return error.message;
  const best = result?.labels?.[0];
  return best ? `${best.label}, ${percent(best.probability)}` : status;
}

function labels(found) {
  return make("ol", {class: "labels"}, ...found.map(({label, probability}) =>
    make("li", {}, make("span", {class: "label"}, label), bar(probability), make("span", {class: "number"}, percent(probability)))));
}

function output({name, datatype, shape, data}) {
  const most = 64;
  const rows = data.slice(0, most).map((value, index) =>
    make("tr", {}, make("th", {scope: "row"}, place_of(index, shape)), make("td", {class: "number"}, value?.rawJSON ?? String(value))));
  const rest = data.length > most ? `, the first ${most} of ${data.length}` : "";
  return make("div", {class: "scroll low", tabindex: "0", role: "group", "aria-label": `output ${name}`},
    make("table", {class: "values"}, make("caption", {}, make("b", {}, name), ` ${datatype} [${shape.join(", ")}]${rest}`),
      make("tbody", {}, ...rows)));
}

/** The index of an element of a row-major tensor: "0, 2, 1". */
function place_of(index, shape) {
  const places = [];
  for (const size of [...shape].reverse()) {
    places.unshift(index % size);
    index = Math.floor(index / size);
  }
  return places.join(", ");
}

function line(asked, later) {
  if ((asked.json?.length ?? 0) <= LONGEST_LINE) return copied(curl({...asked, isLater: later}), "curl");
  const href = URL.createObjectURL(new Blob([asked.json], {type: "application/json"}));
  return make("div", {}, copied(curl({...asked, json: "@request.json", isLater: later}), "curl"),
    make("p", {class: "quiet"}, "The line reads ", make("a", {href, download: "request.json"}, "request.json"), "."));
}

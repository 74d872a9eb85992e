// Jobs: listed, followed, cancelled, sent again and deleted.

import {address, ask} from "./ask.js";
import {unwatch} from "./awake.js";
import {announce, byId, make, percent} from "./dom.js";
import {FINAL, listen} from "./follow.js";

const PAGE = 20;

// id -> the function that shows a job's news in its card
const cards = new Map();
let next = null;

export function keepJobs() {
  byId("when").hidden = byId("jobs").hidden = false;
  byId("jobs-read").addEventListener("click", () => list(true));
  byId("jobs-more").addEventListener("click", () => list(false));
}

/** Show each change of the job until it is final; `shown` gets the job as GET /jobs/ID has it. */
export function follow(job, shown = cards.get(job.id)) {
  if (shown) cards.set(job.id, shown);
  news(job);
  if (!FINAL.includes(job.status)) listen(job.id, news, tell);
}

function news(job) {
  cards.get(job.id)?.(job);
  const row = byId(`job-${job.id}`);
  if (row) row.replaceWith(rowOf(job));
  else {
    byId("jobs-rows").prepend(rowOf(job));
    byId("jobs-table").hidden = false;
  }
}

async function list(isNew) {
  try {
    const after = isNew || !next ? "" : `&after=${encodeURIComponent(next)}`;
    const page = await (await ask(`jobs?limit=${PAGE}${after}`)).json();
    const rows = page.jobs.map(rowOf);
    if (isNew) byId("jobs-rows").replaceChildren(...rows);
    else byId("jobs-rows").append(...rows);
    next = page.next;
    const count = byId("jobs-rows").children.length;
    byId("jobs-more").hidden = next === null;
    byId("jobs-table").hidden = count === 0;
    byId("jobs-read").textContent = "Read it again";
    tell(count ? `${count} jobs, read at ${new Date().toLocaleTimeString()}.` : "There are no jobs.");
  } catch (fault) {
    tell(fault.message);
  }
}

function rowOf(job) {
  const name = job.id.slice(0, 8);
  const act = (label, does) =>
    make("button", {type: "button", "aria-label": `${label} job ${name}`, click: () => action(job, does)}, label);
  const actions = [];
  if (job.status === "queued") actions.push(act("Cancel", cancel));
  if (job.status === "failed") actions.push(act("Retry", retry));
  if (FINAL.includes(job.status)) actions.push(act("Delete", remove));
  else actions.push(act("Follow", (found) => follow(found)));
  return make("tr", {id: `job-${job.id}`},
    make("td", {}, make("a", {href: address(`jobs/${job.id}`)}, name),
      make("span", {class: "quiet when"}, new Date(job.created).toLocaleTimeString())),
    make("td", {}, make("span", {class: `status ${job.status}`}, job.status)),
    make("td", {}, resultOf(job)),
    make("td", {class: "row"}, ...actions));
}

function resultOf({id, status, error, result}) {
  if (error) return error.message;
  const best = result?.labels?.[0];
  if (best) return `${best.label}, ${percent(best.probability)}`;
  return status === "succeeded" ? make("a", {href: address(`jobs/${id}/result`)}, "result") : "";
}

/** Do it; the keyboard's focus stays in the job's row, or goes to the list's button. */
async function action(job, does) {
  try {
    await does(job);
  } catch (fault) {
    tell(fault.message);
  }
  (byId(`job-${job.id}`)?.querySelector("button") ?? byId("jobs-read")).focus();
}

async function cancel(job) {
  const found = await (await ask(`jobs/${job.id}`, {method: "DELETE"})).json();
  unwatch(job.id);
  news(found);
}

async function retry(job) {
  follow(await (await ask(`jobs/${job.id}/retry`, {method: "POST"})).json());
}

async function remove(job) {
  await ask(`jobs/${job.id}`, {method: "DELETE"});
  byId(`job-${job.id}`).remove();
  tell(`Job ${job.id.slice(0, 8)} is deleted.`);
}

function tell(sentence) {
  byId("jobs-told").textContent = sentence;
  announce(sentence);
}

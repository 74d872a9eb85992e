// Requests to the service: one place for its address, its errors and its Server-Timing.

import {byId} from "./dom.js";

// This file is in ROOT/page/, wherever a proxy has put ROOT.
export const ROOT = new URL("..", import.meta.url);
const KEY = "kindling-key";

export const address = (path) => new URL(path, ROOT).href;

/** An answer that is no result: the sentence that the service gave, or what a proxy in front of it said. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** The response to a request, if its status is a success. */
export async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = {Accept: "application/json", ...options.headers, ...(key ? {Authorization: `Bearer ${key}`} : {})};
  let response;
  try {
    response = await fetch(address(path), {...options, headers});
  } catch {
    throw new Refused(0, "The service did not answer. It may be stopping, or the network is gone.");
  }
  if (response.ok) return response;
  if (response.status === 401) {
    byId("key").hidden = false;
    byId("key-text").focus();
  }
  throw new Refused(response.status, await sentence(response));
}

async function sentence(response) {
  const text = await response.text();
  try {
    const told = JSON.parse(text).error;
    if (typeof told === "string") return told;
  } catch {
    // Knative's own proxies answer with plain text.
  }
  return `${response.status} ${text.trim().slice(0, 200) || response.statusText || "without a reason"}`;
}

/** The JSON, with whole numbers beyond 2^53 as they are written: JavaScript's numbers would round them. */
export function exactly(text) {
  return JSON.parse(text, (_, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && JSON.rawJSON ? JSON.rawJSON(context.source) : value);
}

/** What a POST is answered with, as {result, timing, took_ms} or {job}. */
export async function infer(path, body, headers, isLater) {
  const began = performance.now();
  const prefer = isLater ? {Prefer: "respond-async"} : {};
  const response = await ask(path, {method: "POST", body, headers: {...headers, ...prefer}});
  const result = exactly(await response.text());
  const took_ms = performance.now() - began;
  if (response.status === 202) return {job: result};
  return {result, timing: timings(response.headers.get("Server-Timing") || ""), took_ms};
}

/** "cold-python;dur=61.0, decode;dur=2.1, total;dur=30.2" as [name, milliseconds] in the header's order. */
export function timings(header) {
  return [...header.matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]);
}

/** The same request for a shell. `file` is read by curl; `from` is an address that curl reads first. */
export function curl({path, file, from, json, isLater}) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const words = from ? [`curl -s ${quoted(address(from))} | curl`] : ["curl"];
  if (sessionStorage.getItem(KEY)) words.push('-H "Authorization: Bearer $KEY"');
  if (isLater) words.push("-H 'Prefer: respond-async'");
  if (json !== undefined) words.push("-H 'Content-Type: application/json'", "-d", quoted(json));
  else words.push("-T", from ? "-" : quoted(file));
  return [...words, quoted(address(path))].join(" ");
}

export function askForKey(again) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("key-text").value);
    byId("key").hidden = true;
    again();
  });
}

// What the page may ask by itself: only while somebody looks, and for a minute after the last action.

import {announce, byId} from "./dom.js";

const LONGEST_MS = 60_000;
const NOTHING = "This page asks nothing by itself, so it keeps no pod awake.";
const SOMETHING = "This page asks for news now. It stops a minute after your last action, or when you leave it.";
const STOPPED = "Stopped: nothing was done for a minute, and asking on would keep a pod awake. Any key or click goes on.";

// name -> {start, stop}, for everything that asks by itself
const watched = new Map();
let isGoing = true;
let timer;

/** Let `start` run now and after each pause, and `stop` before each pause. */
export function watch(name, start, stop) {
  watched.set(name, {start, stop});
  touch();
  if (isGoing) start();
  tell();
}

export function unwatch(name) {
  watched.get(name)?.stop();
  watched.delete(name);
  tell();
}

function touch() {
  clearTimeout(timer);
  timer = setTimeout(() => change(false), LONGEST_MS);
  change(!document.hidden);
}

function change(goes) {
  if (goes === isGoing) return;
  isGoing = goes;
  for (const {start, stop} of watched.values()) (goes ? start : stop)();
  tell();
  if (watched.size && !goes) announce(STOPPED);
}

function tell() {
  byId("watching").textContent = !watched.size ? NOTHING : isGoing ? SOMETHING : STOPPED;
  byId("watching").classList.toggle("stopped", watched.size > 0 && !isGoing);
}

export function beginToWatch() {
  for (const action of ["pointerdown", "keydown", "drop"]) document.addEventListener(action, touch, {capture: true});
  document.addEventListener("visibilitychange", () => (document.hidden ? change(false) : touch()));
  touch();
}

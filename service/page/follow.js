// A job's news: by server-sent events, or by asking again and again where those do not come.

import {address, ask} from "./ask.js";
import {unwatch, watch} from "./awake.js";

export const FINAL = ["succeeded", "failed", "cancelled"];
const STATUSES = ["queued", "running", ...FINAL];
const PAUSE_MS = 1000;
// A browser has six connections to one host; the others are for what is asked meanwhile.
const MOST_STREAMS = 3;

const streams = new Map();

/** `heard` gets the job at each change until it is final; `failed` gets a sentence if it cannot be followed. */
export function listen(id, heard, failed) {
  let asking;
  const news = (job) => {
    if (FINAL.includes(job.status)) unwatch(id);
    heard(job);
  };
  const start = () => {
    if (streams.size >= MOST_STREAMS) return poll({});
    const stream = new EventSource(address(`jobs/${id}`));
    streams.set(id, stream);
    for (const status of STATUSES) stream.addEventListener(status, (event) => news(JSON.parse(event.data)));
    // The browser comes again by itself when a stream ends, unless the answer was none. An EventSource cannot send a key.
    stream.onerror = () => stream.readyState === EventSource.CLOSED && poll({Prefer: "wait=10"});
  };
  const stop = () => {
    streams.get(id)?.close();
    streams.delete(id);
    asking?.abort();
  };
  const poll = async (headers) => {
    asking = new AbortController();
    const {signal} = asking;
    try {
      while (!signal.aborted) {
        news(await (await ask(`jobs/${id}`, {headers, signal})).json());
        await new Promise((resume) => setTimeout(resume, PAUSE_MS));
      }
    } catch (fault) {
      if (signal.aborted) return;
      unwatch(id);
      failed(fault.message);
    }
  };
  watch(id, start, stop);
}

// The page: what the service is decides what it shows. No framework and no build step: reload after an edit.

import {ask, askForKey, ROOT} from "./ask.js";
import {beginToWatch} from "./awake.js";
import {byId, make} from "./dom.js";
import {keepJobs} from "./jobs.js";
import {takePictures} from "./pictures.js";
import {showState} from "./state.js";
import {takeTensors} from "./tensors.js";

// The service knows its root only if it trusts the proxy in front; the page always knows it.
const local = (path) => new URL(path.startsWith(ROOT.pathname) ? path : path.slice(1), ROOT).href;

async function begin() {
  try {
    const {model, engine, precision, version, links} = await (await ask("./")).json();
    byId("about").textContent = `${model}, ${engine} ${precision}, version ${version}`;
    document.title = `${model} on Kindling`;
    byId("links").replaceChildren(...Object.entries(links).filter(([name]) => !["infer", "picture"].includes(name))
      .map(([name, path]) => make("li", {}, make("a", {href: local(path)}, name))));
    if (links.jobs) keepJobs();
    else byId("no-jobs").hidden = false;
    if (links.picture) takePictures();
    else await takeTensors(model);
  } catch (fault) {
    byId("fault").textContent = fault.message;
    byId("fault").hidden = false;
    return;
  }
  byId("fault").hidden = true;
  document.documentElement.dataset.ready = "true";
}

beginToWatch();
showState();
askForKey(() => document.documentElement.dataset.ready || begin());
begin();

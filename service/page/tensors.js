// A form for a model of plain tensors, made from its metadata.

import {answer} from "./answers.js";
import {ask, exactly} from "./ask.js";
import {announce, byId, make} from "./dom.js";

// A larger example would not be read by anybody: one number stands for all.
const MOST = 256;

export async function takeTensors(model) {
  const path = `v2/models/${encodeURIComponent(model)}`;
  const {inputs} = await (await ask(path)).json();
  byId("inputs").replaceChildren(...inputs.map(field));
  byId("tensors").hidden = false;
  byId("tensors-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send(model, `${path}/infer`, inputs);
  });
}

const shapeOf = ({shape}) => shape.map((size) => (size < 0 ? 1 : size));
const sizeOf = (input) => shapeOf(input).reduce((product, size) => product * size, 1);
const idOf = ({name}) => `input-${name}`;

function field(input, index) {
  const shape = shapeOf(input), count = sizeOf(input);
  const fill = input.datatype === "BOOL" ? true : 1;
  const example = count > MOST ? fill : nested(shape, fill);
  const about = `${input.datatype} [${shape.join(", ")}]`;
  const fault = make("p", {class: "error", id: `${idOf(input)}-fault`, hidden: true});
  return make("div", {class: "field"},
    make("label", {for: idOf(input)}, make("b", {}, input.name), ` ${about}`),
    make("textarea", {id: idOf(input), rows: count > 8 && count <= MOST ? "6" : "2", spellcheck: "false",
      "aria-describedby": fault.id, autofocus: index === 0}, JSON.stringify(example)), fault);
}

/** Lists in the tensor's shape, each element `fill`. */
function nested([size, ...rest], fill) {
  if (size === undefined) return fill;
  return Array.from({length: size}, () => nested(rest, fill));
}

function send(model, path, inputs) {
  const tensors = inputs.map((input) => ({name: input.name, datatype: input.datatype, shape: shapeOf(input), data: read(input)}));
  if (tensors.some(({data}) => data === undefined)) return;
  const json = JSON.stringify({inputs: tensors});
  answer({name: model, path, body: json, json, headers: {"Content-Type": "application/json"}});
}

/** The elements of the field, or undefined after its fault is told. The service checks the rest. */
function read(input) {
  const text = byId(idOf(input)), fault = byId(`${idOf(input)}-fault`);
  fault.hidden = true;
  text.removeAttribute("aria-invalid");
  try {
    const value = exactly(text.value);
    return Array.isArray(value) ? value : Array(sizeOf(input)).fill(value);
  } catch (error) {
    fault.textContent = `No JSON: ${error.message}`;
    fault.hidden = false;
    text.setAttribute("aria-invalid", "true");
    text.focus();
    announce(`${input.name}: ${fault.textContent}`);
    return undefined;
  }
}

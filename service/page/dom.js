// Elements without a framework: found by id, or made from a tag, attributes and what is in them.

export const byId = (id) => document.getElementById(id);

/** make("td", {class: "number"}, "12 ms"): functions become listeners, `true` an empty attribute, nothing is HTML. */
export function make(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...inside.filter((each) => each !== undefined && each !== null));
  return element;
}

/** A bar from `from` to `from + share` of its row's width, each between 0 and 1. The text beside it says the same. */
export function bar(share, from = 0, kind = "") {
  const inner = make("span", {class: kind});
  // Set by script: the Content-Security-Policy takes no style attributes.
  inner.style.marginInlineStart = `min(${100 * from}%, 100% - 2px)`; // so that the shortest last phase is seen
  inner.style.inlineSize = `${100 * Math.min(share, 1 - from)}%`;
  return make("span", {class: "bar", "aria-hidden": "true"}, inner);
}

/** Tell screen readers. The same sentence twice is told twice. */
export function announce(sentence) {
  byId("live").replaceChildren(make("p", {}, sentence));
}

export function milliseconds(ms) {
  if (ms >= 10000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms >= 100 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** A line of code with a button that copies it. */
export function copied(line, label) {
  const button = make("button", {
    type: "button",
    "aria-label": `Copy the ${label} line`,
    click: async () => {
      try {
        await navigator.clipboard.writeText(line);
        button.textContent = "Copied";
        announce("Copied.");
      } catch {
        // Without a secure context there is no clipboard: select the line, to be copied by the keyboard.
        getSelection().selectAllChildren(code);
        announce("Selected. Copy it with your keyboard.");
      }
    },
  }, "Copy");
  const code = make("code", {}, line);
  return make("div", {class: "copied"},
    make("pre", {tabindex: "0", role: "group", "aria-label": `${label} line`}, code), button);
}

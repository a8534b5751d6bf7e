"use strict";
// What is chosen with, and what the choices are called.
const Controls = (() => {
  const { h } = Tables;
  const METRIC_NAMES = { success_any: "success at any step", success_end: "success at the end" };
  const unique = (values) => [...new Set(values)];

  function hasTraining(suite) {
    return suite.runs.some((run) => run.training.length > 0);
  }

  function chip(type, name, label, checked, onchange, color) {
    const input = h("input", { type, name, value: label, onchange });
    input.checked = checked;
    return h(
      "label",
      { class: type === "radio" ? "chip one" : "chip" },
      input,
      h("span", {}, color ? Tables.swatch(color) : null, label),
    );
  }

  function choice(legend, name, options, value, choose) {
    return h(
      "fieldset",
      {},
      h("legend", {}, legend),
      Object.entries(options).map(([key, label]) => chip("radio", name, label, key === value, () => choose(key))),
    );
  }

  return { METRIC_NAMES, unique, hasTraining, chip, choice };
})();

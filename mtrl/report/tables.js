"use strict";
// Tables and other text. Everything is set as text, never as HTML, so that names from run folders stay names.
const Tables = (() => {
  // h("td", { class: "x", onclick: f }, "text", child, ...)
  function h(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  }

  const swatch = (color) => {
    const mark = h("i", { "aria-hidden": "true" });
    mark.style.background = color;
    return mark;
  };

  function duration(seconds) {
    if (!(seconds > 0)) return "–";
    if (seconds < 90) return `${seconds.toFixed(0)} s`;
    if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
    return `${(seconds / 3600).toFixed(1)} h`;
  }

  function steps(count) {
    for (const [unit, size] of [
      ["G", 1e9],
      ["M", 1e6],
      ["k", 1e3],
    ]) {
      if (Number(count.toPrecision(3)) >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
    }
    return String(Number(count.toPrecision(3)));
  }

  const COLUMNS = [
    ["iqm", "IQM over seeds", "IQM"],
    ["mean", "Mean over tasks", "Mean"],
    ["worst", "Worst tenth of tasks", "Worst"],
  ];
  const METRICS = [
    ["success_any", "at any step", "any step"],
    ["success_end", "at the end", "at end"],
  ];

  // rows: [{label, fixed, style, names, steps, wall, success_any, success_end}], each metric with estimates and intervals
  function results(rows, tasks, captionText) {
    const head = h(
      "thead",
      {},
      h(
        "tr",
        { class: "spread" },
        h("th", { rowspan: 2, scope: "col" }, "Agent"),
        h("th", { rowspan: 2, scope: "col" }, "Seeds"),
        h("th", { rowspan: 2, scope: "col" }, "Steps/task"),
        h("th", { rowspan: 2, scope: "col" }, "Wall-clock"),
        METRICS.map(([, title]) => h("th", { colspan: 3, scope: "colgroup" }, `Success ${title}`)),
      ),
      h(
        "tr",
        {},
        METRICS.flatMap(() => COLUMNS.map(([, title]) => h("th", { scope: "col" }, title))),
      ),
    );
    const body = h(
      "tbody",
      {},
      rows.flatMap((row, index) => result(row, tasks, `tasks-${Math.random().toString(36).slice(2)}-${index}`)),
    );
    return h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Final results" },
      h("table", { class: "results" }, h("caption", {}, captionText), head, body),
    );
  }

  function result(row, tasks, id) {
    const more = h("tr", { class: "more", id, hidden: true }, h("td", { colspan: 10 }, perTask(row, tasks), timeSpent(row)));
    const toggle = h(
      "button",
      { type: "button", "aria-expanded": "false", "aria-controls": id },
      swatch(row.style.color),
      row.label,
    );
    toggle.addEventListener("click", () => {
      more.hidden = !more.hidden;
      toggle.setAttribute("aria-expanded", String(!more.hidden));
    });
    const cells = METRICS.flatMap(([metric, , when]) =>
      COLUMNS.map(([name, , title]) => {
        const { estimates, intervals } = row[metric];
        return h(
          "td",
          { "data-label": `${title}, ${when}`, "data-metric": metric, "data-statistic": name },
          h("b", {}, estimates[name].toFixed(3)),
          intervals ? h("small", {}, intervals[name].map((edge) => edge.toFixed(3)).join(" to ")) : null,
        );
      }),
    );
    return [
      h(
        "tr",
        { class: row.fixed ? "fixed" : null, "data-agent": row.label },
        h("th", { scope: "row" }, toggle),
        h("td", { "data-label": "Seeds" }, String(row.names.length)),
        h("td", { "data-label": "Steps/task" }, steps(row.steps)),
        h("td", { "data-label": "Wall-clock" }, duration(row.wall)),
        cells,
      ),
      more,
    ];
  }

  function timeSpent(row) {
    const lines = row.names
      .map((seed, index) => [seed, row.spent[index]])
      .filter(([, spent]) => spent)
      .map(([seed, { setup, wall, evaluation }]) => {
        const parts = [`setting up ${duration(setup)}`, `evaluations ${duration(evaluation)}`];
        if (!row.fixed) parts.splice(1, 0, `training ${duration(wall)}`);
        return h("li", {}, `seed ${seed}: ${parts.join(", ")}`);
      });
    return lines.length ? [h("p", {}, "Where the time went"), h("ul", {}, lines)] : null;
  }

  function perTask(row, tasks) {
    const seeds = (metric, task) => row[metric].scores.map((scores) => scores[task].toFixed(2)).join("  ");
    return h(
      "table",
      {},
      h("caption", {}, `${row.label}: success per task, mean over seeds and each seed (${row.names.join(", ")})`),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["Task", "At any step", "Each seed", "At the end", "Each seed"].map((title) =>
            h("th", { scope: "col" }, title),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        tasks.map((name, task) =>
          h(
            "tr",
            { "data-task": name },
            h("th", { scope: "row" }, name),
            METRICS.flatMap(([metric]) => [
              h("td", {}, h("b", {}, row[metric].estimates.tasks[task].toFixed(3))),
              h("td", {}, seeds(metric, task)),
            ]),
          ),
        ),
      ),
    );
  }

  // Fields that differ, agents as columns; a cell where one agent's own runs disagree is set in bold.
  function differences(rows, agents) {
    return h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Configuration differences" },
      h(
        "table",
        { class: "differences" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Field"),
            agents.map((agent) => h("th", { scope: "col" }, agent.label)),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map((row) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, h("code", {}, row.field)),
              agents.map((agent) =>
                h("td", { class: agent.text(row).includes(" | ") ? "several" : null }, h("code", {}, agent.text(row))),
              ),
            ),
          ),
        ),
      ),
    );
  }

  function runs(list) {
    const status = (run) => (run.finished ? "finished" : `unfinished: go on with \`mtrl resume ${run.folder}\``);
    return h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Agent", "Seed", "Steps/task", "Status", "Folder"].map((title) => h("th", { scope: "col" }, title)),
          ),
        ),
        h(
          "tbody",
          {},
          list.map((run) =>
            h(
              "tr",
              {},
              h("td", {}, run.label),
              h("td", {}, String(run.seed)),
              h("td", {}, run.budget && !run.fixed ? `${steps(run.steps)} of ${steps(run.budget)}` : steps(run.steps)),
              h("td", {}, status(run)),
              h("td", {}, h("code", {}, run.folder)),
            ),
          ),
        ),
      ),
    );
  }

  function films(list) {
    return h(
      "div",
      { class: "films" },
      list.map((film) =>
        h(
          "div",
          {},
          film.source
            ? h("video", {
                src: film.source,
                controls: true,
                muted: true,
                loop: true,
                playsinline: true,
                preload: "metadata",
                "aria-label": `${film.task}, ${film.label}, seed ${film.seed}`,
              })
            : null,
          h(
            "p",
            {},
            film.source
              ? `${film.label}, seed ${film.seed}`
              : h("a", { href: film.link }, `${film.label}, seed ${film.seed} (file)`),
          ),
        ),
      ),
    );
  }

  return { h, swatch, steps, duration, results, differences, runs, films };
})();

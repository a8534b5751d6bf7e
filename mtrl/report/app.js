"use strict";
// The page: what is chosen, and what is drawn of it.
(() => {
  const { h } = Tables;
  const { unique, hasTraining, chip, choice } = Controls;
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const labels = unique(
    data.suites.flatMap((suite) => suite.agents.filter((agent) => !agent.fixed).map((agent) => agent.label)),
  );
  const fixedLabels = unique(
    data.suites.flatMap((suite) => suite.agents.filter((agent) => agent.fixed).map((agent) => agent.label)),
  );
  const seeds = unique(data.suites.flatMap((suite) => suite.runs.map((run) => run.seed))).sort((a, b) => a - b);
  const narrowQuery = window.matchMedia("(max-width: 700px)");
  const state = {
    suites: new Set(data.suites.map((suite) => suite.name)),
    agents: new Set([...labels, ...fixedLabels]),
    seeds: new Set(seeds),
    metric: "success_any",
    sections: data.suites.map((suite) => ({
      comparison: 0,
      axis: "steps",
      task: "",
      film: "",
      source: suite.runs.some((run) => run.evaluations.length > 1)
        ? "evaluations"
        : hasTraining(suite)
          ? "training"
          : "evaluations",
    })),
  };

  const styleOf = (agent) =>
    agent.fixed ? Figures.floorStyle(agent.label) : Figures.style(labels.indexOf(agent.label));
  const narrow = () => narrowQuery.matches;
  const cards = makeCards({ state, narrow, styleOf });
  const adaptation = makeAdaptation({ state, narrow, card: cards.card, plot: cards.plot });

  // What is left of a comparison after the filters: one row an agent, ready for tables and figures.
  function rowsOf(suite, comparison) {
    const rows = comparison.entries
      .map((entry, place) => {
        const agent = suite.agents[entry.agent];
        const kept = entry.runs
          .map((_, index) => index)
          .filter((index) => state.seeds.has(suite.runs[entry.runs[index]].seed) || agent.fixed);
        if (!kept.length || !state.agents.has(agent.label)) return null;
        const row = {
          place,
          label: agent.label,
          fixed: agent.fixed,
          style: styleOf(agent),
          steps: entry.steps,
          names: kept.map((index) => suite.runs[entry.runs[index]].seed),
          wall: Statistics.mean(kept.map((index) => entry.wall[index])),
          spent: kept.map((index) => suite.runs[entry.runs[index]].spent),
          adaptation: entry.adaptation && kept.map((index) => entry.adaptation[index]),
        };
        for (const metric of ["success_any", "success_end"]) {
          const outcomes = kept.map((index) => entry[metric][index]);
          const scores = Statistics.scores(outcomes);
          row[metric] = {
            outcomes,
            scores,
            estimates: Statistics.estimates(scores),
            intervals: intervalsOf(entry, metric, kept, outcomes),
          };
        }
        return row;
      })
      .filter((row) => row);
    const learned = rows.filter((row) => !row.fixed);
    const ranked = learned.length > 1 && learned.every((row) => row.names.length >= Statistics.MINIMUM_SEEDS);
    if (ranked) learned.sort((a, b) => b[state.metric].estimates.iqm - a[state.metric].estimates.iqm);
    return { rows: [...learned, ...rows.filter((row) => row.fixed)], learned, ranked };
  }

  // The whole set comes computed by mtrl.stats; a choice of seeds is computed here, once.
  const computed = new Map();
  function intervalsOf(entry, metric, kept, outcomes) {
    if (kept.length === entry.runs.length) return entry.intervals && entry.intervals[metric];
    if (kept.length < Statistics.MINIMUM_SEEDS) return null;
    if (!computed.has(entry)) computed.set(entry, new Map());
    const key = `${metric} ${kept}`;
    if (!computed.get(entry).has(key)) computed.get(entry).set(key, Statistics.intervals(outcomes));
    return computed.get(entry).get(key);
  }

  // ---- controls ------------------------------------------------------------------------------------------------

  function buildFilters() {
    const several = (id, names, chosen, text, color) => {
      const box = byId(id);
      box.querySelectorAll(".chip").forEach((one) => one.remove());
      box.hidden = names.length < 2;
      for (const name of names) {
        box.append(
          chip(
            "checkbox",
            id,
            text(name),
            chosen.has(name),
            (event) => {
              event.target.checked ? chosen.add(name) : chosen.delete(name);
              renderAll();
            },
            color && color(name),
          ),
        );
      }
    };
    several(
      "filter-suite",
      data.suites.map((suite) => suite.name),
      state.suites,
      (name) => name,
    );
    several(
      "filter-agent",
      [...labels, ...fixedLabels],
      state.agents,
      (name) => name,
      (name) => styleOf({ label: name, fixed: fixedLabels.includes(name) && !labels.includes(name) }).color,
    );
    several("filter-seed", seeds, state.seeds, String);
    const box = byId("filter-metric");
    box.querySelectorAll(".chip").forEach((one) => one.remove());
    for (const [metric, label] of [
      ["success_any", "at any step"],
      ["success_end", "at the end"],
    ]) {
      box.append(
        chip("radio", "metric", label, metric === state.metric, () => {
          state.metric = metric;
          renderAll();
        }),
      );
    }
  }

  function showAll() {
    data.suites.forEach((suite) => state.suites.add(suite.name));
    [...labels, ...fixedLabels].forEach((label) => state.agents.add(label));
    seeds.forEach((seed) => state.seeds.add(seed));
    buildFilters();
    renderAll();
  }

  function hideAgents() {
    state.agents.clear();
    buildFilters();
    renderAll();
  }

  const count = (number, one, several) => `${number || "no"} ${number === 1 ? one : several}`;

  // ---- sections --------------------------------------------------------------------------------------------------

  function suiteSection(suite, index) {
    const element = h("section", { class: "suite", id: `suite-${index}`, "aria-label": suite.name });
    renderSuite(element, suite, index);
    return element;
  }

  function renderSuite(element, suite, index) {
    const section = state.sections[index];
    const comparison = suite.comparisons[section.comparison];
    const found = comparison ? rowsOf(suite, comparison) : null;
    const redraw = (changes) => {
      const focused = document.activeElement;
      const address =
        focused && element.contains(focused) ? [focused.name, focused.value, focused.getAttribute("aria-label")] : null;
      Object.assign(section, changes);
      renderSuite(element, suite, index);
      cards.flush();
      if (address) restoreFocus(element, address);
    };
    element.querySelectorAll(".plot").forEach((one) => Plotly.purge(one));
    element.replaceChildren(
      h("h2", {}, suite.name),
      h(
        "p",
        { class: "muted" },
        [
          count(suite.tasks.length, "task evaluated", "tasks evaluated"),
          count(suite.agents.filter((agent) => !agent.fixed).length, "agent", "agents"),
          count(suite.agents.filter((agent) => agent.fixed).length, "floor", "floors"),
          count(suite.runs.length, "run", "runs"),
        ].join(", "),
      ),
      ...[
        comparisonPicker(suite, section, redraw),
        ...(comparison
          ? comparisonCards(comparison, found)
          : [
              h(
                "p",
                { class: "note" },
                "No final evaluation yet: tables follow when a run has ended (`mtrl resume RUN` goes on, `mtrl eval RUN` evaluates the last checkpoint).",
              ),
            ]),
        suite.runs.some((run) => run.evaluations.length || run.training.length)
          ? cards.curves(suite, section, comparison, found, redraw)
          : null,
        adaptation(suite, rowsOf),
        cards.differences(suite),
        cards.videos(suite, section, redraw),
        cards.runs(suite),
      ].filter((one) => one),
    );
    // Curves come right after the final figures, where they are looked for.
    const drawn = [...element.querySelectorAll(":scope > .card")];
    const curves = drawn.find((one) => one.querySelector("h3")?.textContent.startsWith("Success curves"));
    if (comparison && curves && found.rows.length) drawn[0].after(curves);
  }

  function restoreFocus(element, [name, value, label]) {
    const inputs = [...element.querySelectorAll("input, select")];
    const match = inputs.find((one) =>
      label ? one.getAttribute("aria-label") === label : one.name === name && one.value === value,
    );
    if (match) match.focus({ preventScroll: true });
  }

  function comparisonPicker(suite, section, redraw) {
    if (suite.comparisons.length < 2) return null;
    const options = Object.fromEntries(
      suite.comparisons.map((one, place) => [
        place,
        suite.comparisons.filter((other) => other.label === one.label).length > 1
          ? `${one.label} (${one.details})`
          : one.label,
      ]),
    );
    return h(
      "div",
      { class: "controls picker" },
      choice("Show", `${suite.name}-comparison`, options, String(section.comparison), (place) =>
        redraw({ comparison: Number(place) }),
      ),
      h(
        "p",
        { class: "caption" },
        "Different protocols, goal sets or steps a task are never put in one ranking: choose which to see.",
      ),
    );
  }

  function comparisonCards(comparison, found) {
    if (!found.rows.length)
      return [h("p", { class: "empty" }, "Nothing is left to show: choose an agent and a seed above.")];
    return [
      cards.final(comparison, found),
      cards.heat(comparison, found),
      h("div", { class: found.rows.length > Figures.MANY ? "stack" : "pair" }, cards.profile(comparison, found), cards.improvement(comparison, found)),
    ];
  }

  function renderAll() {
    const content = byId("content");
    content.querySelectorAll(".plot").forEach((one) => Plotly.purge(one));
    const shown = data.suites
      .map((suite, index) => (state.suites.has(suite.name) ? suiteSection(suite, index) : null))
      .filter((one) => one);
    const runs = data.suites
      .filter((suite) => state.suites.has(suite.name))
      .flatMap((suite) =>
        suite.runs.filter(
          (run) =>
            state.agents.has(suite.agents[run.agent].label) &&
            (state.seeds.has(run.seed) || suite.agents[run.agent].fixed),
        ),
      );
    byId("shown").textContent =
      `${runs.length} of ${data.suites.reduce((sum, suite) => sum + suite.runs.length, 0)} runs shown`;
    content.replaceChildren(
      ...notes(),
      ...(shown.length ? shown : [h("p", { class: "empty" }, "No suite is chosen: choose one above.")]),
    );
    cards.flush();
  }

  function notes() {
    return data.notes.map((line) => h("p", { class: "note" }, line));
  }

  function header() {
    byId("title").textContent = data.title;
    const protocols = unique(data.suites.flatMap((suite) => suite.comparisons.map((one) => one.label)));
    const versions = data.versions.map((one) => `${one.name} ${one.version}`);
    byId("summary").replaceChildren(
      ...[protocols, versions].filter((list) => list.length).map((list) => h("span", {}, list.join(" · "))),
    );
    byId("made").textContent =
      `Written by mtrl ${data.mtrl} on ${data.created}. How to read each figure, and the formulae: docs/dashboard.md.`;
  }

  function start() {
    Theme.start(byId("theme"), () => {
      buildFilters(); // The swatches change too.
      renderAll();
    });
    narrowQuery.addEventListener("change", renderAll);
    byId("reset").addEventListener("click", showAll);
    byId("none").addEventListener("click", hideAgents);
    byId("none").hidden = labels.length <= Figures.MANY;
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    document.querySelector("#filters details").open = !narrowQuery.matches;
    header();
    buildFilters();
    renderAll();
    document.documentElement.dataset.ready = "true";
  }

  start();
})();

"use strict";
// The page: what is chosen, and what is drawn of it.
(() => {
  const { h } = Tables;
  const data = JSON.parse(document.getElementById("data").textContent);
  const METRIC_NAMES = { success_any: "success at any step", success_end: "success at the end" };
  const THRESHOLDS = Array.from({ length: 101 }, (_, index) => index / 100);
  const byId = (id) => document.getElementById(id);
  const unique = (values) => [...new Set(values)];
  const labels = unique(data.suites.flatMap((suite) => suite.agents.filter((agent) => !agent.fixed).map((agent) => agent.label)));
  const fixedLabels = unique(data.suites.flatMap((suite) => suite.agents.filter((agent) => agent.fixed).map((agent) => agent.label)));
  const seeds = unique(data.suites.flatMap((suite) => suite.runs.map((run) => run.seed))).sort((a, b) => a - b);
  const narrowQuery = window.matchMedia("(max-width: 700px)");
  const darkQuery = window.matchMedia("(prefers-color-scheme: dark)");
  const state = {
    suites: new Set(data.suites.map((suite) => suite.name)), agents: new Set([...labels, ...fixedLabels]), seeds: new Set(seeds), metric: "success_any",
    sections: data.suites.map((suite) => ({
      comparison: 0, axis: "steps", task: "", film: "", source: suite.runs.some((run) => run.evaluations.length > 1) ? "evaluations" : hasTraining(suite) ? "training" : "evaluations",
    })),
  };

  function hasTraining(suite) {
    return suite.runs.some((run) => run.training.length > 0);
  }

  const styleOf = (agent) => (agent.fixed ? Figures.floorStyle(agent.label) : Figures.style(labels.indexOf(agent.label)));
  const complete = () => state.seeds.size === seeds.length;

  // What is left of a comparison after the filters: one row an agent, ready for tables and figures.
  function rowsOf(suite, comparison) {
    const rows = comparison.entries.map((entry, place) => {
      const agent = suite.agents[entry.agent];
      const kept = entry.runs.map((_, index) => index).filter((index) => state.seeds.has(suite.runs[entry.runs[index]].seed) || agent.fixed);
      if (!kept.length || !state.agents.has(agent.label)) return null;
      const row = {
        place, label: agent.label, fixed: agent.fixed, style: styleOf(agent), steps: entry.steps,
        names: kept.map((index) => suite.runs[entry.runs[index]].seed), wall: Statistics.mean(kept.map((index) => entry.wall[index])),
      };
      for (const metric of Object.keys(METRIC_NAMES)) {
        const outcomes = kept.map((index) => entry[metric][index]);
        const scores = Statistics.scores(outcomes);
        row[metric] = { outcomes, scores, estimates: Statistics.estimates(scores), intervals: intervalsOf(entry, metric, kept, outcomes) };
      }
      return row;
    }).filter((row) => row);
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

  function chip(type, name, label, checked, onchange, color) {
    const input = h("input", { type, name, value: label, onchange });
    input.checked = checked;
    return h("label", { class: type === "radio" ? "chip one" : "chip" }, input, h("span", {}, color ? Tables.swatch(color) : null, label));
  }

  function choice(legend, name, options, value, choose) {
    return h("fieldset", {}, h("legend", {}, legend), Object.entries(options).map(([key, label]) => chip("radio", name, label, key === value, () => choose(key))));
  }

  function buildFilters() {
    const several = (id, names, chosen, text, color) => {
      const box = byId(id);
      box.querySelectorAll(".chip").forEach((one) => one.remove());
      box.hidden = names.length < 2;
      for (const name of names) {
        box.append(chip("checkbox", id, text(name), chosen.has(name), (event) => {
          event.target.checked ? chosen.add(name) : chosen.delete(name);
          renderAll();
        }, color && color(name)));
      }
    };
    several("filter-suite", data.suites.map((suite) => suite.name), state.suites, (name) => name);
    several("filter-agent", [...labels, ...fixedLabels], state.agents, (name) => name, (name) => styleOf({ label: name, fixed: fixedLabels.includes(name) && !labels.includes(name) }).color);
    several("filter-seed", seeds, state.seeds, String);
    const box = byId("filter-metric");
    box.querySelectorAll(".chip").forEach((one) => one.remove());
    for (const [metric, label] of [["success_any", "at any step"], ["success_end", "at the end"]]) {
      box.append(chip("radio", "metric", label, metric === state.metric, () => { state.metric = metric; renderAll(); }));
    }
  }

  function showAll() {
    data.suites.forEach((suite) => state.suites.add(suite.name));
    [...labels, ...fixedLabels].forEach((label) => state.agents.add(label));
    seeds.forEach((seed) => state.seeds.add(seed));
    buildFilters();
    renderAll();
  }

  // ---- cards -----------------------------------------------------------------------------------------------------

  function card(title, label, ...children) {
    return h("section", { class: "card" }, h("header", {}, h("h3", {}, title, label ? h("span", { class: "label" }, label) : null)), ...children);
  }

  function folded(title, note, build) {
    const details = h("details", {}, h("summary", {}, title, h("span", { class: "muted" }, note)));
    details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(build()); });
    return h("section", { class: "card" }, details);
  }

  const pending = [];
  function plot(figure, description, caption) {
    const element = h("div", { class: "plot" });
    pending.push([element, figure]);
    return h("figure", { "aria-label": description }, element, caption ? h("figcaption", {}, caption) : null);
  }

  function finalCard(comparison, found) {
    const { rows, learned, ranked } = found;
    const metric = state.metric;
    const points = rows.map((row) => ({
      label: row.label, fixed: row.fixed, style: row.style, names: row.names, seeds: row[metric].estimates.seeds, iqm: row[metric].estimates.iqm,
      interval: row[metric].intervals && row[metric].intervals.iqm,
    }));
    const few = learned.filter((row) => row.names.length < Statistics.MINIMUM_SEEDS);
    const order = ranked ? `Ordered by IQM of ${METRIC_NAMES[metric]}.` : "In alphabetical order, which is no ranking.";
    const say = points.map((row) => `${row.label}: IQM ${Figures.rate(row.iqm)}${row.interval ? `, interval ${Figures.range(row.interval)}` : ""}`).join("; ");
    return card("Final success", comparison.label,
      h("p", { class: "caption" }, `${comparison.details}. Every goal once a task, after training.`),
      few.length
        ? h("p", { class: "note few" }, `Points only for ${few.map((row) => `${row.label} (${row.names.length} seed${row.names.length === 1 ? "" : "s"})`).join(", ")}: no interval, no ranking under five seeds; a bootstrap over three covers 74 %, not 95 %.`)
        : null,
      plot(Figures.finals(points, METRIC_NAMES[metric], narrowQuery.matches), `Final ${METRIC_NAMES[metric]}. ${say}`,
        "Each point is a seed's mean over tasks, the stroke their interquartile mean (IQM), the bar its 95 % interval."),
      Tables.results(rows, comparison.tasks, `${comparison.label}. ${order} Below a figure its 95 % interval: seeds resampled, then goals within tasks. Choose an agent for its figures per task.`));
  }

  function curveCard(suite, section, comparison, found, redraw) {
    const training = section.source === "training";
    const task = suite.tasks.indexOf(section.task);
    const runs = suite.runs.filter((run) => state.seeds.has(run.seed) && state.agents.has(suite.agents[run.agent].label) && !suite.agents[run.agent].fixed);
    const valueOf = (point) => {
      const values = training ? point.success : point[state.metric];
      if (task >= 0) return values[task];
      const known = values.filter((value) => value !== null);
      return known.length ? Statistics.mean(known) : null;
    };
    const longest = Math.max(...runs.flatMap((run) => run[section.source].map((point) => point.wall)), 0);
    const [unit, unitName] = section.axis === "steps" ? [1, ""] : longest > 7200 ? [3600, "hours"] : longest > 180 ? [60, "minutes"] : [1, "seconds"];
    const groups = suite.agents.map((agent, index) => {
      const lines = runs.filter((run) => run.agent === index).map((run) => ({
        seed: run.seed, points: run[section.source].map((point) => ({ steps: point.steps, wall: point.wall / unit, y: valueOf(point) })).filter((point) => point.y !== null),
      })).filter((line) => line.points.length);
      return lines.length ? { label: agent.label, style: styleOf(agent), ...curveOf(lines, section.axis) } : null;
    }).filter((group) => group);
    const floors = comparison ? found.rows.filter((row) => row.fixed && (task < 0 || comparison.tasks.includes(section.task))).map((row) => ({
      label: row.label, style: row.style, value: task < 0 ? row[state.metric].estimates.mean : row[state.metric].estimates.tasks[comparison.tasks.indexOf(section.task)],
    })) : [];
    const metricName = training ? "success while training" : METRIC_NAMES[state.metric];
    const titles = { x: section.axis === "steps" ? "environment steps a task" : `wall-clock of training, ${unitName}`, y: metricName };
    const goals = unique(runs.flatMap((run) => run.evaluations.map((point) => point.goals))).sort((a, b) => a - b);
    const caption = training
      ? "Success at any step of training episodes, with exploration, averaged over neighbouring log lines."
      : `Evaluations on ${goals.join(" or ")} training goals a task, mode action.`;
    const picker = h("select", { "aria-label": "Task", onchange: (event) => redraw({ task: event.target.value }) },
      h("option", { value: "" }, "mean over tasks"), suite.tasks.map((name) => h("option", { value: name, selected: name === section.task }, name)));
    const name = `${suite.name}-`;
    const made = card("Success curves", "A-eval",
      groups.length
        ? plot(Figures.curves(groups, floors, titles, narrowQuery.matches), `Curves of ${metricName} over ${titles.x}. ${groups.map(lastOf).join("; ")}`,
            `${caption} With five seeds or more the line is the IQM over seeds with its 95 % interval, otherwise each seed has a line.${section.axis === "wall" ? " Points of several seeds sit at their mean time." : ""}`)
        : h("p", { class: "empty" }, "Nothing is left to draw: choose an agent and a seed above."));
    made.firstChild.append(h("div", { class: "controls" }, hasTraining(suite) ? choice("From", `${name}source`, { evaluations: "evaluations", training: "training" }, section.source, (source) => redraw({ source })) : null,
      choice("Over", `${name}axis`, { steps: "steps", wall: "wall-clock" }, section.axis, (axis) => redraw({ axis })), suite.tasks.length > 1 ? picker : null));
    if (training) made.querySelector(".label").textContent = "training episodes";
    return made;
  }

  const lastOf = (group) => `${group.label}: ends at ${Figures.rate((group.band ? group.y : group.lines[0].y).at(-1))}`;

  // Aggregated where five seeds are known; runs that stopped early take part as far as they went.
  function curveOf(lines, axis) {
    if (lines.length < Statistics.MINIMUM_SEEDS) return { lines: lines.map((line) => ({ seed: line.seed, x: line.points.map((point) => point[axis]), y: line.points.map((point) => point.y) })) };
    const grid = lines.reduce((longest, line) => (line.points.at(-1).steps > longest.at(-1).steps ? line.points : longest), lines[0].points).map((point) => point.steps);
    const curve = { x: [], y: [], band: [], counts: [] };
    for (const steps of grid) {
      const present = lines.map((line) => at(line.points, steps)).filter((point) => point);
      if (present.length < Statistics.MINIMUM_SEEDS) continue;
      const values = present.map((point) => point.y);
      curve.x.push(axis === "steps" ? steps : Statistics.mean(present.map((point) => point.wall)));
      curve.y.push(Statistics.iqm(values));
      curve.band.push(Statistics.seedInterval(values));
      curve.counts.push(values.length);
    }
    return curve;
  }

  // A run's curve at some step, by linear interpolation; null outside of it.
  function at(points, steps) {
    const after = points.findIndex((point) => point.steps >= steps);
    if (after < 0 || (after === 0 && points[0].steps > steps)) return null;
    if (points[after].steps === steps) return points[after];
    const [left, right] = [points[after - 1], points[after]];
    const share = (steps - left.steps) / (right.steps - left.steps);
    return { y: left.y + share * (right.y - left.y), wall: left.wall + share * (right.wall - left.wall) };
  }

  function heatCard(comparison, found) {
    const values = found.rows.map((row) => row[state.metric].estimates.tasks);
    const worst = found.rows.map((row, index) => `${row.label}: lowest on ${comparison.tasks[values[index].indexOf(Math.min(...values[index]))]}, ${Figures.rate(Math.min(...values[index]))}`);
    return card("Success by task", comparison.label,
      plot(Figures.heat(found.rows.map((row) => row.label), comparison.tasks, values, narrowQuery.matches, METRIC_NAMES[state.metric]),
        `Heat map of ${METRIC_NAMES[state.metric]}, agents by tasks. ${worst.join("; ")}`, `Mean over seeds of ${METRIC_NAMES[state.metric]}.`));
  }

  function profileCard(comparison, found) {
    const groups = found.rows.map((row) => {
      const scores = row[state.metric].scores;
      return { label: row.label, fixed: row.fixed, style: row.style, y: Statistics.profile(scores, THRESHOLDS), bands: row.fixed ? null : Statistics.profileBands(scores, THRESHOLDS) };
    });
    const half = groups.map((group) => `${group.label}: ${Figures.rate(group.y[50])} above 0.5`).join("; ");
    return card("Performance profile", comparison.label, plot(Figures.profiles(groups, THRESHOLDS, narrowQuery.matches, METRIC_NAMES[state.metric]), `Performance profile. ${half}`,
      "How many of all pairs of seed and task have more success than τ; higher is better. Bands (five seeds or more): 95 % over seeds."));
  }

  function improvementCard(comparison, found) {
    const able = found.learned.filter((row) => row.names.length >= Statistics.MINIMUM_SEEDS);
    if (able.length < 2) {
      return card("Probability of improvement", comparison.label, h("p", { class: "empty" }, "Needs two agents with five seeds or more each: train more seeds with --seed."));
    }
    const cells = able.map((one) => able.map((other) => (one === other ? null : improvementOf(comparison, one, other))));
    const say = able.flatMap((one, row) => able.map((other, column) => (row < column ? `${one.label} better than ${other.label}: ${Figures.rate(cells[row][column].value)}, interval ${Figures.range(cells[row][column].interval)}` : null))).filter((text) => text);
    return card("Probability of improvement", comparison.label, plot(Figures.improvements(able.map((row) => row.label), cells, narrowQuery.matches), say.join("; "),
      "How likely a run of the row's agent beats one of the column's on a task drawn at random, ties half; below it the 95 % interval over seeds. An interval that holds 0.5 leaves it open."));
  }

  function improvementOf(comparison, one, other) {
    const whole = (row) => row.names.length === comparison.entries[row.place].runs.length;
    if (whole(one) && whole(other)) return comparison.improvement.find((cell) => cell.metric === state.metric && cell.one === one.place && cell.other === other.place);
    return Statistics.improvement(one[state.metric].scores, other[state.metric].scores);
  }

  function differencesCard(suite) {
    const learned = suite.agents.filter((agent) => !agent.fixed);
    const shown = learned.map((agent, index) => ({ label: agent.label, text: (row) => row.values[index] })).filter((agent) => state.agents.has(agent.label));
    if (!suite.differences.length || !shown.length) return null;
    return folded("Configuration differences", `${suite.differences.length} fields`, () => Tables.differences(suite.differences, shown));
  }

  function videoCard(suite, section, redraw) {
    const films = suite.runs.flatMap((run) => run.videos.map((video) => ({ ...video, label: suite.agents[run.agent].label, seed: run.seed })));
    const left = films.filter((film) => state.agents.has(film.label) && state.seeds.has(film.seed));
    if (!left.length) return null;
    const tasks = unique(left.map((film) => film.task)).sort((a, b) => suite.tasks.indexOf(a) - suite.tasks.indexOf(b));
    const task = tasks.includes(section.film) ? section.film : tasks[0];
    const made = card("Videos", "", Tables.films(left.filter((film) => film.task === task)));
    made.classList.add("videos");
    made.firstChild.append(h("div", { class: "controls" }, h("select", { "aria-label": "Task of the videos", onchange: (event) => redraw({ film: event.target.value }) },
      tasks.map((name) => h("option", { value: name, selected: name === task }, name)))));
    return made;
  }

  function runsCard(suite) {
    const runs = suite.runs.map((run) => ({ ...run, label: suite.agents[run.agent].label, fixed: suite.agents[run.agent].fixed }))
      .filter((run) => state.agents.has(run.label) && (state.seeds.has(run.seed) || run.fixed));
    const open = runs.filter((run) => !run.finished).length;
    return folded("Runs", `${runs.length} in all${open ? `, ${open} unfinished` : ""}`, () => Tables.runs(runs));
  }

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
      const address = focused && element.contains(focused) ? [focused.name, focused.value, focused.getAttribute("aria-label")] : null;
      Object.assign(section, changes);
      renderSuite(element, suite, index);
      flush();
      if (address) restoreFocus(element, address);
    };
    element.querySelectorAll(".plot").forEach((one) => Plotly.purge(one));
    element.replaceChildren(h("h2", {}, suite.name),
      h("p", { class: "muted" }, `${suite.tasks.length || "no"} task${suite.tasks.length === 1 ? "" : "s"} evaluated, ${suite.agents.length} agents, ${suite.runs.length} runs`),
      ...[comparisonPicker(suite, section, redraw), ...(comparison ? comparisonCards(comparison, found) : [h("p", { class: "note" }, "No final evaluation yet: tables follow when a run has ended (`mtrl resume RUN` goes on, `mtrl eval RUN` evaluates the last checkpoint).")]),
        suite.runs.some((run) => run.evaluations.length || run.training.length) ? curveCard(suite, section, comparison, found, redraw) : null,
        differencesCard(suite), videoCard(suite, section, redraw), runsCard(suite)].filter((one) => one));
    // Curves come right after the final figures, where they are looked for.
    const cards = [...element.querySelectorAll(":scope > .card")];
    const curves = cards.find((one) => one.querySelector("h3")?.textContent.startsWith("Success curves"));
    if (comparison && curves && found.rows.length) cards[0].after(curves);
  }

  function restoreFocus(element, [name, value, label]) {
    const inputs = [...element.querySelectorAll("input, select")];
    const match = inputs.find((one) => (label ? one.getAttribute("aria-label") === label : one.name === name && one.value === value));
    if (match) match.focus({ preventScroll: true });
  }

  function comparisonPicker(suite, section, redraw) {
    if (suite.comparisons.length < 2) return null;
    const options = Object.fromEntries(suite.comparisons.map((one, place) => [place, suite.comparisons.filter((other) => other.label === one.label).length > 1 ? `${one.label} (${one.details})` : one.label]));
    return h("div", { class: "controls picker" }, choice("Show", `${suite.name}-comparison`, options, String(section.comparison), (place) => redraw({ comparison: Number(place) })),
      h("p", { class: "caption" }, "Different protocols, goal sets or steps a task are never put in one ranking: choose which to see."));
  }

  function comparisonCards(comparison, found) {
    if (!found.rows.length) return [h("p", { class: "empty" }, "Nothing is left to show: choose an agent and a seed above.")];
    return [finalCard(comparison, found), heatCard(comparison, found), h("div", { class: "pair" }, profileCard(comparison, found), improvementCard(comparison, found))];
  }

  function flush() {
    for (const [element, figure] of pending.splice(0)) Figures.draw(element, figure, narrowQuery.matches);
  }

  function renderAll() {
    const content = byId("content");
    content.querySelectorAll(".plot").forEach((one) => Plotly.purge(one));
    const shown = data.suites.map((suite, index) => (state.suites.has(suite.name) ? suiteSection(suite, index) : null)).filter((one) => one);
    const runs = data.suites.filter((suite) => state.suites.has(suite.name)).flatMap((suite) => suite.runs.filter((run) => state.agents.has(suite.agents[run.agent].label) && (state.seeds.has(run.seed) || suite.agents[run.agent].fixed)));
    byId("shown").textContent = `${runs.length} of ${data.suites.reduce((sum, suite) => sum + suite.runs.length, 0)} runs shown`;
    content.replaceChildren(...notes(), ...(shown.length ? shown : [h("p", { class: "empty" }, "No suite is chosen: choose one above.")]));
    flush();
  }

  function notes() {
    return data.notes.map((line) => h("p", { class: "note" }, line));
  }

  function header() {
    byId("title").textContent = data.title;
    const protocols = unique(data.suites.flatMap((suite) => suite.comparisons.map((one) => one.label)));
    const versions = data.versions.map((one) => `${one.name} ${one.version}`);
    byId("summary").replaceChildren(...[protocols, versions].filter((list) => list.length).map((list) => h("span", {}, list.join(" · "))));
    byId("made").textContent = `Written by mtrl ${data.mtrl} on ${data.created}. How to read each figure, and the formulae: docs/dashboard.md.`;
  }

  // ---- theme -------------------------------------------------------------------------------------------------------

  function remembered(value) {
    try {
      if (value) localStorage.setItem("mtrl-theme", value);
      return localStorage.getItem("mtrl-theme");
    } catch {
      return value; // Some browsers keep nothing for pages from disk.
    }
  }

  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    byId("theme").textContent = theme === "dark" ? "Light theme" : "Dark theme";
  }

  function start() {
    setTheme(remembered() || (darkQuery.matches ? "dark" : "light"));
    byId("theme").addEventListener("click", () => {
      const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      remembered(next);
      setTheme(next);
      buildFilters();
      renderAll();
    });
    darkQuery.addEventListener("change", () => { if (!remembered()) { setTheme(darkQuery.matches ? "dark" : "light"); buildFilters(); renderAll(); } });
    narrowQuery.addEventListener("change", renderAll);
    byId("reset").addEventListener("click", showAll);
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    document.querySelector("#filters details").open = !narrowQuery.matches;
    header();
    buildFilters();
    renderAll();
    document.documentElement.dataset.ready = "true";
  }

  start();
})();

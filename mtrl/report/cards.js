"use strict";
// The cards of a suite: title, controls, figure or table, and a line on how to read it.
// `state` is what is chosen, `narrow` whether the page is, `styleOf` an agent's colours.
const makeCards = ({ state, narrow, styleOf }) => {
  const { h } = Tables;
  const { METRIC_NAMES, unique, hasTraining, choice } = Controls;
  const THRESHOLDS = Array.from({ length: 101 }, (_, index) => index / 100);

  function card(title, label, ...children) {
    return h(
      "section",
      { class: "card" },
      h("header", {}, h("h3", {}, title, label ? h("span", { class: "label" }, label) : null)),
      ...children,
    );
  }

  function folded(title, note, build) {
    const details = h("details", {}, h("summary", {}, title, h("span", { class: "muted" }, note)));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(build());
    });
    return h("section", { class: "card" }, details);
  }

  const pending = [];
  function plot(figure, description, caption) {
    const element = h("div", { class: "plot" });
    pending.push([element, figure]);
    return h("figure", { "aria-label": description }, element, caption ? h("figcaption", {}, caption) : null);
  }

  // Which agents have how many seeds; their number where they are too many to be read one by one.
  function withSeeds(rows) {
    const say = (names, count) => `${names} (${count} seed${count === 1 ? "" : "s"})`;
    if (rows.length <= Figures.MANY) return rows.map((row) => say(row.label, row.names.length)).join(", ");
    return unique(rows.map((row) => row.names.length))
      .sort((a, b) => a - b)
      .map((count) => [count, rows.filter((row) => row.names.length === count).length])
      .map(([count, agents]) => say(`${agents} agent${agents === 1 ? "" : "s"}`, count))
      .join(", ");
  }

  function final(comparison, found) {
    const { rows, learned, ranked } = found;
    const metric = state.metric;
    const points = rows.map((row) => ({
      label: row.label,
      fixed: row.fixed,
      style: row.style,
      names: row.names,
      seeds: row[metric].estimates.seeds,
      iqm: row[metric].estimates.iqm,
      interval: row[metric].intervals && row[metric].intervals.iqm,
    }));
    const few = learned.filter((row) => row.names.length < Statistics.MINIMUM_SEEDS);
    const order = ranked ? `Ordered by IQM of ${METRIC_NAMES[metric]}.` : "In alphabetical order, which is no ranking.";
    const say = points
      .map(
        (row) =>
          `${row.label}: IQM ${Figures.rate(row.iqm)}${row.interval ? `, interval ${Figures.range(row.interval)}` : ""}`,
      )
      .join("; ");
    return card(
      "Final success",
      comparison.label,
      h("p", { class: "caption" }, `${comparison.details}. Every goal once a task, after training.`),
      few.length
        ? h(
            "p",
            { class: "note few" },
            `Points only for ${withSeeds(few)}: no interval, no ranking under five seeds; a bootstrap over three covers 74 %, not 95 %.`,
          )
        : null,
      plot(
        Figures.finals(points, METRIC_NAMES[metric], narrow()),
        `Final ${METRIC_NAMES[metric]}. ${say}`,
        "Each point is a seed's mean over tasks, the stroke their interquartile mean (IQM), the bar its 95 % interval.",
      ),
      Tables.results(
        rows,
        comparison.tasks,
        `${comparison.label}. ${order} Below a figure its 95 % interval: seeds resampled, then goals within tasks. Choose an agent for its figures per task.`,
      ),
    );
  }

  function curves(suite, section, comparison, found, redraw) {
    const training = section.source === "training";
    const task = suite.tasks.indexOf(section.task);
    const runs = suite.runs.filter(
      (run) =>
        state.seeds.has(run.seed) && state.agents.has(suite.agents[run.agent].label) && !suite.agents[run.agent].fixed,
    );
    const valueOf = (point) => {
      const values = training ? point.success : point[state.metric];
      if (task >= 0) return values[task];
      const known = values.filter((value) => value !== null);
      return known.length ? Statistics.mean(known) : null;
    };
    const longest = Math.max(...runs.flatMap((run) => run[section.source].map((point) => point.wall)), 0);
    const [unit, unitName] =
      section.axis === "steps"
        ? [1, ""]
        : longest > 7200
          ? [3600, "hours"]
          : longest > 180
            ? [60, "minutes"]
            : [1, "seconds"];
    const groups = suite.agents
      .map((agent, index) => {
        const lines = runs
          .filter((run) => run.agent === index)
          .map((run) => ({
            seed: run.seed,
            points: run[section.source]
              .map((point) => ({ steps: point.steps, wall: point.wall / unit, y: valueOf(point) }))
              .filter((point) => point.y !== null),
          }))
          .filter((line) => line.points.length);
        return lines.length
          ? { label: agent.label, style: styleOf(agent), ...Statistics.curve(lines, section.axis) }
          : null;
      })
      .filter((group) => group);
    const floors = comparison
      ? found.rows
          .filter((row) => row.fixed && (task < 0 || comparison.tasks.includes(section.task)))
          .map((row) => ({
            label: row.label,
            style: row.style,
            value:
              task < 0
                ? row[state.metric].estimates.mean
                : row[state.metric].estimates.tasks[comparison.tasks.indexOf(section.task)],
          }))
      : [];
    const metricName = training ? "success while training" : METRIC_NAMES[state.metric];
    const titles = {
      x: section.axis === "steps" ? "environment steps a task" : `wall-clock of training, ${unitName}`,
      y: metricName,
    };
    const goals = unique(runs.flatMap((run) => run.evaluations.map((point) => point.goals))).sort((a, b) => a - b);
    const caption = training
      ? "Success at any step of training episodes, with exploration, averaged over neighbouring log lines."
      : `Evaluations on ${goals.join(" or ")} training goals a task, mode action.`;
    const picker = h(
      "select",
      { "aria-label": "Task", onchange: (event) => redraw({ task: event.target.value }) },
      h("option", { value: "" }, "mean over tasks"),
      suite.tasks.map((name) => h("option", { value: name, selected: name === section.task }, name)),
    );
    const name = `${suite.name}-`;
    const made = card(
      "Success curves",
      "A-eval",
      groups.length
        ? plot(
            Figures.curves(groups, floors, titles, narrow()),
            `Curves of ${metricName} over ${titles.x}. ${groups.map(lastOf).join("; ")}`,
            `${caption} With five seeds or more the line is the IQM over seeds with its 95 % interval, otherwise each seed has a line.${section.axis === "wall" ? " Points of several seeds sit at their mean time." : ""}`,
          )
        : h("p", { class: "empty" }, "Nothing is left to draw: choose an agent and a seed above."),
    );
    made.firstChild.append(
      h(
        "div",
        { class: "controls" },
        hasTraining(suite)
          ? choice(
              "From",
              `${name}source`,
              { evaluations: "evaluations", training: "training" },
              section.source,
              (source) => redraw({ source }),
            )
          : null,
        choice("Over", `${name}axis`, { steps: "steps", wall: "wall-clock" }, section.axis, (axis) => redraw({ axis })),
        suite.tasks.length > 1 ? picker : null,
      ),
    );
    if (training) made.querySelector(".label").textContent = "training episodes";
    return made;
  }

  const lastOf = (group) => `${group.label}: ends at ${Figures.rate((group.band ? group.y : group.lines[0].y).at(-1))}`;

  function heat(comparison, found) {
    const values = found.rows.map((row) => row[state.metric].estimates.tasks);
    const worst = found.rows.map(
      (row, index) =>
        `${row.label}: lowest on ${comparison.tasks[values[index].indexOf(Math.min(...values[index]))]}, ${Figures.rate(Math.min(...values[index]))}`,
    );
    return card(
      "Success by task",
      comparison.label,
      plot(
        Matrices.heat(
          found.rows.map((row) => row.label),
          comparison.tasks,
          values,
          narrow(),
        ),
        `Heat map of ${METRIC_NAMES[state.metric]}, agents by tasks. ${worst.join("; ")}`,
        `Mean over seeds of ${METRIC_NAMES[state.metric]}.`,
      ),
    );
  }

  function profile(comparison, found) {
    const groups = found.rows.map((row) => {
      const scores = row[state.metric].scores;
      return {
        label: row.label,
        fixed: row.fixed,
        style: row.style,
        y: Statistics.profile(scores, THRESHOLDS),
        bands: row.fixed ? null : Statistics.profileBands(scores, THRESHOLDS),
      };
    });
    const half = groups.map((group) => `${group.label}: ${Figures.rate(group.y[50])} above 0.5`).join("; ");
    return card(
      "Performance profile",
      comparison.label,
      plot(
        Figures.profiles(groups, THRESHOLDS, narrow(), METRIC_NAMES[state.metric]),
        `Performance profile. ${half}`,
        "How many of all pairs of seed and task have more success than τ; higher is better. Bands (five seeds or more): 95 % over seeds.",
      ),
    );
  }

  function improvement(comparison, found) {
    const able = found.learned.filter((row) => row.names.length >= Statistics.MINIMUM_SEEDS);
    if (able.length < 2) {
      return card(
        "Probability of improvement",
        comparison.label,
        h("p", { class: "empty" }, "Needs two agents with five seeds or more each: train more seeds with --seed."),
      );
    }
    const cells = able.map((one) =>
      able.map((other) => (one === other ? null : improvementOf(comparison, one, other))),
    );
    const say = able
      .flatMap((one, row) =>
        able.map((other, column) =>
          row < column
            ? `${one.label} better than ${other.label}: ${Figures.rate(cells[row][column].value)}, interval ${Figures.range(cells[row][column].interval)}`
            : null,
        ),
      )
      .filter((text) => text);
    return card(
      "Probability of improvement",
      comparison.label,
      plot(
        Matrices.improvements(
          able.map((row) => row.label),
          cells,
          narrow(),
        ),
        say.join("; "),
        "How likely a run of the row's agent beats one of the column's on a task drawn at random, ties half; below it the 95 % interval over seeds. An interval that holds 0.5 leaves it open.",
      ),
    );
  }

  function improvementOf(comparison, one, other) {
    const whole = (row) => row.names.length === comparison.entries[row.place].runs.length;
    if (whole(one) && whole(other))
      return comparison.improvement.find(
        (cell) => cell.metric === state.metric && cell.one === one.place && cell.other === other.place,
      );
    return Statistics.improvement(one[state.metric].scores, other[state.metric].scores);
  }

  function differences(suite) {
    const learned = suite.agents.filter((agent) => !agent.fixed);
    const shown = learned
      .map((agent, index) => ({ label: agent.label, text: (row) => row.values[index] }))
      .filter((agent) => state.agents.has(agent.label));
    if (!suite.differences.length || !shown.length) return null;
    return folded("Configuration differences", suite.differences.length === 1 ? "1 field" : `${suite.differences.length} fields`, () =>
      Tables.differences(suite.differences, shown),
    );
  }

  function videos(suite, section, redraw) {
    const films = suite.runs.flatMap((run) =>
      run.videos.map((video) => ({ ...video, label: suite.agents[run.agent].label, seed: run.seed })),
    );
    const left = films.filter((film) => state.agents.has(film.label) && state.seeds.has(film.seed));
    if (!left.length) return null;
    const tasks = unique(left.map((film) => film.task)).sort((a, b) => suite.tasks.indexOf(a) - suite.tasks.indexOf(b));
    const task = tasks.includes(section.film) ? section.film : tasks[0];
    const made = card("Videos", "", Tables.films(left.filter((film) => film.task === task)));
    made.classList.add("videos");
    made.firstChild.append(
      h(
        "div",
        { class: "controls" },
        h(
          "select",
          { "aria-label": "Task of the videos", onchange: (event) => redraw({ film: event.target.value }) },
          tasks.map((name) => h("option", { value: name, selected: name === task }, name)),
        ),
      ),
    );
    return made;
  }

  function runs(suite) {
    const runs = suite.runs
      .map((run) => ({ ...run, label: suite.agents[run.agent].label, fixed: suite.agents[run.agent].fixed }))
      .filter((run) => state.agents.has(run.label) && (state.seeds.has(run.seed) || run.fixed));
    const open = runs.filter((run) => !run.finished).length;
    return folded("Runs", `${runs.length} in all${open ? `, ${open} unfinished` : ""}`, () => Tables.runs(runs));
  }

  function flush() {
    for (const [element, figure] of pending.splice(0)) Figures.draw(element, figure, narrow());
  }

  return { card, plot, flush, final, curves, heat, profile, improvement, differences, videos, runs };
};

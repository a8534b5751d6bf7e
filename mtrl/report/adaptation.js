"use strict";
// The card of agents that learn to learn: success of the first, second ... episode of their trials.
const makeAdaptation = ({ state, narrow, card, plot }) => {
  const { METRIC_NAMES } = Controls;
  const DASHES = [
    [" on other goals", "longdashdot"],
    [" that are forgotten", "longdash"],
    ["A-heldout", "dash"],
    ["A-test", "dot"],
  ];

  const dashOf = (label) => (DASHES.find(([part]) => label.includes(part)) || ["", "solid"])[1];
  const mean = (lines, place) => Statistics.mean(lines.map((line) => line.y.at(place)));

  // All comparisons of a suite in one figure: goals and tasks that were trained on beside those that were not.
  return (suite, rowsOf) => {
    const groups = suite.comparisons.flatMap((comparison) =>
      rowsOf(suite, comparison)
        .rows.filter((row) => row.adaptation)
        .map((row) => ({
          label: `${row.label}, ${comparison.label}`,
          style: { ...row.style, dash: dashOf(comparison.label) },
          lines: row.names.map((seed, index) => {
            const y = row.adaptation[index][state.metric];
            return { seed, x: y.map((_, place) => place + 1), y };
          }),
        })),
    );
    if (!groups.length) return null;
    const say = groups.map(
      ({ label, lines }) => `${label}: from ${Figures.rate(mean(lines, 0))} to ${Figures.rate(mean(lines, -1))}`,
    );
    return card(
      "Adaptation",
      "",
      plot(
        Figures.curves(groups, [], { x: "episode of a trial", y: METRIC_NAMES[state.metric] }, narrow()),
        `Adaptation curves of ${METRIC_NAMES[state.metric]}. ${say.join("; ")}`,
        "One line a seed, mean over tasks and goals; a trial stays with its goal. The label says after how many episodes they count. Solid: goals that were trained on; dashed: others of the same tasks; dotted: tasks never trained on; long dashes: controls, which adapt on other goals or forget.",
      ),
    );
  };
};

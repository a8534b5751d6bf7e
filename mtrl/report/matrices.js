"use strict";
// Figures for plotly that are matrices: agents by tasks, and agents by agents.
const Matrices = (() => {
  const { MANY, plain, wrap, cut, rate, isDark, css, axis, layout } = Figures;

  // Agents by tasks, turned on its side where the page is narrow and the agents are few.
  function heat(labels, tasks, values, narrow) {
    const turn = narrow && labels.length <= MANY;
    const rows = labels.map((label) => (narrow && !turn ? cut(label, 20) : wrap(label, narrow ? 18 : 34)));
    const columns = tasks.map(plain);
    const z = turn ? tasks.map((_, task) => values.map((row) => row[task])) : values;
    // Numbers where they fit into the cells: on a phone about 310 pixels are left to both names and cells.
    const sparse = turn ? (310 - 7 * longest(tasks)) / labels.length > 30 : tasks.length <= (narrow ? 4 : 16);
    const say = z.map((row, y) =>
      row.map((_, x) => `${turn ? rows[x] : rows[y]}<br>${turn ? columns[y] : columns[x]}`),
    );
    // Places on the axis and not names, since two names may be equal once shortened.
    const ticks = (names) => ({
      tickvals: names.map((_, index) => index),
      ticktext: names,
      showgrid: false,
      fixedrange: true,
    });
    const upright = turn ? labels.length > 3 : narrow;
    const height = turn
      ? 70 + (upright ? 8 * Math.min(longest(labels), 18) : 30) + 26 * tasks.length
      : 70 + Math.max(labels.length > MANY ? 28 : 36, 17 * deepest(rows)) * labels.length +
        (upright ? 8 * longest(tasks) : tasks.length > 6 ? longest(tasks) * 5.5 : 0);
    return {
      data: [
        {
          type: "heatmap",
          z,
          zmin: 0,
          zmax: 1,
          colorscale: "Cividis",
          xgap: 1,
          ygap: 1,
          customdata: say,
          showscale: !narrow,
          hovertemplate: "%{customdata}<br>%{z:.3f}<extra></extra>",
          colorbar: {
            thickness: 10,
            len: 1,
            outlinewidth: 0,
            tickvals: [0, 0.5, 1],
          },
        },
      ],
      layout: layout(height, narrow, {
        annotations: sparse ? z.flatMap((row, y) => row.map((value, x) => inCell(x, y, value))) : [],
        xaxis: axis("", {
          ...ticks(turn ? rows : columns),
          side: turn ? "top" : "bottom",
          tickangle: upright ? -90 : turn ? 0 : tasks.length > 6 ? -50 : 0,
        }),
        yaxis: axis("", { ...ticks(turn ? columns : rows), autorange: "reversed" }),
      }),
    };
  }

  // Black or white, whichever stands out from Cividis at that value.
  const inCell = (x, y, value) => ({
    x,
    y,
    text: rate(value),
    showarrow: false,
    font: { size: 12, color: value > 0.42 ? "#000000" : "#ffffff" },
  });

  const deepest = (names) => Math.max(...names.map((name) => name.split("<br>").length), 0);
  const longest = (names) => Math.max(...names.map((name) => name.length), 0);

  // Rows against columns; above one half the row is the better one. Intervals are in the cells where there is room.
  function improvements(labels, cells, narrow) {
    const many = labels.length > MANY;
    const bare = narrow && many;
    const rows = labels.map((label) => (bare ? cut(label, 18) : wrap(label, narrow ? 12 : many ? 34 : 18)));
    const z = labels.map((_, one) => labels.map((_, other) => (cells[one][other] ? cells[one][other].value : null)));
    const tight = many || (narrow && labels.length > 3);
    const edges = (cell) => `${rate(cell.interval[0])}–${rate(cell.interval[1])}`;
    const text = cells.map((row) =>
      row.map((cell) => (cell && !bare ? rate(cell.value) + (tight ? "" : `<br>${edges(cell)}`) : "")),
    );
    const say = cells.map((row, one) =>
      row.map((cell, other) =>
        cell ? `${plain(labels[one])} better than<br>${plain(labels[other])}: ${edges(cell)}` : "",
      ),
    );
    const ticks = {
      tickvals: labels.map((_, index) => index),
      ticktext: rows,
      showgrid: false,
      fixedrange: true,
      tickfont: { size: bare ? 10 : 13 },
    };
    const scale = isDark()
      ? [
          [0, "#c8691f"],
          [0.5, "#2a2d33"],
          [1, "#2f7fc0"],
        ]
      : [
          [0, "#e08a3c"],
          [0.5, "#f4f4f1"],
          [1, "#5a9fd4"],
        ];
    const height = many
      ? 130 + (bare ? 0 : 7 * longest(rows.flatMap((row) => row.split("<br>")))) + (narrow ? 17 : Math.max(26, 17 * deepest(rows))) * labels.length
      : Math.min(520, 110 + 62 * labels.length) + (tight ? 60 : 0);
    return {
      data: [
        {
          type: "heatmap",
          z,
          text,
          texttemplate: "%{text}",
          textfont: { size: labels.length > 5 ? 10 : 12, color: css("--text") },
          zmin: 0,
          zmax: 1,
          colorscale: scale,
          xgap: 2,
          ygap: 2,
          hoverongaps: false,
          showscale: false,
          customdata: say,
          hovertemplate: "%{customdata}<br>%{z:.3f}<extra></extra>",
        },
      ],
      layout: layout(height, narrow, {
        xaxis: axis(bare ? "… better than this one, in the same order" : "… better than this one", {
          ...ticks,
          side: "bottom",
          tickangle: tight ? -90 : 0,
          showticklabels: !bare,
        }),
        yaxis: axis("", { ...ticks, autorange: "reversed" }),
      }),
    };
  }

  return { heat, improvements };
})();

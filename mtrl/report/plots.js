"use strict";
// Figures for plotly, from plain numbers. Nothing here reads the page but its colours.
const Figures = (() => {
  // Hues that stay apart for the common kinds of colour blindness, at 3:1 or more against their background.
  const LIGHT = ["#0067a5", "#c04a00", "#007a56", "#7d35e9", "#282145", "#b66897", "#5c0a0a", "#2e2e9e"];
  const DARK = ["#5eb5f2", "#f2924a", "#41c99b", "#8c4ceb", "#e7e727", "#c94545", "#cde7f9", "#a95197"];
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "pentagon", "star", "triangle-down"];
  const MANY = 8; // agents that each have a hue of their own; with more, figures are larger and bands fainter
  const FLOOR_DASHES = { zero: "dot", random: "dash", repeat: "dashdot" };

  // Plotly reads a little HTML in its texts; names of runs must not be taken for any.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const rate = (value) => value.toFixed(2);
  const range = (interval) => (interval ? `${rate(interval[0])} to ${rate(interval[1])}` : "");
  const wrap = (text, width) => {
    const lines = [""];
    for (const word of String(text).split(/(?<=[ ,_/=+-])/)) {
      if (lines.at(-1) && (lines.at(-1) + word).length > width) lines.push("");
      lines[lines.length - 1] += word;
    }
    return lines.map(plain).join("<br>");
  };

  const cut = (text, length) => plain(text.length > length ? `${text.slice(0, length - 1)}…` : text);

  // The same within a hover template, where a percent sign has a meaning.
  const literal = (text) => text.replace(/%/g, "&#37;");

  const isDark = () => document.documentElement.dataset.theme === "dark";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Agents of one hue differ in dash and in marker.
  function style(index) {
    const colours = isDark() ? DARK : LIGHT;
    const round = Math.floor(index / colours.length);
    return {
      color: colours[index % colours.length],
      dash: DASHES[round % DASHES.length],
      symbol: SYMBOLS[(index + 3 * round) % SYMBOLS.length],
    };
  }

  const floorStyle = (label) => ({ color: css("--floor"), dash: FLOOR_DASHES[label] || "dot", symbol: "x" });
  const faint = (color, alpha) => {
    const [red, green, blue] = [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
    return `rgba(${red},${green},${blue},${alpha})`;
  };

  function axis(title, extra) {
    return {
      title: { text: title, standoff: 8 },
      gridcolor: css("--line"),
      linecolor: css("--line"),
      zeroline: false,
      automargin: true,
      ...extra,
    };
  }

  const rateAxis = (title, extra) =>
    axis(title, { range: [-0.03, 1.03], tickvals: [0, 0.2, 0.4, 0.6, 0.8, 1], ...extra });

  // Height of the legend below a figure, as plotly lays it out: names in rows, as many as fit into one.
  function legendHeight(names, width) {
    let [rows, left] = [0, 0];
    for (const name of names) {
      const lines = name.split("<br>");
      const size = 52 + 7.2 * Math.max(...lines.map((line) => line.length));
      if (size > left) [rows, left] = [rows + Math.max(1, 0.6 * lines.length), width];
      left -= size;
    }
    return 26 * rows;
  }

  function layout(height, narrow, extra) {
    return {
      // The buttons get a lane of their own above the figure, where there are any.
      height,
      margin: { l: 8, r: 12, t: narrow ? 10 : 30, b: 8 },
      paper_bgcolor: css("--card"),
      plot_bgcolor: css("--card"),
      modebar: { bgcolor: css("--card"), color: css("--muted"), activecolor: css("--text") },
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--text") },
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--muted"), font: { color: css("--text"), size: 13 } },
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, xanchor: "left", maxheight: 1 },
      dragmode: narrow ? false : "zoom",
      showlegend: false,
      ...extra,
    };
  }

  // One row an agent: seeds as points, the interquartile mean as a stroke, its interval as a bar.
  function finals(rows, metricName, narrow) {
    const data = [];
    rows.forEach((row, index) => {
      const y = rows.length - 1 - index;
      const say = `<b>${plain(row.label)}</b><br>IQM ${rate(row.iqm)} ${plain(range(row.interval))}`;
      if (row.interval) {
        data.push({
          x: row.interval,
          y: [y, y],
          mode: "lines",
          line: { color: faint(row.style.color, 0.35), width: 14 },
          hoverinfo: "skip",
        });
      }
      data.push({
        x: row.seeds,
        y: row.seeds.map((_, place) => y + spread(place, row.seeds.length)),
        mode: "markers",
        marker: { color: row.style.color, size: 7, opacity: 0.85, symbol: row.style.symbol },
        text: row.names.map((name) => `${plain(row.label)}, seed ${plain(name)}`),
        hovertemplate: "%{text}: %{x:.3f}<extra></extra>",
      });
      data.push({
        x: [row.iqm],
        y: [y],
        mode: "markers",
        hovertemplate: `${literal(say)}<extra></extra>`,
        marker: {
          symbol: "line-ns-open",
          size: 24,
          color: css(row.fixed ? "--muted" : "--text"),
          line: { width: 2.5 },
        },
      });
    });
    const many = rows.length > MANY;
    const labels = rows
      .map((row) => (narrow && many ? cut(row.label, 18) : wrap(row.label, narrow ? 14 : 34)))
      .reverse();
    return {
      data,
      layout: layout(70 + (many ? 34 : 46) * rows.length, narrow, {
        xaxis: rateAxis(metricName),
        hovermode: "closest",
        yaxis: axis("", {
          tickvals: rows.map((_, index) => index),
          ticktext: labels,
          range: [-0.6, rows.length - 0.4],
          showgrid: false,
          fixedrange: true,
        }),
      }),
    };
  }

  // Places of points that share a row, so that equal values stay visible.
  const spread = (place, count) => (count < 2 ? 0 : ((place % 5) - 2) * 0.09);

  // Interquartile mean and band where there are enough seeds, one line a seed otherwise; floors as level lines.
  function curves(groups, floors, titles, narrow) {
    const data = [];
    const alpha = groups.length > MANY ? 0.06 : 0.2;
    for (const group of groups) {
      const line = { color: group.style.color, dash: group.style.dash, width: 2.2 };
      const name = wrap(group.label, 40);
      if (group.band) {
        data.push({
          x: group.x,
          y: group.band.map((one) => one[0]),
          mode: "lines",
          line: { width: 0 },
          hoverinfo: "skip",
          legendgroup: name,
          showlegend: false,
        });
        data.push({
          x: group.x,
          y: group.band.map((one) => one[1]),
          mode: "lines",
          line: { width: 0 },
          fill: "tonexty",
          fillcolor: faint(group.style.color, alpha),
          hoverinfo: "skip",
          legendgroup: name,
          showlegend: false,
        });
        data.push({
          x: group.x,
          y: group.y,
          mode: group.x.length > 60 ? "lines" : "lines+markers",
          line,
          name,
          legendgroup: name,
          marker: { size: 5, symbol: group.style.symbol, color: group.style.color },
          text: group.band.map((one, index) => `${plain(range(one))}, ${group.counts[index]} seeds`),
          hovertemplate: `${literal(name)}: %{y:.2f} (%{text})<extra></extra>`,
        });
      } else {
        group.lines.forEach((run, index) =>
          data.push({
            x: run.x,
            y: run.y,
            mode: run.x.length > 60 ? "lines" : "lines+markers",
            line: { ...line, width: 1.4 },
            name,
            legendgroup: name,
            showlegend: index === 0,
            marker: { size: 6, symbol: group.style.symbol, color: group.style.color },
            hovertemplate: `${literal(name)}, seed ${run.seed}: %{y:.2f}<extra></extra>`,
          }),
        );
      }
    }
    const ends = groups.flatMap((group) => (group.band ? group.x : group.lines.flatMap((run) => run.x)));
    const last = Math.max(...ends, 0);
    for (const floor of floors) {
      data.push({
        x: [0, last],
        y: [floor.value, floor.value],
        mode: "lines",
        line: { color: floor.style.color, dash: floor.style.dash, width: 1.4 },
        name: `${plain(floor.label)} (floor)`,
        hovertemplate: `${literal(plain(floor.label))} (floor): %{y:.2f}<extra></extra>`,
      });
    }
    const names = [...groups.map((group) => wrap(group.label, 40)), ...floors.map((floor) => `${floor.label} (floor)`)];
    const height = (narrow ? 290 : groups.length > MANY ? 520 : 360) + legendHeight(names, narrow ? 260 : 1120);
    return {
      data,
      zooms: true,
      layout: layout(height, narrow, {
        showlegend: true,
        hovermode: "closest",
        xaxis: axis(titles.x, { rangemode: "tozero" }),
        yaxis: rateAxis(titles.y),
      }),
    };
  }

  function profiles(groups, thresholds, narrow, metricName) {
    const data = [];
    const many = groups.length > MANY;
    for (const group of groups) {
      const name = wrap(group.label, 40);
      if (group.bands) {
        const edge = (side) => ({
          x: thresholds,
          y: group.bands.map((one) => one[side]),
          mode: "lines",
          line: { width: 0, shape: "hv" },
          hoverinfo: "skip",
          legendgroup: name,
          showlegend: false,
        });
        data.push(edge(0), { ...edge(1), fill: "tonexty", fillcolor: faint(group.style.color, many ? 0.06 : 0.2) });
      }
      data.push({
        x: thresholds,
        y: group.y,
        mode: "lines",
        name,
        legendgroup: name,
        line: { color: group.style.color, dash: group.style.dash, width: group.fixed ? 1.4 : 2.2, shape: "hv" },
        hovertemplate: `${literal(name)}: %{y:.2f} above %{x:.2f}<extra></extra>`,
      });
    }
    const names = groups.map((group) => wrap(group.label, 40));
    const height = (many && !narrow ? 440 : 310) + legendHeight(names, narrow ? 260 : many ? 1120 : 500);
    return {
      data,
      zooms: true,
      layout: layout(height, narrow, {
        showlegend: true,
        hovermode: "closest",
        xaxis: rateAxis(`${metricName} τ`, { range: [0, 1] }),
        yaxis: rateAxis("share above τ"),
      }),
    };
  }

  // Nothing leaves the page: plotly's own button would send the figure to its makers.
  const CONFIG = {
    displaylogo: false,
    responsive: true,
    showSendToCloud: false,
    plotlyServerURL: "",
    scrollZoom: false,
    displayModeBar: true,
  };
  function draw(element, figure, narrow) {
    const buttons = figure.zooms ? ["toImage", "resetScale2d"] : ["toImage"];
    const options = {
      ...CONFIG,
      displayModeBar: !narrow,
      modeBarButtons: [buttons],
      toImageButtonOptions: { filename: "mtrl", scale: 2 },
    };
    return Plotly.newPlot(element, figure.data, figure.layout, options);
  }

  return { MANY, style, floorStyle, finals, curves, profiles, draw, rate, range, plain, wrap, cut, isDark, css, axis, layout };
})();

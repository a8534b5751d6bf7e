"use strict";
// The same statistics as mtrl/stats.py, for the seeds that are chosen on the page. A test compares the two.
const Statistics = (() => {
  const MINIMUM_SEEDS = 5;
  const REPETITIONS = 1000;

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const ascending = (values) => [...values].sort((a, b) => a - b);

  function iqm(values) {
    const cut = Math.floor(0.25 * values.length);
    return mean(ascending(values).slice(cut, values.length - cut));
  }

  const worstTenth = (values) => mean(ascending(values).slice(0, Math.ceil(values.length / 10)));

  // Linear interpolation between order statistics, as NumPy does.
  function quantile(values, level) {
    const sorted = ascending(values);
    const place = level * (sorted.length - 1);
    const below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  }

  const percentile = (replicates) => [quantile(replicates, 0.025), quantile(replicates, 0.975)];

  // mulberry32: a small generator with a seed, so that a page shows the same numbers each time.
  function generator(seed) {
    let state = seed >>> 0;
    return (count) => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296) * count);
    };
  }

  // outcomes [seed][task][goal] -> scores [seed][task]
  const scores = (outcomes) => outcomes.map((tasks) => tasks.map(mean));
  const column = (rows, index) => rows.map((row) => row[index]);

  function estimates(scores) {
    const seeds = scores.map(mean);
    const tasks = scores[0].map((_, task) => mean(column(scores, task)));
    return { mean: mean(seeds), iqm: iqm(seeds), worst: worstTenth(tasks), seeds, tasks };
  }

  // Scores with goals drawn with replacement within each task, the same goals for all seeds.
  function withDrawnGoals(outcomes, draw) {
    const rates = outcomes.map((tasks) => new Array(tasks.length));
    for (let task = 0; task < outcomes[0].length; task++) {
      const count = outcomes[0][task].length;
      const sums = new Float64Array(outcomes.length);
      for (let goal = 0; goal < count; goal++) {
        const drawn = draw(count);
        for (let seed = 0; seed < outcomes.length; seed++) sums[seed] += outcomes[seed][task][drawn];
      }
      for (let seed = 0; seed < outcomes.length; seed++) rates[seed][task] = sums[seed] / count;
    }
    return rates;
  }

  // Seeds are drawn with replacement, then goals within each task; null under five seeds.
  function intervals(outcomes) {
    if (outcomes.length < MINIMUM_SEEDS) return null;
    const draw = generator(1);
    const found = { mean: [], iqm: [], worst: [] };
    for (let repetition = 0; repetition < REPETITIONS; repetition++) {
      const rates = withDrawnGoals(outcomes, draw);
      const sample = estimates(rates.map(() => rates[draw(rates.length)]));
      for (const name of Object.keys(found)) found[name].push(sample[name]);
    }
    return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, percentile(values)]));
  }

  // Interval over seeds alone of the interquartile mean; null under five seeds.
  function seedInterval(values, repetitions = 500) {
    if (values.length < MINIMUM_SEEDS) return null;
    const draw = generator(2);
    const replicates = Array.from({ length: repetitions }, () => iqm(values.map(() => values[draw(values.length)])));
    return percentile(replicates);
  }

  // Fraction of all (seed, task) scores above each threshold.
  function profile(scores, thresholds) {
    const all = scores.flat();
    return thresholds.map((threshold) => all.filter((score) => score > threshold).length / all.length);
  }

  // Bands of a profile over seeds; null under five seeds.
  function profileBands(scores, thresholds) {
    if (scores.length < MINIMUM_SEEDS) return null;
    const draw = generator(3);
    const each = scores.map((seed) => profile([seed], thresholds));
    const replicates = Array.from({ length: 400 }, () => {
      const drawn = each.map(() => each[draw(each.length)]);
      return thresholds.map((_, index) => mean(column(drawn, index)));
    });
    return thresholds.map((_, index) => percentile(column(replicates, index)));
  }

  // Mann-Whitney's U averaged over tasks, ties half, with an interval over seeds of both; null under five seeds.
  function improvement(one, other) {
    if (Math.min(one.length, other.length) < MINIMUM_SEEDS) return null;
    const win = (a, b) => (a > b ? 1 : a === b ? 0.5 : 0);
    const wins = one.map((left) => other.map((right) => mean(left.map((score, task) => win(score, right[task])))));
    const draw = generator(4);
    const replicates = Array.from({ length: REPETITIONS }, () => {
      const right = other.map(() => draw(other.length));
      return mean(one.map(() => draw(one.length)).map((row) => mean(right.map((place) => wins[row][place]))));
    });
    return { value: mean(wins.map(mean)), interval: percentile(replicates) };
  }

  // Aggregated where five seeds are known; runs that stopped early take part as far as they went.
  function curve(lines, axis) {
    if (lines.length < MINIMUM_SEEDS)
      return {
        lines: lines.map((line) => ({
          seed: line.seed,
          x: line.points.map((point) => point[axis]),
          y: line.points.map((point) => point.y),
        })),
      };
    const grid = lines
      .reduce(
        (longest, line) => (line.points.at(-1).steps > longest.at(-1).steps ? line.points : longest),
        lines[0].points,
      )
      .map((point) => point.steps);
    const curve = { x: [], y: [], band: [], counts: [] };
    for (const steps of grid) {
      const present = lines.map((line) => at(line.points, steps)).filter((point) => point);
      if (present.length < MINIMUM_SEEDS) continue;
      const values = present.map((point) => point.y);
      curve.x.push(axis === "steps" ? steps : mean(present.map((point) => point.wall)));
      curve.y.push(iqm(values));
      curve.band.push(seedInterval(values));
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

  return {
    MINIMUM_SEEDS,
    mean,
    iqm,
    scores,
    estimates,
    intervals,
    seedInterval,
    profile,
    profileBands,
    improvement,
    curve,
  };
})();

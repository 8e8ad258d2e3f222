// The answer to the row of the form, and how it changes with one column.

const MOST_LEVELS = 12,
  MOST_BARS = 20,
  CURVE_POINTS = 41;

const showAnswer = (model, { answer, faults, outside }) => {
  const place = one("#answer");
  place.replaceChildren(...(answer ? answerParts(model, answer) : [made("p", { class: "figure" }, "no answer")]));
  const told = [
    ...faults.map(({ column, message }) => made("li", { class: "fault" }, made("strong", {}, column), `: ${message}`)),
    ...outside.map(({ name, training_summary }) => made("li", {}, made("strong", {}, name), `: out of range; ${training_summary}`)),
  ];
  one("#notes").replaceChildren(...told);
};

const answerParts = (model, answer) => (answer.probabilities ? levelParts(model, answer) : numberParts(model, answer));

const numberParts = (model, { prediction, interval }) => {
  const unit = model.target.unit ? ` ${model.target.unit}` : "";
  const number = made("p", { class: "figure" }, figure(prediction), unit);
  if (!interval) return [number];
  const told = made(
    "p",
    {},
    `${share(model.level).replace(".0%", "%")} interval: ${figure(interval[0])} to ${figure(interval[1])}${unit}`,
  );
  return [number, told, ...(model.target.training_range ? [strip(model.target.training_range, prediction, interval)] : [])];
};

/** Return where an answer and its interval lie in the range of the target. */
const strip = (seen, prediction, interval) => {
  const range = [Math.min(seen[0], interval[0]), Math.max(seen[1], interval[1])],
    px = scaleOf(range, 6, WIDTH - 6);
  const ends = [
    [range[0], "start", 6],
    [range[1], "end", WIDTH - 6],
  ];
  return drawn(
    "svg",
    { viewBox: `0 0 ${WIDTH} 44`, "aria-hidden": "true" },
    drawn("line", { class: "grid", x1: 6, x2: WIDTH - 6, y1: 14, y2: 14 }),
    drawn("rect", { class: "band", x: px(interval[0]), y: 6, width: px(interval[1]) - px(interval[0]), height: 16 }),
    drawn("circle", { class: "now", cx: px(prediction), cy: 14, r: 6 }),
    ...ends.map(([value, anchor, x]) => drawn("text", { x, y: 40, "text-anchor": anchor }, figure(value))),
  );
};

const levelParts = (model, { prediction, probabilities, set }) => {
  const { levels } = model.task;
  const order = levels.map((_, place) => place).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const rows = order.slice(0, MOST_LEVELS).map((place) => {
    const bar = made("span", { class: "bar-fill" });
    bar.style.width = share(probabilities[place]);
    const mark = set?.includes(levels[place]) ? [made("span", { class: "member" }, "in the set")] : [];
    return made(
      "tr",
      {},
      made("th", { scope: "row" }, made("bdi", {}, levels[place]), ...mark),
      made("td", {}, share(probabilities[place])),
      made("td", { class: "bar-cell", "aria-hidden": "true" }, bar),
    );
  });
  const more =
    levels.length > MOST_LEVELS
      ? [made("p", { class: "soft" }, `and ${levels.length - MOST_LEVELS} less likely levels`)]
      : [];
  const told = set ? [made("p", {}, `${share(model.level).replace(".0%", "%")} set: ${set.join(", ")}`)] : [];
  return [made("p", { class: "figure" }, prediction), ...told, made("table", {}, made("tbody", {}, ...rows)), ...more];
};

/** Return an answer in one sentence, for those who hear it. */
const spoken = (model, { answer, faults }) => {
  if (!answer) return `no answer: ${faults[0].text}`;
  if (!answer.probabilities) return `${model.target.name}: ${figure(answer.prediction)}`;
  return `${model.target.name}: ${answer.prediction}, ${share(Math.max(...answer.probabilities))}`;
};

/** Show the answers to the row with other values of one column. */
const showEffect = (model, { cells, answer }, column, level) => {
  const place = one("#effect"),
    now = cells.get(column.name),
    values = answer ? valuesOf(column, now) : [];
  if (values.length < 2) {
    const why = answer ? "This column has no values to go through." : "There is no answer for this row.";
    place.replaceChildren(made("p", { class: "soft" }, why));
    return;
  }
  const numberOf = (found) => (found.probabilities ? found.probabilities[level] : found.prediction);
  const points = answersTo(model, cells, column, values).map((found, at) => ({
    at: values[at],
    name: nameOf(column, values[at]),
    value: numberOf(found),
    low: found.interval?.[0],
    high: found.interval?.[1],
    isNow: Object.is(values[at], now),
  }));
  place.replaceChildren(chartOf(model, column, level, points, { at: now, value: numberOf(answer) }));
};

let known = { key: "", answers: [] };
/** Return the answers to a row with each of some values of a column; they are kept while nothing else changes. */
const answersTo = (model, cells, column, values) => {
  const key = JSON.stringify([column.name, values, [...cells].filter(([name]) => name !== column.name)]);
  if (known.key !== key)
    known = { key, answers: model.answer(values.map((value) => new Map(cells).set(column.name, value))) };
  return known.answers;
};

const chartOf = (model, column, level, points, now) => {
  const { levels } = model.task,
    isLine = column.isNumber || column.isTime;
  const [least, most] = [(a, b) => a.value - b.value, (a, b) => b.value - a.value].map(
    (order) => [...points].sort(order)[0],
  );
  const target = levels.length ? `probability of ${levels[level]}` : model.target.name;
  const ends = [...points.flatMap(({ value, low = value, high = value }) => [value, low, high]), now.value];
  const words = {
    y: levels.length ? [0, 1] : roomy(ends),
    yTitle: target,
    yWords: figure,
    now,
    label:
      `${target} by ${column.name}: least ${figure(least.value)} at ${least.name}, ` +
      `most ${figure(most.value)} at ${most.name}`,
    xTitle: column.unit ? `${column.name} (${column.unit})` : column.name,
    xWords: (range) => xWords(column, range),
  };
  return isLine ? lineChart(points, words) : levelChart(points, words);
};

/** Return what a column goes through: the range of training, and on to the present value, or its commonest levels. */
const valuesOf = (column, now) => {
  if (column.kind === "boolean") return [1, 0, ...(column.nullable ? [NaN] : [])];
  if (column.kind === "category") {
    const common = Object.entries(column.categories)
      .sort((a, b) => b[1] - a[1])
      .slice(0, MOST_BARS)
      .map(([level]) => level);
    return [...new Set([...common, now, ...(column.nullable ? [""] : [])])];
  }
  if (column.training_range === null) return [];
  const solid = Number.isNaN(now) ? column.training_range[0] : now,
    low = Math.min(column.training_range[0], solid),
    high = Math.max(column.training_range[1], solid);
  const count = column.kind === "integer" ? Math.min(CURVE_POINTS, high - low + 1) : CURVE_POINTS;
  const even = Array.from({ length: count }, (_, step) => low + ((high - low) * step) / Math.max(count - 1, 1));
  const step = { integer: 1, date: 86400 }[column.kind];
  return step ? [...new Set(even.map((at) => Math.round(at / step) * step))] : even;
};

const nameOf = (column, value) => {
  if (value === "" || Number.isNaN(value)) return "– gap –";
  if (column.kind === "boolean") return value ? "true" : "false";
  return column.isTime ? asMoment(value) : column.isNumber ? figure(value) : value;
};
const xWords = (column, range) => {
  if (!column.isTime) return ticksOf(range).map((tick) => [tick, figure(tick)]);
  return [0.1, 0.5, 0.9]
    .map((part) => range[0] + part * (range[1] - range[0]))
    .map((at) => [at, asMoment(at).slice(0, 10)]);
};
const roomy = (values) => {
  const low = Math.min(...values),
    high = Math.max(...values),
    room = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
};

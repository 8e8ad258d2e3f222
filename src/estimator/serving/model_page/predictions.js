// The prediction of the row in the form, and how it changes with one column.

const MAX_CLASSES = 12,
  MAX_CATEGORIES = 20,
  CURVE_POINTS = 41;

const showPrediction = (model, { result, faults, outOfRange, imputed }) => {
  query("#prediction").replaceChildren(
    ...(result ? predictionParts(model, result) : [html("p", { class: "figure" }, "no prediction")]),
  );
  query("#notes").replaceChildren(
    ...faults.map(({ column, message }) =>
      html("li", { class: "fault" }, ...(column === null ? [message] : [html("strong", {}, column), `: ${message}`])),
    ),
    ...outOfRange.map(({ name, training_summary: summary }) =>
      html("li", {}, html("strong", {}, name), `: out of range; ${summary}`),
    ),
    ...imputed.map(({ name }) => html("li", {}, html("strong", {}, name), ": missing, and imputed")),
  );
};

const predictionParts = (model, result) => (result.probabilities ? classParts(model, result) : numberParts(model, result));

const numberParts = (model, { prediction, interval }) => {
  const unit = model.target.unit ? ` ${model.target.unit}` : "",
    range = model.target.training_range;
  const number = html("p", { class: "figure" }, formatNumber(prediction), unit);
  if (!interval) return [number];
  const text = `${coverageOf(model)} interval: ${formatNumber(interval[0])} to ${formatNumber(interval[1])}${unit}`;
  return [number, html("p", {}, text), ...(range ? [rangeBar(range, prediction, interval)] : [])];
};

const coverageOf = (model) => formatPercent(model.coverage).replace(".0%", "%");

/** Return a picture of a prediction and its interval within the training range of the target. */
const rangeBar = (trainingRange, prediction, interval) => {
  const range = [Math.min(trainingRange[0], interval[0]), Math.max(trainingRange[1], interval[1])],
    px = scaleOf(range, 6, WIDTH - 6);
  const ends = [
    [range[0], "start", 6],
    [range[1], "end", WIDTH - 6],
  ];
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} 44`, "aria-hidden": "true" },
    svg("line", { class: "grid", x1: 6, x2: WIDTH - 6, y1: 14, y2: 14 }),
    svg("rect", { class: "band", x: px(interval[0]), y: 6, width: px(interval[1]) - px(interval[0]), height: 16 }),
    svg("circle", { class: "now", cx: px(prediction), cy: 14, r: 6 }),
    ...ends.map(([value, anchor, x]) => svg("text", { x, y: 40, "text-anchor": anchor }, formatNumber(value))),
  );
};

const classParts = (model, { prediction, probabilities, set }) => {
  const { classes } = model.task;
  const order = classes.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const rows = order.slice(0, MAX_CLASSES).map((index) => {
    const bar = html("span", { class: "bar-fill" });
    bar.style.width = formatPercent(probabilities[index]);
    const mark = set?.includes(classes[index]) ? [html("span", { class: "member" }, "in the set")] : [];
    return html(
      "tr",
      {},
      html("th", { scope: "row" }, html("bdi", {}, classes[index]), ...mark),
      html("td", {}, formatPercent(probabilities[index])),
      html("td", { class: "bar-cell", "aria-hidden": "true" }, bar),
    );
  });
  const nMore = classes.length - MAX_CLASSES,
    more = nMore > 0 ? [html("p", { class: "soft" }, `and ${nMore} less likely classes`)] : [];
  const setText = set ? [html("p", {}, `${coverageOf(model)} prediction set: ${set.join(", ")}`)] : [];
  const from = model.threshold,
    thresholdText = from
      ? [html("p", {}, `${from.positive_class} is predicted from a probability of ${formatPercent(from.value)} on`)]
      : [];
  return [html("p", { class: "figure" }, prediction), ...thresholdText, ...setText, html("table", {}, html("tbody", {}, ...rows)), ...more];
};

/** Return the prediction in one sentence, for screen readers. */
const spoken = (model, { result, faults }) => {
  if (!result) return `no prediction: ${faults[0].text}`;
  if (!result.probabilities) return `${model.target.name}: ${formatNumber(result.prediction)}`;
  const probability = result.probabilities[model.task.classes.indexOf(result.prediction)];
  return `${model.target.name}: ${result.prediction}, ${formatPercent(probability)}`;
};

/** Show the predictions of the row with other values of one column; `index` picks the class whose probability is drawn. */
const showEffect = (model, { cells, result }, column, index) => {
  const panel = query("#effect"),
    now = cells.get(column.name),
    values = result ? valuesOf(column, now) : [];
  if (values.length < 2) {
    const reason = result ? "No other values to show for this column." : "No prediction for this row.";
    panel.replaceChildren(html("p", { class: "soft" }, reason));
    return;
  }
  const numberOf = ({ prediction, probabilities }) => (probabilities ? probabilities[index] : prediction);
  const points = predictionsWith(model, cells, column, values).map((other, step) => ({
    at: values[step],
    name: nameOf(column, values[step]),
    value: numberOf(other),
    low: other.interval?.[0],
    high: other.interval?.[1],
    isNow: Object.is(values[step], now),
  }));
  panel.replaceChildren(chartOf(model, column, index, points, { at: now, value: numberOf(result) }));
};

let cached = { key: "", results: [] };
/** Return the predictions of a row with each of these values of a column, cached while nothing else changes. */
const predictionsWith = (model, cells, column, values) => {
  const key = JSON.stringify([column.name, values, [...cells].filter(([name]) => name !== column.name)]);
  if (cached.key !== key)
    cached = { key, results: model.predict(values.map((value) => new Map(cells).set(column.name, value))) };
  return cached.results;
};

const chartOf = (model, column, index, points, now) => {
  const { classes } = model.task,
    isLine = column.isNumber || column.isTime;
  const byValue = [...points].sort((a, b) => a.value - b.value),
    [smallest, largest] = [byValue[0], byValue.at(-1)];
  const target = classes.length ? `probability of ${classes[index]}` : model.target.name;
  const ends = [...points.flatMap(({ value, low = value, high = value }) => [value, low, high]), now.value];
  const options = {
    y: classes.length ? [0, 1] : padded(ends),
    yTitle: target,
    formatY: formatNumber,
    now,
    label:
      `${target} by ${column.name}: smallest ${formatNumber(smallest.value)} at ${smallest.name}, ` +
      `largest ${formatNumber(largest.value)} at ${largest.name}`,
    xTitle: column.unit ? `${column.name} (${column.unit})` : column.name,
    xTicks: (range) => xTicks(column, range),
  };
  return isLine ? lineChart(points, options) : categoryChart(points, options);
};

/** Return the values of a column to draw: its training range, extended to the present value, or its top categories. */
const valuesOf = (column, now) => {
  if (column.kind === "boolean") return [1, 0, ...(column.acceptsMissing ? [NaN] : [])];
  if (column.kind === "category") {
    const common = Object.entries(column.categories)
      .sort((a, b) => b[1] - a[1])
      .slice(0, MAX_CATEGORIES)
      .map(([name]) => name);
    return [...new Set([...common, now, ...(column.acceptsMissing ? [""] : [])])];
  }
  if (column.training_range === null) return [];
  const [first, last] = column.training_range,
    present = Number.isNaN(now) ? first : now;
  const low = Math.min(first, present),
    high = Math.max(last, present);
  const count = column.kind === "integer" ? Math.min(CURVE_POINTS, high - low + 1) : CURVE_POINTS;
  const even = Array.from({ length: count }, (_, step) => low + ((high - low) * step) / Math.max(count - 1, 1));
  const step = { integer: 1, date: 86400 }[column.kind];
  return step ? [...new Set(even.map((at) => Math.round(at / step) * step))] : even;
};

const nameOf = (column, value) => {
  if (value === "" || Number.isNaN(value)) return MISSING;
  if (column.kind === "boolean") return value ? "true" : "false";
  return column.isTime ? formatTime(value) : column.isNumber ? formatNumber(value) : value;
};
const xTicks = (column, range) => {
  if (!column.isTime) return ticksOf(range).map((tick) => [tick, formatNumber(tick)]);
  return [0.1, 0.5, 0.9]
    .map((fraction) => range[0] + fraction * (range[1] - range[0]))
    .map((at) => [at, formatTime(at).slice(0, 10)]);
};
const padded = (values) => {
  const low = Math.min(...values),
    high = Math.max(...values),
    padding = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
  return [low - padding, high + padding];
};

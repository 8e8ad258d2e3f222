// HTML and SVG elements, formatted numbers, and charts in the style of the report.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 400,
  HEIGHT = 260,
  LEFT = 84,
  RIGHT = 12,
  TOP = 14,
  BOTTOM = 44,
  ROW = 26,
  NAMES = 150;
const query = (selector) => document.querySelector(selector);

const withParts = (element, attributes, parts) => {
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) element.setAttribute(name, value);
  element.append(...parts);
  return element;
};
const html = (tag, attributes = {}, ...parts) => withParts(document.createElement(tag), attributes, parts);
const svg = (tag, attributes = {}, ...parts) => withParts(document.createElementNS(SVG, tag), attributes, parts);

/** Four digits, and a comma between thousands from 10,000 on, so that years have none. */
const formatNumber = (value) => {
  if (Math.abs(value) >= 10000) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  return value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
};
const formatPercent = (value) => `${(100 * value).toFixed(1)}%`;
const formatBytes = (bytes) =>
  bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
const truncate = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

/** Return about five round numbers within a range. */
const ticksOf = ([low, high]) => {
  const raw = (high - low) / 5 || 1,
    size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((times) => times * size).find((size) => size >= raw);
  const result = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick++)
    result.push(Number((tick * step).toPrecision(12)));
  return result;
};
const scaleOf =
  ([low, high], start, end) =>
  (value) =>
    start + ((value - low) / (high - low || 1)) * (end - start);

/** Return a line with its band: points are { at, value, low, high }; `now` is the point of the current value. */
const lineChart = (points, { y, now, xTicks, xTitle, yTitle, formatY, label }) => {
  const bottom = HEIGHT - BOTTOM,
    x = [points[0].at, points.at(-1).at];
  const px = scaleOf(x, LEFT, WIDTH - RIGHT),
    py = scaleOf(y, bottom, TOP);
  const line = (way, key) => way.map((point) => `${px(point.at).toFixed(1)} ${py(point[key]).toFixed(1)}`).join("L");
  const grid = ticksOf(y).flatMap((tick) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: py(tick), y2: py(tick) }),
    svg("text", { x: LEFT - 6, y: py(tick) + 4, "text-anchor": "end" }, formatY(tick)),
  ]);
  const below = xTicks(x).map(([at, text]) =>
    svg("text", { x: px(at), y: bottom + 18, "text-anchor": "middle" }, text),
  );
  const band =
    points[0].low === undefined
      ? []
      : [svg("path", { class: "band", d: `M${line(points, "low")}L${line([...points].reverse(), "high")}Z` })];
  const present =
    now && !Number.isNaN(now.at)
      ? [
          svg("line", { class: "guide", x1: px(now.at), x2: px(now.at), y1: TOP, y2: bottom }),
          svg("circle", { class: "now", cx: px(now.at), cy: py(now.value), r: 5 }),
        ]
      : [];
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    ...grid,
    ...below,
    ...band,
    svg("path", { class: "line c0", d: `M${line(points, "value")}` }),
    ...present,
    svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, truncate(xTitle, 48)),
    svg(
      "text",
      { transform: `translate(14 ${(TOP + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
      truncate(yTitle, 36),
    ),
  );
};

/** Return a dot with its whisker for each category: points are { name, value, low, high, isNow }. */
const categoryChart = (points, { y, yTitle, formatY, label }) => {
  const height = points.length * ROW + BOTTOM,
    px = scaleOf(y, NAMES, WIDTH - RIGHT),
    bottom = height - BOTTOM;
  const grid = ticksOf(y).flatMap((tick) => [
    svg("line", { class: "grid", x1: px(tick), x2: px(tick), y1: 0, y2: bottom }),
    svg("text", { x: px(tick), y: bottom + 18, "text-anchor": "middle" }, formatY(tick)),
  ]);
  const rows = points.flatMap(({ name, value, low, high, isNow }, index) => {
    const middle = (index + 0.5) * ROW;
    const whisker =
      low === undefined ? [] : [svg("line", { class: "whisker", x1: px(low), x2: px(high), y1: middle, y2: middle })];
    return [
      svg(
        "text",
        { class: isNow ? "count" : "", x: NAMES - 10, y: middle + 4, "text-anchor": "end" },
        truncate(name, 17),
        svg("title", {}, name),
      ),
      ...whisker,
      svg("circle", { class: isNow ? "now" : "category", cx: px(value), cy: middle, r: isNow ? 5 : 4 }),
    ];
  });
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label },
    ...grid,
    ...rows,
    svg("text", { x: (NAMES + WIDTH - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, truncate(yTitle, 40)),
  );
};

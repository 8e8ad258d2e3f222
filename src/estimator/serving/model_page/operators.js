// Elementwise and shape operators of the ONNX standard. An operator takes its attributes once and returns a function
// of tensors. A page is written only if every operator of its graph is defined here.

const OPERATORS = new Map();
const operator = (name, prepare) => OPERATORS.set(name, prepare);
/** Define an operator without attributes. */
const plain = (name, run) => operator(name, () => (inputs) => run(...inputs));

const each = ({ kind, dims, data }, apply, ownKind = kind) => {
  const result = tensorOf(ownKind, dims);
  for (let index = 0; index < data.length; index++) result.data[index] = apply(data[index]);
  return result;
};
const byValue = (name, apply, kind) => plain(name, (x) => each(x, apply, kind));
const byPair = (name, apply, kind) => {
  const over = (x, y) => {
    const dims = overlaid(x.dims, y.dims), left = spread(x, dims), right = spread(y, dims);
    const result = tensorOf(kind ?? x.kind, dims);
    for (let index = 0; index < left.length; index++) result.data[index] = apply(left[index], right[index]);
    return result;
  };
  plain(name, (...inputs) => inputs.reduce(over));
};

byValue("Neg", (x) => -x);
byValue("Abs", Math.abs);
byValue("Sign", Math.sign);
byValue("Floor", Math.floor);
byValue("Reciprocal", (x) => 1 / x);
byValue("Exp", Math.exp);
byValue("Log", Math.log);
byValue("Sqrt", Math.sqrt);
byValue("Tanh", Math.tanh);
byValue("Relu", (x) => Math.max(x, 0));
byValue("Sigmoid", (x) => 1 / (1 + Math.exp(-x)));
byValue("Softplus", (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))));
byValue("Softsign", (x) => x / (1 + Math.abs(x)));
byValue("Erf", (x) => erf(x));
byValue("IsNaN", Number.isNaN, BOOL);
byValue("IsInf", (x) => Math.abs(x) === Infinity, BOOL);
byValue("Round", (x) => {
  const down = Math.floor(x), rest = x - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
});
operator("Selu", ({ alpha = Math.fround(1.6732632), gamma = Math.fround(1.050701) }) => ([x]) =>
  each(x, (value) => gamma * (value > 0 ? value : alpha * Math.expm1(value))));
operator("LeakyRelu", ({ alpha = Math.fround(0.01) }) => ([x]) =>
  each(x, (value) => (value < 0 ? alpha * value : value)));
operator("Shrink", ({ bias = 0, lambd = 0.5 }) => ([x]) =>
  each(x, (value) => (value < -lambd ? value + bias : value > lambd ? value - bias : 0)));
plain("Clip", (x, low, high) => each(x, (value) => Math.min(Math.max(value, low.data[0]), high.data[0])));

byPair("Add", (x, y) => x + y);
byPair("Sub", (x, y) => x - y);
byPair("Mul", (x, y) => x * y);
byPair("Div", (x, y) => x / y);
byPair("Pow", Math.pow);
// With fmod: our graphs have no other.
byPair("Mod", (x, y) => x % y);
byPair("StringConcat", (x, y) => x + y);
byPair("Max", Math.max);
byPair("Min", Math.min);
byPair("Greater", (x, y) => x > y, BOOL);
byPair("GreaterOrEqual", (x, y) => x >= y, BOOL);
byPair("Less", (x, y) => x < y, BOOL);
byPair("LessOrEqual", (x, y) => x <= y, BOOL);
byPair("Equal", (x, y) => x === y, BOOL);
byPair("Or", (x, y) => x || y, BOOL);
plain("Where", (condition, yes, no) => {
  const dims = overlaid(overlaid(condition.dims, yes.dims), no.dims);
  const [is, left, right] = [condition, yes, no].map((part) => spread(part, dims));
  const result = tensorOf(yes.kind, dims);
  for (let index = 0; index < is.length; index++) result.data[index] = is[index] ? left[index] : right[index];
  return result;
});

plain("Identity", (x) => x);
operator("Cast", ({ to }) => ([x]) => {
  if (to === BOOL) return each(x, (value) => value !== 0, to);
  return to === INT64 ? each(x, Math.trunc, to) : tensorOf(to, x.dims, new ARRAYS[to](x.data));
});
plain("Shape", ({ dims }) => tensorOf(INT64, [dims.length], Float64Array.from(dims)));
plain("Reshape", ({ kind, dims, data }, wanted) => {
  const result = Array.from(wanted.data, (size, axis) => (size === 0 ? dims[axis] : size));
  const sizeOfRest = product(result.filter((size) => size >= 0));
  return tensorOf(kind, result.map((size) => (size < 0 ? data.length / Math.max(sizeOfRest, 1) : size)), data);
});
operator("Flatten", ({ axis = 1 }) => ([{ kind, dims, data }]) =>
  tensorOf(kind, [product(dims.slice(0, axis)), product(dims.slice(axis))], data));
plain("Unsqueeze", ({ kind, dims, data }, axes) => {
  const result = [...dims], rank = dims.length + axes.data.length;
  const indices = Array.from(axes.data, (axis) => (axis < 0 ? axis + rank : axis));
  for (const axis of indices.sort((a, b) => a - b)) result.splice(axis, 0, 1);
  return tensorOf(kind, result, data);
});
operator("Concat", ({ axis }) => (parts) => {
  const at = axisOf(axis, parts[0].dims), total = parts.reduce((sum, part) => sum + part.dims[at], 0);
  const result = tensorOf(parts[0].kind, parts[0].dims.with(at, total));
  const [outer, , inner] = around(result.dims, at);
  let start = 0;
  for (const { dims, data } of parts) {
    const width = dims[at] * inner;
    for (let row = 0; row < outer; row++) {
      const to = row * total * inner + start, from = row * width;
      for (let index = 0; index < width; index++) result.data[to + index] = data[from + index];
    }
    start += width;
  }
  return result;
});

/** Return the selected indices of an axis, in order; `dims` replace the axis. */
const picked = ({ kind, dims, data }, axis, indices, ownDims = [indices.length]) => {
  const [outer, size, inner] = around(dims, axis);
  const result = tensorOf(kind, [...dims.slice(0, axis), ...ownDims, ...dims.slice(axis + 1)]);
  for (let row = 0, to = 0; row < outer; row++) {
    for (let index = 0; index < indices.length; index++) {
      const from = (row * size + (indices[index] < 0 ? indices[index] + size : indices[index])) * inner;
      for (let step = 0; step < inner; step++) result.data[to++] = data[from + step];
    }
  }
  return result;
};
const counted = (start, end) => Array.from({ length: Math.max(end - start, 0) }, (_, step) => start + step);
operator("Gather", ({ axis = 0 }) => ([x, indices]) => picked(x, axisOf(axis, x.dims), indices.data, indices.dims));
plain("Slice", (x, starts, ends, axes, steps) => {
  if (steps?.data.some((step) => step !== 1)) throw new Error("Slice: only a step of 1 is supported");
  const bounded = (at, size) => Math.max(Math.min(at < 0 ? at + size : at, size), 0);
  return Array.from(axes?.data ?? starts.data.keys()).reduce((result, named, index) => {
    const axis = axisOf(named, result.dims), size = result.dims[axis];
    return picked(result, axis, counted(bounded(starts.data[index], size), bounded(ends.data[index], size)));
  }, x);
});
operator("Split", ({ axis = 0, num_outputs: parts }) => ([x]) => {
  const at = axisOf(axis, x.dims), size = Math.ceil(x.dims[at] / parts);
  return counted(0, parts).map((part) => picked(x, at, counted(part * size, Math.min((part + 1) * size, x.dims[at]))));
});
plain("Tile", (x, repeats) => Array.from(repeats.data).reduce((result, times, axis) => {
  const size = result.dims[axis];
  return picked(result, axis, counted(0, size * times).map((index) => index % size));
}, x));
operator("OneHot", ({ axis = -1 }) => ([indices, depth, values]) => {
  const width = depth.data[0], [off, on] = values.data;
  if (axis !== -1) throw new Error("OneHot: only the last axis is supported");
  const result = tensorOf(values.kind, [...indices.dims, width]);
  result.data.fill(off);
  indices.data.forEach((index, row) => {
    if (index >= -width && index < width) result.data[row * width + (index < 0 ? index + width : index)] = on;
  });
  return result;
});

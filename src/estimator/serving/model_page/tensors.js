// A tensor is { kind, dims, data }: data is in row order, in a typed array that rounds as the kind does; integers are
// doubles here, which are exact up to 2^53.

const ARRAYS = {
  [FLOAT]: Float32Array,
  [UINT8]: Uint8Array,
  [INT64]: Float64Array,
  [STRING]: Array,
  [BOOL]: Uint8Array,
  [DOUBLE]: Float64Array,
};

const tensorOf = (kind, dims, data = new ARRAYS[kind](product(dims))) => ({ kind, dims, data });
const product = (dims) => dims.reduce((total, size) => total * size, 1);
const isSame = (left, right) => left.length === right.length && left.every((size, axis) => size === right[axis]);
const axisOf = (axis, dims) => (axis < 0 ? axis + dims.length : axis);

/** Return [outer, size, inner]: how often an axis is met, its size, and how many values lie between its indices. */
const around = (dims, axis) => [product(dims.slice(0, axis)), dims[axis], product(dims.slice(axis + 1))];

const stridesOf = (dims) => dims.map((_, axis) => product(dims.slice(axis + 1)));

/** Return the dims to which two tensors broadcast: an axis of size 1 is repeated. */
const overlaid = (left, right) => {
  const rank = Math.max(left.length, right.length);
  return Array.from({ length: rank }, (_, axis) => {
    const [a, b] = [left, right].map((dims) => dims[axis - rank + dims.length] ?? 1);
    if (a !== b && a !== 1 && b !== 1) throw new Error(`tensors of ${left} and ${right} do not lie over each other`);
    return a === 1 ? b : a;
  });
};

/** Return a tensor's data, broadcast to `dims`. */
const spread = ({ kind, dims: source, data }, dims) => {
  if (isSame(source, dims)) return data;
  const result = new ARRAYS[kind](product(dims));
  if (data.length === 1) return result.fill(data[0]);
  const sizes = [...Array(dims.length - source.length).fill(1), ...source],
    strides = stridesOf(sizes),
    steps = stridesOf(dims);
  // From this axis on, both have the same dims: those values are copied at once.
  const same = sizes.findLastIndex((size, axis) => size !== dims[axis]) + 1,
    run = product(sizes.slice(same));
  const fill = (axis, from, to) => {
    if (axis === same) {
      result.set(data.subarray(from, from + run), to);
      return;
    }
    if (sizes[axis] === 1 && axis === dims.length - 1) {
      result.fill(data[from], to, to + dims[axis]);
      return;
    }
    const step = sizes[axis] === 1 ? 0 : strides[axis];
    for (let index = 0; index < dims[axis]; index++) fill(axis + 1, from + index * step, to + index * steps[axis]);
  };
  fill(0, 0, 0);
  return result;
};

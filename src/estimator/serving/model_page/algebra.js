// Reductions and products. Sums are computed in doubles and rounded once, to the kind of the values.

/** Apply `put` to each line of values along an axis; it takes (read, write, size). */
const alongAxis = (x, axis, dims, put, kind = x.kind) => {
  const at = axisOf(axis, x.dims),
    [outer, size, inner] = around(x.dims, at),
    result = tensorOf(kind, dims(at, size));
  const ownSize = result.data.length / Math.max(outer * inner, 1);
  for (let row = 0; row < outer; row++) {
    for (let step = 0; step < inner; step++) {
      const from = row * size * inner + step,
        to = row * ownSize * inner + step;
      put(
        (index) => x.data[from + index * inner],
        (index, value) => {
          result.data[to + index * inner] = value;
        },
        size,
      );
    }
  }
  return result;
};
const unchanged = (x) => () => x.dims;
const withoutAxis = (x, keepdims) => (at) => (keepdims ? x.dims.with(at, 1) : x.dims.toSpliced(at, 1));

/** Define an operator that reduces each line to one value: `add` takes the value so far, which starts at `begin`. */
const reducing = (name, begin, add, finish = (total) => total) =>
  operator(name, ({ keepdims = 1 }) => ([x, axes]) => {
    if (axes?.data.length !== 1) throw new Error(`${name}: only one axis is supported`);
    return alongAxis(x, axes.data[0], withoutAxis(x, keepdims), (read, write, size) => {
      let total = begin;
      for (let index = 0; index < size; index++) total = add(total, read(index));
      write(0, finish(total, size));
    });
  });
const sum = (total, value) => total + value;
reducing("ReduceSum", 0, sum);
reducing("ReduceMean", 0, sum, (total, size) => total / size);
reducing("ReduceMax", -Infinity, Math.max);
reducing("ReduceL2", 0, (total, value) => total + value * value, Math.sqrt);
operator("ArgMax", ({ axis = 0, keepdims = 1 }) => ([x]) => {
  const take = (read, write, size) => {
    let best = 0;
    for (let index = 1; index < size; index++) if (read(index) > read(best)) best = index;
    write(0, best);
  };
  return alongAxis(x, axis, withoutAxis(x, keepdims), take, INT64);
});
plain("CumSum", (x, axis) =>
  alongAxis(x, axis.data[0], unchanged(x), (read, write, size) => {
    for (let index = 0, total = 0; index < size; index++) write(index, (total += read(index)));
  }));
operator("TopK", ({ axis = -1 }) => ([x, count]) => {
  const k = count.data[0];
  const ordered = (take, kind) =>
    alongAxis(x, axis, (at) => x.dims.with(at, k), (read, write, size) => {
      const order = counted(0, size).sort((a, b) => read(b) - read(a) || a - b);
      for (let index = 0; index < k; index++) write(index, take(read, order[index]));
    }, kind);
  return [ordered((read, index) => read(index)), ordered((_, index) => index, INT64)];
});

const softmax = (name, finish) =>
  operator(name, ({ axis = -1 }) => ([x]) =>
    alongAxis(x, axis, unchanged(x), (read, write, size) => {
      let most = -Infinity, total = 0;
      for (let index = 0; index < size; index++) most = Math.max(most, read(index));
      for (let index = 0; index < size; index++) total += Math.exp(read(index) - most);
      for (let index = 0; index < size; index++) write(index, finish(read(index) - most, total));
    }));
softmax("Softmax", (score, total) => Math.exp(score) / total);
softmax("LogSoftmax", (score, total) => score - Math.log(total));

/** Return rows (n, inner) times columns (inner, width), plus `base` (width), as a tensor of `dims`. */
const multiplied = (x, y, dims, base) => {
  const [inner, width] = y.dims,
    result = tensorOf(x.kind, dims),
    sums = new Float64Array(width);
  for (let row = 0; row < result.data.length / width; row++) {
    if (base) sums.set(base);
    else sums.fill(0);
    for (let index = 0; index < inner; index++) {
      const factor = x.data[row * inner + index];
      if (factor === 0) continue;
      for (let column = 0, from = index * width; column < width; column++)
        sums[column] += factor * y.data[from + column];
    }
    result.data.set(sums, row * width);
  }
  return result;
};
operator("MatMul", () => ([x, y]) => {
  if (y.dims.length !== 2) throw new Error("MatMul: only a matrix on the right is supported");
  return multiplied(x, y, x.dims.with(-1, y.dims[1]));
});
operator("Gemm", ({ alpha = 1, beta = 1, transA = 0, transB = 0 }) => ([x, y, base]) => {
  if (alpha !== 1 || beta !== 1 || transA || transB) throw new Error("Gemm: only x * y + base is supported");
  return multiplied(x, y, [x.dims[0], y.dims[1]], base && spread(base, [y.dims[1]]));
});
operator("Einsum", ({ equation }) => {
  const [inputs, output] = equation.replaceAll(" ", "").split("->"),
    letters = inputs.split(",");
  const inside = [...new Set(inputs.replace(",", ""))].filter((letter) => !output.includes(letter));
  const axes = [...output, ...inside];
  return ([x, y]) => {
    const [mine, theirs] = [x, y].map(({ dims }, which) => {
      const strides = stridesOf(dims);
      return axes.map((letter) => strides[letters[which].indexOf(letter)] ?? 0);
    });
    const sizes = axes.map((letter) => x.dims[letters[0].indexOf(letter)] ?? y.dims[letters[1].indexOf(letter)]);
    const result = tensorOf(x.kind, sizes.slice(0, output.length)),
      last = axes.length - 1;
    let to = 0;
    const total = (depth, left, right) => {
      let sum = 0;
      for (let index = 0; index < sizes[depth]; index++, left += mine[depth], right += theirs[depth]) {
        sum += depth === last ? x.data[left] * y.data[right] : total(depth + 1, left, right);
      }
      return sum;
    };
    const fill = (depth, left, right) => {
      if (depth === output.length) {
        result.data[to++] = inside.length ? total(depth, left, right) : x.data[left] * y.data[right];
        return;
      }
      for (let index = 0; index < sizes[depth]; index++) {
        fill(depth + 1, left + index * mine[depth], right + index * theirs[depth]);
      }
    };
    fill(0, 0, 0);
    return result;
  };
});

/** The error function by its series with positive terms only (Abramowitz and Stegun, 1964, 7.1.6). */
const erf = (x) => {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x,
    total = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    total += term;
  }
  return Math.min(1, Math.max(-1, (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total));
};

// What the page holds -> a model: rows in, answers out, as estimator's server gives them.

/** Return the contract of { target, unknown_columns, columns }. */
const contractOf = (schema) => {
  const features = schema.features.map((name) => columnOf(name, schema.columns[name]));
  const known = new Map(
    Object.entries(schema.columns).flatMap(([name, { aliases = [] }]) =>
      [name, ...(name === schema.target ? [] : aliases)].map((spelling) => [spelling, name]),
    ),
  );
  return { features, known, refusesUnknown: schema.unknown_columns !== "ignore" };
};

const modelOf = (told, graph) => {
  const contract = contractOf(told.schema),
    run = prepareGraph(graph),
    { levels } = told.task;
  /** Return the answers to rows that have passed the contract, cells by column. */
  const answer = (rows) => {
    const found = run(
      Object.fromEntries(
        contract.features.map((column) => {
          const data = rows.map((cells) => cells.get(column.name)),
            kind = column.isString ? STRING : DOUBLE;
          return [column.name, tensorOf(kind, [rows.length, 1], ARRAYS[kind].from(data))];
        }),
      ),
    );
    const [low, high, shares, sets] = ["prediction_low", "prediction_high", "probability", "prediction_set"].map(
      (name) => found[name]?.data,
    );
    return rows.map((_, row) => {
      const own = (values) => levels.map((_, place) => values[row * levels.length + place]);
      const made = { prediction: found.prediction.data[row] };
      if (low) made.interval = [low[row], high[row]];
      if (shares) made.probabilities = own(shares);
      if (sets) made.set = likeliestFirst(levels, made.probabilities, own(sets));
      return made;
    });
  };
  /** Return { answer } or { faults } of one row, a value per name, and the columns outside what training saw. */
  const answerRow = (row) => {
    const { cells, faults } = readRow(contract, row, 1);
    const outside = contract.features
      .filter(({ name }) => cells.has(name))
      .filter((column) => isOutside(column, cells.get(column.name)));
    return { faults, outside, cells, answer: faults.length ? null : answer([cells])[0] };
  };
  return { ...told, contract, answer, answerRow };
};

const likeliestFirst = (levels, shares, members) =>
  levels
    .map((level, place) => ({ level, place }))
    .filter(({ place }) => members[place])
    .sort((a, b) => shares[b.place] - shares[a.place] || a.place - b.place)
    .map(({ level }) => level);

/** Return how far the golden rows' answers, asked together and one by one, are from the right ones, by their size. */
const checkGolden = (model) => {
  const { rows, predictions: answers } = model.golden,
    cells = rows.map((row) => readRow(model.contract, row, 1).cells);
  const found = [...model.answer(cells), ...cells.flatMap((row) => model.answer([row]))];
  const is = found.map((one) => one.probabilities ?? one.prediction).flat(),
    must = [...answers, ...answers].flat();
  const size = must.reduce((total, value) => total + Math.abs(value), 0) / must.length || 1;
  return must.reduce(
    (most, value, place) => Math.max(most, Math.abs(value - is[place]) / Math.max(Math.abs(value), size)),
    0,
  );
};

const unpacked = async (text) => {
  const letters = atob(text),
    packed = new Uint8Array(letters.length);
  for (let place = 0; place < packed.length; place++) packed[place] = letters.charCodeAt(place);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

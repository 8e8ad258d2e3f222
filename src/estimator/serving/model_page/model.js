// The page's data -> a model that predicts as the server does.

/** Return the schema of { target, unknown_columns, columns, features }; `aliases` maps every name to its column. */
const schemaOf = (data) => {
  const features = data.features.map((name) => columnOf(name, data.columns[name]));
  const aliases = new Map(
    Object.entries(data.columns).flatMap(([name, { aliases: others = [] }]) =>
      [name, ...(name === data.target ? [] : others)].map((alias) => [alias.normalize("NFC"), name]),
    ),
  );
  return { features, aliases, rejectsUnknownColumns: data.unknown_columns !== "ignore" };
};

const modelOf = (data, graph) => {
  const schema = schemaOf(data.schema),
    run = prepareGraph(graph),
    { classes } = data.task;
  /** Return the predictions of valid rows, each a Map of cells by column. */
  const predict = (rows) => {
    const outputs = run(
      Object.fromEntries(
        schema.features.map((column) => {
          const cells = rows.map((row) => row.get(column.name)),
            kind = column.isString ? STRING : DOUBLE;
          return [column.name, tensorOf(kind, [rows.length, 1], ARRAYS[kind].from(cells))];
        }),
      ),
    );
    const [low, high, probabilities, members] = [
      "prediction_low",
      "prediction_high",
      "probability",
      "prediction_set",
    ].map((name) => outputs[name]?.data);
    return rows.map((_, row) => {
      const ofRow = (values) => classes.map((_, index) => values[row * classes.length + index]);
      const prediction = { prediction: outputs.prediction.data[row] };
      if (low) prediction.interval = [low[row], high[row]];
      if (probabilities) prediction.probabilities = ofRow(probabilities);
      if (members) prediction.set = likeliestFirst(classes, prediction.probabilities, ofRow(members));
      return prediction;
    });
  };
  /** Return the prediction of one row, a value per name, or its faults, and the columns that are out of range or imputed. */
  const predictRow = (row) => {
    const { cells, faults } = readRow(schema, row, 1);
    const outOfRange = schema.features.filter(
      (column) => cells.has(column.name) && isOutOfRange(column, cells.get(column.name)),
    );
    const imputed = schema.features.filter((column) => isImputed(column, cells.get(column.name)));
    if (faults.length) return { faults, outOfRange, imputed, cells, result: null };
    const [result] = predict([cells]),
      notFinite = finiteFaults(schema, cells, result, 1);
    return { faults: notFinite, outOfRange, imputed, cells, result: notFinite.length ? null : result };
  };
  return { ...data, schema, predict, predictRow };
};

const MAX_EXTREMES = 3;
/** Return the fault of a row whose prediction is infinite or not a number, in a list, with the values that may be why. */
const finiteFaults = (schema, cells, { prediction, interval = [], probabilities = [] }, number) => {
  const numbers = [...(probabilities.length ? probabilities : [prediction]), ...interval];
  if (numbers.every((value) => Number.isFinite(value))) return [];
  const extremes = schema.features
    .filter((column) => isOutOfRange(column, cells.get(column.name)))
    .slice(0, MAX_EXTREMES)
    .map((column) => `${repr(column.name)}, ${column.training_summary}`);
  const reason = extremes.length ? `out of range: ${extremes.join("; ")}` : "no value is out of its training range";
  const message = `the model has no finite prediction for this row; ${reason}`;
  return [{ row: number, column: null, message, text: `row ${number}: ${message}` }];
};

const likeliestFirst = (classes, probabilities, members) =>
  classes
    .map((name, index) => ({ name, index }))
    .filter(({ index }) => members[index])
    .sort((a, b) => probabilities[b.index] - probabilities[a.index] || a.index - b.index)
    .map(({ name }) => name);

/** Return the largest relative error of the golden rows' predictions, computed together and one by one. */
const checkGolden = (model) => {
  const { rows, predictions } = model.golden,
    cells = rows.map((row) => readRow(model.schema, row, 1).cells);
  const results = [...model.predict(cells), ...cells.flatMap((row) => model.predict([row]))];
  const actual = results.map((result) => result.probabilities ?? result.prediction).flat(),
    expected = [...predictions, ...predictions].flat();
  const size = expected.reduce((total, value) => total + Math.abs(value), 0) / expected.length || 1;
  return expected.reduce(
    (largest, value, index) =>
      Math.max(largest, Math.abs(value - actual[index]) / Math.max(Math.abs(value), size)),
    0,
  );
};

/** Return the bytes of gzip in base64. */
const decompressed = async (text) => {
  const letters = atob(text),
    packed = new Uint8Array(letters.length);
  for (let index = 0; index < packed.length; index++) packed[index] = letters.charCodeAt(index);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

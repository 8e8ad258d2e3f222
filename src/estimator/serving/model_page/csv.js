// CSV text <-> rows of cells: the delimiter and the encoding are detected, an empty cell is null.

const DELIMITERS = [",", ";", "\t", "|"];

/** The file cannot be used; the message says why. */
class FileError extends Error {}

/** Return a file's text: gzipped or not; UTF-16 by its mark, UTF-8, or else Windows-1252. */
const textOfFile = async (file) => {
  const isGzip = file.name.toLowerCase().endsWith(".gz");
  const stream = isGzip ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const marks = { "255,254": "utf-16le", "254,255": "utf-16be" };
  const marked = marks[bytes.slice(0, 2).join()];
  if (marked) return new TextDecoder(marked).decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
};

/** Return { names, rows }, a list of cells per row. Throws FileError. */
const readCsv = (text, file) => {
  const delimiter = detectDelimiter(text),
    records = recordsOf(text, delimiter, file);
  const names = records.shift()?.cells;
  if (!names) throw new FileError(`${file}: the file is empty; expected a header line with the names of the columns`);
  const again = names.filter((name, index) => names.indexOf(name) !== index);
  if (again.length)
    throw new FileError(`${file}: the header names ${[...new Set(again)].map(repr).join(", ")} more than once`);
  const ragged = records.filter(({ cells }) => cells.length !== names.length);
  if (ragged.length) {
    const lines = listed(
      ragged.map(({ line, cells }) => `line ${line.toLocaleString("en")} (${cells.length} cells)`),
      10,
    );
    throw new FileError(`${file}: the header has ${names.length} cells, but not these lines: ${lines}`);
  }
  return { names, rows: records.map(({ cells }) => cells.map((cell) => (cell === "" ? null : cell))) };
};

const listed = (items, limit) => {
  const left = items.length - limit,
    shown = items.slice(0, limit).join(", ");
  return left > 0 ? `${shown} and ${left.toLocaleString("en")} more` : shown;
};

/** Return the delimiter that splits the header into most cells, and the second line into as many. */
const detectDelimiter = (text) => {
  const lines = text
    .slice(0, 1e6)
    .split(/\r\n|\n|\r/, 2)
    .filter((line) => line);
  const widths = DELIMITERS.map((delimiter) => {
    const cells = lines.map((line) => recordsOf(line, delimiter, "")[0]?.cells.length ?? 0);
    return new Set(cells).size === 1 ? cells[0] : 0;
  });
  const best = Math.max(...widths);
  return best > 1 ? DELIMITERS[widths.indexOf(best)] : ",";
};

/** Return { cells, line } of each record that is not blank; inside quotes, "" is a quote. */
const recordsOf = (text, delimiter, file) => {
  const records = [],
    part = new RegExp(`"((?:[^"]|"")*)(?:"|$)|[^${escaped(delimiter)}\\r\\n"][^${escaped(delimiter)}\\r\\n]*`, "y");
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0,
    line = 1,
    first = 1,
    cells = [],
    cell = "";
  const end = () => {
    if (cells.length || cell) records.push({ cells: [...cells, cell], line: first });
    [cells, cell] = [[], ""];
  };
  while (at < text.length) {
    const letter = text[at];
    part.lastIndex = at;
    const result = letter === delimiter || letter === "\r" || letter === "\n" ? null : part.exec(text);
    if (result) {
      if (file && letter === '"' && (result[0].length === 1 || !result[0].endsWith('"'))) {
        throw new FileError(
          `${file}: a quote opened on or after line ${line.toLocaleString("en")} is never closed`,
        );
      }
      cell += result[1] === undefined ? result[0] : result[1].replaceAll('""', '"');
      line += result[0].split("\n").length - 1;
      at = part.lastIndex;
    } else if (letter === delimiter) {
      cells.push(cell);
      [cell, at] = ["", at + 1];
    } else {
      end();
      at += text.startsWith("\r\n", at) ? 2 : 1;
      first = ++line;
    }
  }
  end();
  return records;
};

/** Return the columns of predictions, as `estimator predict` names them: [name, value of a prediction]. */
const predictionColumns = ({ interval, set, probabilities }, classes) => [
  ["prediction", (row) => row.prediction],
  ...(interval ? ["low", "high"].map((end, index) => [`prediction_${end}`, (row) => row.interval[index]]) : []),
  ...(set ? [["prediction_set", (row) => `[${row.set.map((name) => JSON.stringify(name)).join(", ")}]`]] : []),
  ...(probabilities ? classes.map((name, index) => [`probability_${name}`, (row) => row.probabilities[index]]) : []),
];

/** Return predictions as CSV; a row without one becomes a line of empty cells. */
const writeCsv = (predictions, classes) => {
  const columns = predictionColumns(predictions.find((row) => row) ?? {}, classes);
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const lines = predictions.map((row) => columns.map(([, value]) => (row ? quoted(value(row)) : "")).join(","));
  return `${[columns.map(([name]) => quoted(name)).join(","), ...lines].join("\n")}\n`;
};

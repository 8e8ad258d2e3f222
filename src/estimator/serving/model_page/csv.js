// CSV text <-> rows of cells: separators and encodings are told from the file, an empty cell is null.

const SEPARATORS = [",", ";", "\t", "|"];

/** The file is refused as a whole; the message says why. */
class FileError extends Error {}

/** Return a file's text: gzipped or not; UTF-16 by its mark, UTF-8, or else Windows-1252. */
const textOfFile = async (file) => {
  const isPacked = file.name.toLowerCase().endsWith(".gz");
  const stream = isPacked ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
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
  const separator = separatorOf(text),
    records = recordsOf(text, separator, file);
  const names = records.shift()?.cells;
  if (!names) throw new FileError(`${file}: the file is empty; expected a header line with the names of the columns`);
  const again = names.filter((name, place) => names.indexOf(name) !== place);
  if (again.length)
    throw new FileError(`${file}: the header names ${[...new Set(again)].map(shown).join(", ")} more than once`);
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
    words = items.slice(0, limit).join(", ");
  return left > 0 ? `${words} and ${left.toLocaleString("en")} more` : words;
};

/** Return the separator that parts the header into most cells, and the second line into as many. */
const separatorOf = (text) => {
  const lines = text
    .slice(0, 1e6)
    .split(/\r\n|\n|\r/, 2)
    .filter((line) => line);
  const widths = SEPARATORS.map((separator) => {
    const cells = lines.map((line) => recordsOf(line, separator, "")[0]?.cells.length ?? 0);
    return new Set(cells).size === 1 ? cells[0] : 0;
  });
  const best = Math.max(...widths);
  return best > 1 ? SEPARATORS[widths.indexOf(best)] : ",";
};

/** Return { cells, line } of each record that is not blank; a doubled quote inside quotes is one. */
const recordsOf = (text, separator, file) => {
  const records = [],
    part = new RegExp(`"((?:[^"]|"")*)(?:"|$)|[^${escaped(separator)}\\r\\n"][^${escaped(separator)}\\r\\n]*`, "y");
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
    const found = letter === separator || letter === "\r" || letter === "\n" ? null : part.exec(text);
    if (found) {
      if (file && letter === '"' && (found[0].length === 1 || !found[0].endsWith('"'))) {
        throw new FileError(
          `${file}: a quote that is opened on line ${line.toLocaleString("en")}, or after it, is never closed`,
        );
      }
      cell += found[1] === undefined ? found[0] : found[1].replaceAll('""', '"');
      line += found[0].split("\n").length - 1;
      at = part.lastIndex;
    } else if (letter === separator) {
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

/** Return the columns of answers, as `estimator predict` names them: [name, value of an answer]. */
const answerColumns = ({ interval, set, probabilities }, levels) => [
  ["prediction", (one) => one.prediction],
  ...(interval ? ["low", "high"].map((end, place) => [`prediction_${end}`, (one) => one.interval[place]]) : []),
  ...(set ? [["prediction_set", (one) => `[${one.set.map((level) => JSON.stringify(level)).join(", ")}]`]] : []),
  ...(probabilities ? levels.map((level, place) => [`probability_${level}`, (one) => one.probabilities[place]]) : []),
];

/** Return answers as CSV; a row without one is a line of empty cells. */
const writeCsv = (answers, levels) => {
  const columns = answerColumns(answers.find((one) => one) ?? {}, levels);
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const lines = answers.map((one) => columns.map(([, value]) => (one ? quoted(value(one)) : "")).join(","));
  return `${[columns.map(([name]) => quoted(name)).join(","), ...lines].join("\n")}\n`;
};

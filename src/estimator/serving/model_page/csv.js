// CSV text <-> rows of cells, read as `estimator predict` reads it, with the same sentence where that fails.

const DELIMITERS = [",", ";", "\t", "|"],
  MAX_LINES_SHOWN = 10,
  SAMPLE_RECORDS = 60;
const SIGNATURES = [
  ["\x1f\x8b", "a gzip file"],
  ["PAR1", "a Parquet file"],
  ["ARROW1", "an Arrow file"],
  ["SQLite format 3\0", "an SQLite database"],
  ["\xd0\xcf\x11\xe0", "an old Excel workbook"],
  ["%PDF-", "a PDF"],
];

/** The file cannot be used; the message says why. */
class FileError extends Error {}

/** Return a file's text, gzipped or not: UTF-8, or UTF-16 by its mark. Throws FileError. */
const textOfFile = async (file) => {
  let bytes = new Uint8Array(await file.arrayBuffer());
  if (file.name.toLowerCase().endsWith(".gz")) bytes = await unpacked(bytes, file.name);
  const format = formatOf(bytes);
  if (format) throw new FileError(`${file.name}: expected text, got ${format}`);
  const marks = { "255,254": "utf-16le", "254,255": "utf-16be" };
  try {
    return new TextDecoder(marks[bytes.slice(0, 2).join()] ?? "utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new FileError(`${file.name}: not UTF-8; save it as UTF-8, in Excel as "CSV UTF-8"`);
  }
};

const unpacked = async (bytes, name) => {
  if (bytes.length && formatOf(bytes) !== "a gzip file")
    throw new FileError(
      `${name}: expected a gzip file, as its name ends in .gz, got ${formatOf(bytes) ?? "text or another format"}`,
    );
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new FileError(`${name}: the gzip data ends too early, is damaged, or is followed by other bytes`);
  }
};

/** Say which format other than text a file has, by its first bytes; null if none is recognized. */
const formatOf = (bytes) => {
  const start = String.fromCharCode(...bytes.slice(0, 4096));
  if (start.startsWith("PK\x03\x04")) {
    if (start.includes("opendocument.spreadsheet")) return "an OpenDocument spreadsheet";
    return /\[Content_Types\]\.xml|xl\/|_rels\//.test(start) ? "an Excel workbook" : "a zip archive";
  }
  if (/^(\xef\xbb\xbf)?\s*<(!doctype html|html)/i.test(start)) return "a web page";
  return SIGNATURES.find(([signature]) => start.startsWith(signature))?.[1] ?? null;
};

/** Return { names, rows, notes }, a list of cells per row. Throws FileError. */
const readCsv = (text, file) => {
  const notes = [];
  let line = 1,
    rest = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text,
    delimiter = null;
  const separator = /^"?sep=(.|\\t)"?[,;|\t]*(?:\r\n|\n|\r)/i.exec(rest);
  if (separator) {
    notes.push(`${file}: line 1 is ${repr(separator[0].trim())}, as Excel writes it: no header`);
    delimiter = separator[1] === "\\t" ? "\t" : separator[1];
    [rest, line] = [rest.slice(separator[0].length), 2];
  } else {
    delimiter = detectDelimiter(rest);
    if (delimiter !== ",") notes.push(`${file}: the delimiter is ${repr(delimiter)}, inferred from the header`);
    rejectPreamble(rest, delimiter, file);
  }
  const [header, ...found] = [...recordsOf(rest, delimiter, file, line)].filter(({ cells }) => cells.length);
  if (!header) throw new FileError(`${file}: the file is empty`);
  const names = header.cells,
    isBlank = ({ cells, fault }) => !fault && names.length > 1 && cells.length === 1 && !cells[0].trim(),
    records = found.filter((record) => !isBlank(record));
  if (header.fault) throw new FileError(`${file}: line ${line}: the header cannot be read: ${header.fault}`);
  const again = [...new Set(names.filter((name, index) => names.indexOf(name) !== index))].sort();
  if (again.length) throw new FileError(`${file}: the header has ${again.map(repr).join(", ")} more than once`);
  const faults = records.map((record) => [record.line, faultOfRecord(record, names.length)]).filter(([, why]) => why);
  if (faults.length) {
    const lines = faults.map(([number, why]) => `line ${formatCount(number)} (${why})`);
    const expected = `expected ${names.length} cells per line, as in the header`;
    throw new FileError(`${file}: ${expected}, but found: ${listed(lines, MAX_LINES_SHOWN)}`);
  }
  return { names, rows: records.map(({ cells }) => cells.map((cell) => (cell === "" ? null : cell))), notes };
};

const faultOfRecord = ({ cells, fault }, width) => {
  if (fault) return fault;
  if (cells.length !== width) return `${cells.length} cells`;
  return cells.some((cell) => cell.includes("\0")) ? "a NUL byte" : null;
};

const listed = (items, limit) => {
  const left = items.length - limit,
    shown = items.slice(0, limit).join(", ");
  return left > 0 ? `${shown} and ${left.toLocaleString("en")} more` : shown;
};

/** Return the first records that are not blank; a fault in one of them is none yet. */
const firstRecords = (text, delimiter) => {
  const records = [];
  for (const record of recordsOf(text, delimiter, null)) {
    if (record.cells.length) records.push(record);
    if (records.length === SAMPLE_RECORDS) break;
  }
  return records;
};

/** Return the delimiter that gives the header several cells, and most of the next records as many. */
const detectDelimiter = (text) => {
  let [best, bestAgreement, bestWidth] = [",", 0, 1];
  for (const delimiter of DELIMITERS) {
    const widths = firstRecords(text, delimiter).map(({ cells }) => cells.length),
      agreement = widths.filter((width) => width === widths[0]).length / widths.length;
    if (widths[0] > 1 && (agreement > bestAgreement || (agreement === bestAgreement && widths[0] > bestWidth)))
      [best, bestAgreement, bestWidth] = [delimiter, agreement, widths[0]];
  }
  return best;
};

/** Reject a first line that is text above the table: later lines have another width, and begin with names. */
const rejectPreamble = (text, delimiter, file) => {
  const width = firstRecords(text, delimiter)[0]?.cells.length;
  for (const candidate of width === 1 ? DELIMITERS : [delimiter]) {
    const records = firstRecords(text, candidate),
      start = tableStart(records.map(({ cells }) => cells)),
      wide = records[start]?.cells.length;
    if (start && wide !== width)
      throw new FileError(
        `${file}: line 1 is no header: it has ${width} cells, but the lines from line ` +
          `${formatCount(records[start].line)} on have ${wide}; remove the lines above it`,
      );
  }
};

/** Return the index of the first of the records that have the most common width, if it may be a header; else 0. */
const tableStart = (records) => {
  const widths = (records.length === SAMPLE_RECORDS ? records.slice(0, -1) : records).map((cells) => cells.length),
    counts = new Map();
  if (widths.length < 3) return 0;
  for (const width of widths.slice(1)) counts.set(width, (counts.get(width) ?? 0) + 1);
  const common = [...counts].reduce((most, item) => (item[1] > most[1] ? item : most))[0];
  let start = widths.length;
  while (start > 1 && widths[start - 1] === common) start -= 1;
  const names = records[start] ?? [],
    isNumber = (name) => Number.isFinite(Number(name.trim().replaceAll(",", "."))),
    isHeader = new Set(names).size === names.length && names.every((name) => name.trim() && !isNumber(name));
  return common > 1 && isHeader && widths.length - start > 1 ? start : 0;
};

const LINE_END = /\r\n|\n|\r/g;

/**
 * Yield { cells, line, fault } of each record; a blank line has no cells. Inside quotes, "" is a quote; what follows a
 * closing quote is a fault. Throws FileError where a quote is never closed, unless `file` is null.
 */
const recordsOf = function* (text, delimiter, file, firstLine = 1) {
  const plain = new RegExp(`[^${escaped(delimiter)}\\r\\n]*`, "y"),
    quoted = /"([^"]*(?:""[^"]*)*)("?)/y;
  let at = 0,
    line = firstLine;
  while (at < text.length) {
    const record = { cells: [], line, fault: null };
    for (;;) {
      const part = text[at] === '"' ? quoted : plain;
      part.lastIndex = at;
      const [all, inner, close] = part.exec(text);
      at += all.length;
      if (part === quoted) {
        if (!close && file)
          throw new FileError(`${file}: a quote opened on line ${formatCount(record.line)} is never closed`);
        line += all.match(LINE_END)?.length ?? 0;
        if (at < text.length && ![delimiter, "\r", "\n"].includes(text[at])) {
          record.fault = "text after a closing quote";
          while (at < text.length && text[at] !== "\r" && text[at] !== "\n") at += 1;
        }
      }
      record.cells.push(part === quoted ? inner.replaceAll('""', '"') : all);
      if (text[at] !== delimiter) break;
      at += 1;
    }
    if (record.cells.length === 1 && record.cells[0] === "" && text[at - 1] !== '"') record.cells = [];
    if (at < text.length) {
      at += text.startsWith("\r\n", at) ? 2 : 1;
      line += 1;
    }
    yield record;
  }
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

// One value -> what the graph takes, and rows of them: the sentences are those of estimator's server and command line.

const LARGEST_EXACT_INTEGER = Number.MAX_SAFE_INTEGER;
const TRUE_WORDS = ["true", "t", "yes", "y", "1", "1.0"],
  FALSE_WORDS = ["false", "f", "no", "n", "0", "0.0"];
const DEFAULTS = {
  nullable: false,
  na_values: [],
  categories: {},
  unknown: "other",
  date_formats: [],
  aliases: [],
  strip: [],
  thousands: "",
  decimal: ".",
  units: {},
  replace: {},
  pattern: null,
  ignore_case: false,
  range: null,
  training_range: null,
};
const PLAIN_NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** The value does not fit; the message says what was expected and what was found. */
class CellError extends Error {}

const columnOf = (name, told) => {
  const column = { ...DEFAULTS, ...told, name, isString: ["category", "text"].includes(told.kind) };
  column.isTime = ["date", "datetime"].includes(told.kind);
  column.isNumber = ["number", "integer"].includes(told.kind);
  column.rejectsUnknown = told.kind === "category" && column.unknown === "error";
  column.start = column.pattern === null ? null : patternOf(column.pattern);
  return column;
};
/** Return a regular expression of Python's, anchored at the start; digits, letters and blanks are of any script. */
const patternOf = (text) => {
  const classes = { d: "\\p{Nd}", w: "\\p{L}\\p{N}_", s: "\\s" };
  let inside = false;
  const own = text.replace(/\\(.)|[[\]]/gsu, (found, letter) => {
    if (letter === undefined) {
      inside = found === "[";
      return found;
    }
    if (letter in classes) return inside || letter === "d" ? classes[letter] : `[${classes[letter]}]`;
    return /[\^$\\.*+?()[\]{}|/-]|[a-zA-Z0-9]/.test(letter) && !(letter === "-" && !inside) ? found : letter;
  });
  return new RegExp(own, "yu");
};

// Blanks as Python knows them: a byte order mark is none, separators of records are.
const BLANKS = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const OUTER_BLANKS = new RegExp(`^[${BLANKS}]+|[${BLANKS}]+$`, "g"),
  INNER_BLANKS = new RegExp(`[${BLANKS}]+`, "g");
const BLANK_BETWEEN_THOUSANDS = new RegExp(`(?<=\\d)[${BLANKS}](?=\\d{3}(?!\\d))`, "g");
const stripped = (text) => text.replace(OUTER_BLANKS, "");
const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

/** Return the value as the graph takes it: a number, NaN for a gap, or a text, "" for a gap. Throws CellError. */
const readCell = (column, value) => {
  if (isGap(column, value)) return gapOf(column, value);
  const meant = typeof value === "string" && !column.isString ? asMeant(column, value) : value;
  const found = READERS[column.kind](column, meant);
  if (typeof found === "number" && column.range !== null) {
    const [low, high] = column.range;
    if ((low !== null && found < low) || (high !== null && found > high)) throw refusal(column, meant);
  }
  if (column.rejectsUnknown && !Object.hasOwn(column.categories, found)) throw refusal(column, meant);
  return found;
};

/** Return what a text means that is no gap: without what does not count, and in its usual spelling. */
const asMeant = (column, text) => {
  if (column.start) {
    column.start.lastIndex = 0;
    const found = column.start.exec(stripped(text));
    if (found) text = found.length > 1 ? (found[1] ?? "") : found[0];
  }
  if (column.ignore_case) text = stripped(text).replace(INNER_BLANKS, " ").toLowerCase();
  const bare = stripped(text);
  return Object.hasOwn(column.replace, bare) ? column.replace[bare] : text;
};

const isGap = (column, value) => {
  if (value === null || value === undefined) return true;
  if (typeof value === "number") return Number.isNaN(value);
  if (typeof value !== "string") return false;
  const word = stripped(value);
  return word === "" || column.na_values.includes(word);
};
const gapOf = (column, value) => {
  if (column.nullable) return column.isString ? "" : NaN;
  throw new CellError(`expected ${column.expectation}, got a missing value (${shown(value)}); the column is not nullable`);
};
const refusal = (column, value) => {
  const letters = Array.from(shown(value)),
    short = letters.length <= 80 ? letters : [...letters.slice(0, 77), "..."];
  return new CellError(`expected ${column.expectation}, got ${short.join("")}; ${column.training_summary}`);
};

const readNumber = (column, value) => {
  if (typeof value !== "number" && typeof value !== "string") throw refusal(column, value);
  const [word, factor] = typeof value === "string" ? bareNumber(column, value) : [value, 1];
  const found = typeof word === "number" ? word : PLAIN_NUMBER.test(stripped(word)) ? Number(stripped(word)) : NaN;
  if (!Number.isFinite(found)) throw refusal(column, value);
  return factor === 1 ? found : found * factor;
};
/** Return a number's text without what its column lets surround and part it, and the factor of its unit. */
const bareNumber = (column, text) => {
  let word = stripped(text),
    factor = 1;
  for (const affix of column.strip) {
    if (word.startsWith(affix)) word = word.slice(affix.length);
    if (word.endsWith(affix)) word = word.slice(0, word.length - affix.length);
    word = stripped(word);
  }
  const unit = Object.keys(column.units).find((name) => word.endsWith(name));
  if (unit !== undefined) [word, factor] = [stripped(word.slice(0, word.length - unit.length)), column.units[unit]];
  return [withoutThousands(column, word, text), factor];
};
const withoutThousands = (column, word, text) => {
  const { thousands, decimal } = column;
  if (thousands) word = word.replace(BLANK_BETWEEN_THOUSANDS, thousands);
  if (thousands && word.includes(thousands)) {
    // Where a comma parts thousands, "12,5" is no 125.
    const form = new RegExp(`^[-+]?\\d{1,3}(?:${escaped(thousands)}\\d{3})+(?:${escaped(decimal)}\\d*)?$`);
    if (!form.test(word)) return text;
    word = word.replaceAll(thousands, "");
  }
  return decimal === "." ? word : word.replaceAll(decimal, ".");
};
const readInteger = (column, value) => {
  const found = readNumber(column, value);
  if (found !== Math.floor(found) || Math.abs(found) > LARGEST_EXACT_INTEGER) throw refusal(column, value);
  return found;
};
const readBoolean = (column, value) => {
  const word = stripped(String(value)).toLowerCase();
  if (TRUE_WORDS.includes(word)) return 1;
  if (FALSE_WORDS.includes(word)) return 0;
  throw refusal(column, value);
};
const readWords = (column, value) => {
  if (typeof value === "object") throw refusal(column, value);
  const found = typeof value === "boolean" ? String(value) : asMeant(column, String(value));
  if (found.includes("\0")) {
    const start = Array.from(shown(value)).slice(0, 80).join("");
    throw new CellError(`expected ${column.expectation} without NUL characters, got ${start}`);
  }
  return found;
};
const readTime = (column, value) => {
  if (typeof value !== "string") throw refusal(column, value);
  const word = stripped(value);
  for (const format of column.date_formats) {
    const found = secondsByFormat(format, word);
    if (found !== null) return found;
  }
  const found = secondsByIso(word);
  if (found === null) throw refusal(column, value);
  return found;
};
const READERS = {
  number: readNumber,
  integer: readInteger,
  boolean: readBoolean,
  category: readWords,
  text: readWords,
  date: readTime,
  datetime: readTime,
};

/** Return a value as Python shows it. */
const shown = (value) => {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value === "number") return value === Infinity ? "inf" : value === -Infinity ? "-inf" : String(value);
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  const usual = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", [quote]: `\\${quote}` };
  const letters = Array.from(value, (letter) => {
    if (letter in usual) return usual[letter];
    if (letter === " " || !/[\p{C}\p{Z}]/u.test(letter)) return letter;
    const code = letter.codePointAt(0),
      [mark, width] = code < 256 ? ["x", 2] : code < 65536 ? ["u", 4] : ["U", 8];
    return `\\${mark}${code.toString(16).padStart(width, "0")}`;
  });
  return `${quote}${letters.join("")}${quote}`;
};

/** Return what is wrong with the names of a row's columns, as [message, column]. */
const nameFaults = ({ features, known, refusesUnknown }, names) => {
  const there = new Set(names.map((name) => known.get(name) ?? name));
  const orNull = (column) => (column.nullable ? " or null" : "");
  const missing = features
    .filter((column) => !there.has(column.name))
    .map((column) => [`missing: expected ${column.expectation}${orNull(column)}`, column.name]);
  const unknown = [...there].filter((name) => !known.has(name)).sort();
  return [...missing, ...(refusesUnknown ? unknown.map((name) => ["unknown column", name]) : [])];
};

/** Return { cells, faults } of a row, a value per name: cells by column as the graph takes them. */
const readRow = (contract, row, number) => {
  const values = new Map(Object.entries(row).map(([name, value]) => [contract.known.get(name) ?? name, value]));
  const faults = [],
    cells = new Map();
  for (const column of contract.features) {
    try {
      cells.set(column.name, readCell(column, values.get(column.name)));
    } catch (error) {
      if (!(error instanceof CellError)) throw error;
      faults.push(faultOf(number, column.name, error.message));
    }
  }
  return { cells, faults };
};
const faultOf = (row, column, message) => ({
  row,
  column,
  message,
  text: `row ${row}, column ${shown(column)}: ${message}`,
});

/** Whether a value, as read, lies outside what training saw; a gap never does. */
const isOutside = (column, value) => {
  if (column.kind === "text") return false;
  if (typeof value === "string") return value !== "" && !Object.hasOwn(column.categories, value);
  return column.training_range !== null && (value < column.training_range[0] || value > column.training_range[1]);
};

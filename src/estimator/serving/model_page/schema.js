// Values -> cells of the graph, one by one and by row; error messages are those of the server and the command line.

const LARGEST_EXACT_INTEGER = Number.MAX_SAFE_INTEGER;
const TRUE_SPELLINGS = ["true", "t", "yes", "y", "1", "1.0"],
  FALSE_SPELLINGS = ["false", "f", "no", "n", "0", "0.0"];
const DEFAULTS = {
  nullable: false,
  na_values: [],
  categories: {},
  unknown: "other",
  times: [],
  refusals: [],
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
  on_missing: null,
  required: null,
  default: null,
};
const PLAIN_NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** The value is invalid; the message names the expected and the actual value. */
class CellError extends Error {}

const columnOf = (name, data) => {
  const column = { ...DEFAULTS, ...data, name, isString: ["category", "text"].includes(data.kind) };
  column.isTime = ["date", "datetime"].includes(data.kind);
  column.isNumber = ["number", "integer"].includes(data.kind);
  column.rejectsUnknown = data.kind === "category" && column.unknown === "error";
  column.times = column.times.map(({ pattern, letters }) => ({ regex: anchored(pattern), letters }));
  column.refusals = column.refusals.map(([pattern, sentence]) => [anchored(pattern), sentence]);
  column.imputes = column.on_missing === "impute" && !column.nullable;
  column.acceptsMissing = column.nullable || column.imputes;
  column.isRequired = column.required ?? !(column.acceptsMissing || column.default !== null);
  column.start = column.pattern === null ? null : patternOf(column.pattern);
  column.naNumbers = naNumbersOf(column);
  return column;
};
/** Return the numbers and times that mean a missing value, because `na_values` spells them; infinities among them. */
const naNumbersOf = (column) => {
  if (!column.isNumber && !column.isTime) return [];
  const plain = { ...DEFAULTS, times: column.times, expectation: "", training_summary: "" };
  return column.na_values.flatMap((text) => {
    try {
      return [column.isTime ? readTime(plain, text) : readNumber(plain, text)];
    } catch (error) {
      const infinity = column.isNumber ? infinityOf(text) : null;
      return infinity === null ? [] : [infinity];
    }
  });
};
const infinityOf = (text) => {
  const word = trim(text);
  if (/^[+-]?inf(?:inity)?$/i.test(word)) return word.startsWith("-") ? -Infinity : Infinity;
  return PLAIN_NUMBER.test(word) && !Number.isFinite(Number(word)) ? Number(word) : null;
};
const anchored = (pattern) => new RegExp(`^(?:${pattern})$`);
/** Return a regular expression of Python, anchored at the start; \d, \w and \s match any script, as in Python. */
const patternOf = (text) => {
  const classes = { d: "\\p{Nd}", w: "\\p{L}\\p{N}_", s: "\\s" };
  let inside = false;
  const translated = text.replace(/\\(.)|[[\]]/gsu, (result, letter) => {
    if (letter === undefined) {
      inside = result === "[";
      return result;
    }
    if (letter in classes) return inside || letter === "d" ? classes[letter] : `[${classes[letter]}]`;
    return /[\^$\\.*+?()[\]{}|/-]|[a-zA-Z0-9]/.test(letter) && !(letter === "-" && !inside) ? result : letter;
  });
  return new RegExp(translated, "yu");
};

// White space as Python defines it: without the byte order mark, with the separators of records.
const BLANKS = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const OUTER_BLANKS = new RegExp(`^[${BLANKS}]+|[${BLANKS}]+$`, "g"),
  INNER_BLANKS = new RegExp(`[${BLANKS}]+`, "g");
const BLANK_BETWEEN_THOUSANDS = new RegExp(`(?<=\\d)[${BLANKS}](?=\\d{3}(?!\\d))`, "g");
const trim = (text) => text.replace(OUTER_BLANKS, "");
const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

/** Return the value as the graph takes it: a number, NaN if missing, or a string, "" if missing. Throws CellError. */
const readCell = (column, value) => {
  if (isMissing(column, value)) return missingValue(column, value);
  const meant = typeof value === "string" && !column.isString ? normalize(column, value) : value;
  const result = READERS[column.kind](column, meant);
  if (column.naNumbers.includes(result)) return missingValue(column, value);
  if (typeof result === "number" && column.range !== null) {
    const [low, high] = column.range;
    if ((low !== null && result < low) || (high !== null && result > high)) throw unexpected(column, meant);
  }
  if (column.rejectsUnknown && !Object.hasOwn(column.categories, result)) throw unexpected(column, meant);
  return result;
};

/** Return a non-missing text with `pattern`, `ignore_case` and `replace` of its column applied. */
const normalize = (column, text) => {
  if (column.start) {
    column.start.lastIndex = 0;
    const result = column.start.exec(trim(text));
    if (result) text = result.length > 1 ? (result[1] ?? "") : result[0];
  }
  if (column.ignore_case) text = trim(text).replace(INNER_BLANKS, " ").toLowerCase();
  const bare = trim(text);
  return Object.hasOwn(column.replace, bare) ? column.replace[bare] : text;
};

const isMissing = (column, value) => {
  if (value === null || value === undefined) return true;
  if (typeof value === "number") {
    const isListed = column.isString ? column.na_values.includes(String(value)) : column.naNumbers.includes(value);
    return Number.isNaN(value) || isListed;
  }
  if (typeof value !== "string") return false;
  const word = trim(value);
  return word === "" || column.na_values.includes(word) || column.naNumbers.includes(infinityOf(word));
};
const missingValue = (column, value) => {
  if (column.acceptsMissing) return column.isString ? "" : NaN;
  throw new CellError(`expected ${column.expectation}, got a missing value (${repr(value)}); the column is not nullable`);
};
const unexpected = (column, value, remark) => {
  const letters = Array.from(repr(value)),
    short = letters.length <= 80 ? letters : [...letters.slice(0, 77), "..."];
  return new CellError(`expected ${column.expectation}, got ${short.join("")}${remark ? `, ${remark}` : ""}; ${column.training_summary}`);
};

const readNumber = (column, value) => {
  if (typeof value !== "number" && typeof value !== "string") throw unexpected(column, value);
  const [word, factor] = typeof value === "string" ? bareNumber(column, value) : [value, 1];
  const result = typeof word === "number" ? word : PLAIN_NUMBER.test(trim(word)) ? Number(trim(word)) : NaN;
  if (!Number.isFinite(result)) throw unexpected(column, value);
  return factor === 1 ? result : result * factor;
};
/** Return a number's text without affixes, unit and thousands separators, and the factor of its unit. */
const bareNumber = (column, text) => {
  let word = trim(text),
    factor = 1;
  for (const affix of column.strip) {
    // A sign may stand before the sign of a currency.
    const sign = "-+".includes(word[0] ?? "?") && trim(word.slice(1)).startsWith(affix) ? word[0] : "";
    word = trim(word.slice(sign.length));
    if (word.startsWith(affix)) word = word.slice(affix.length);
    if (word.endsWith(affix)) word = word.slice(0, word.length - affix.length);
    word = sign + trim(word);
  }
  const unit = Object.keys(column.units).find((name) => word.endsWith(name));
  if (unit !== undefined) [word, factor] = [trim(word.slice(0, word.length - unit.length)), column.units[unit]];
  return [withoutThousands(column, word, text), factor];
};
const withoutThousands = (column, word, text) => {
  const { thousands, decimal } = column;
  if (thousands) word = word.replace(BLANK_BETWEEN_THOUSANDS, thousands);
  if (thousands && word.includes(thousands)) {
    // Where a comma separates thousands, "12,5" is not 125.
    // In India, the groups before the last one have two digits.
    const sep = escaped(thousands),
      groups = `(?:\\d{1,3}(?:${sep}\\d{3})+|\\d{1,2}(?:${sep}\\d\\d)+${sep}\\d{3})`,
      form = new RegExp(`^[-+]?${groups}(?:${escaped(decimal)}\\d*)?$`);
    if (!form.test(word)) return decimal === "." ? text : "";
    word = word.replaceAll(thousands, "");
  }
  return decimal === "." ? word : word.replaceAll(decimal, ".");
};
const readInteger = (column, value) => {
  const result = readNumber(column, value);
  if (result !== Math.floor(result) || Math.abs(result) > LARGEST_EXACT_INTEGER) throw unexpected(column, value);
  return result;
};
const readBoolean = (column, value) => {
  const word = trim(String(value)).toLowerCase();
  if (TRUE_SPELLINGS.includes(word)) return 1;
  if (FALSE_SPELLINGS.includes(word)) return 0;
  throw unexpected(column, value);
};
const readString = (column, value) => {
  if (typeof value === "object") throw unexpected(column, value);
  const result = typeof value === "boolean" ? String(value) : normalize(column, String(value));
  if (result.includes("\0")) {
    const start = Array.from(repr(value)).slice(0, 80).join("");
    throw new CellError(`expected ${column.expectation} without NUL characters, got ${start}`);
  }
  return result;
};
const readTime = (column, value) => {
  if (typeof value !== "string" && typeof value !== "number") throw unexpected(column, value);
  // A number such as 20200131 is read by the column's own formats only; the last one is ISO 8601.
  const isText = typeof value === "string",
    word = isText ? trim(value) : String(value),
    seconds = secondsByFormats(isText ? column.times : column.times.slice(0, -1), word);
  if (seconds !== null) return seconds;
  const remark = isText ? column.refusals.find(([regex]) => regex.test(word))?.[1] : undefined;
  throw unexpected(column, value, remark);
};
const READERS = {
  number: readNumber,
  integer: readInteger,
  boolean: readBoolean,
  category: readString,
  text: readString,
  date: readTime,
  datetime: readTime,
};

/** Return a value as Python shows it. */
const repr = (value) => {
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

/** Return the faults in the names of a row's columns, as [message, column]. */
const columnFaults = ({ features, aliases, rejectsUnknownColumns }, names) => {
  const present = new Set(names.map((name) => aliases.get(name.normalize("NFC")) ?? name));
  const orNull = (column) => (column.acceptsMissing ? " or null" : "");
  const missing = features
    .filter((column) => column.isRequired && !present.has(column.name))
    .map((column) => [`missing: expected ${column.expectation}${orNull(column)}`, column.name]);
  const unknown = [...present].filter((name) => !aliases.has(name)).sort();
  return [...missing, ...(rejectsUnknownColumns ? unknown.map((name) => ["unknown column", name]) : [])];
};

/** Return { cells, faults } of a row, a value per name: cells by column as the graph takes them. */
const readRow = (schema, row, number) => {
  const values = new Map(Object.entries(row).map(([name, value]) => [schema.aliases.get(name.normalize("NFC")) ?? name, value]));
  const faults = [],
    cells = new Map();
  for (const column of schema.features) {
    try {
      cells.set(column.name, readCell(column, values.has(column.name) ? values.get(column.name) : column.default));
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
  text: `row ${row}, column ${repr(column)}: ${message}`,
});

/** Whether the missing value in a cell is imputed. */
const isImputed = (column, value) => column.imputes && (value === "" || Number.isNaN(value));
/** Whether a cell is outside the training range; missing values and text never are. */
const isOutOfRange = (column, value) => {
  if (column.kind === "text") return false;
  if (typeof value === "string") return value !== "" && !Object.hasOwn(column.categories, value);
  return column.training_range !== null && (value < column.training_range[0] || value > column.training_range[1]);
};

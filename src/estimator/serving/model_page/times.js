// Dates and times as text -> seconds since 1970 UTC. The expressions, and the letters of their groups, are made by
// core/date_formats.py, which says what each letter means.

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const PIVOT_YEAR = 69,
  DAY_SECONDS = 86400,
  FIRST_SECOND = -62135596800,
  LAST_SECOND = 253402300799;

/** Return the seconds of a text by the first of the formats that reads it, or null. */
const secondsByFormats = (formats, text) => {
  for (const { regex, letters } of formats) {
    const groups = regex.exec(text);
    const seconds = groups && secondsOf(partsOf(letters, groups.slice(1)));
    if (seconds !== null) return seconds;
  }
  return null;
};

/** Return the value of each letter that a text has; a name of a zone or a weekday has none. */
const partsOf = (letters, groups) => {
  const parts = {};
  groups.forEach((group, index) => {
    const letter = letters[index];
    if (group === undefined || "aAZ".includes(letter)) return;
    if (letter === "z") parts.z = offsetOf(group);
    else if (letter === "f") parts.f = Number(group.slice(0, 6).padEnd(6, "0"));
    else if (letter === "p") parts.p = group[0].toLowerCase() === "p" ? 12 : 0;
    else if ("bB".includes(letter)) parts.m = MONTHS.indexOf(group.slice(0, 3).toLowerCase()) + 1;
    else parts[letter] = Number(group);
  });
  return parts;
};

/** Return the seconds that a zone such as +02:00 is ahead; NaN where no zone is. */
const offsetOf = (text) => {
  if (!"+-".includes(text[0])) return 0;
  const [hours, minutes = 0, seconds = 0] = text.slice(1).replaceAll(":", "").match(/\d\d/g).map(Number);
  const size = hours * 3600 + minutes * 60 + seconds;
  return hours > 23 || minutes > 59 || seconds > 59 ? NaN : text[0] === "-" ? -size : size;
};

/** Return the seconds of a moment in parts; null where there is no such day or time. */
const secondsOf = ({ Y, y, m = 1, d = 1, H = 0, I, p, M = 0, S = 0, f = 0, z = 0 }) => {
  const days = daysOf(Y ?? (y < PIVOT_YEAR ? 2000 : 1900) + y, m, d);
  const hour = I === undefined ? H : (I % 12) + p;
  if (days === null || (I !== undefined && (I < 1 || I > 12)) || M > 59 || Number.isNaN(z)) return null;
  if (hour > 24 || (hour === 24 && M + S + f > 0)) return null;
  const seconds = days * DAY_SECONDS + hour * 3600 + M * 60 + S - z;
  if (S > 60 || (S === 60 && seconds % DAY_SECONDS !== 0)) return null;
  return seconds < FIRST_SECOND || seconds > LAST_SECOND ? null : seconds + f / 1e6;
};

const daysOf = (year, month, day) => {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const same = date.getUTCFullYear() === year && date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  return same && year > 0 ? date.getTime() / (DAY_SECONDS * 1000) : null;
};

/** Return seconds as a date, or as a date and time. */
const formatTime = (seconds) => {
  const text = new Date(seconds * 1000).toISOString();
  return seconds % 86400 === 0 ? text.slice(0, 10) : text.slice(0, 19).replace("T", " ");
};

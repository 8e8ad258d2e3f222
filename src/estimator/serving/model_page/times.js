// Dates and times as text -> seconds since 1970 UTC, as Python's strptime and fromisoformat read them.

const MONTHS = [
  "january",
  "february",
  "march",
  "april",
  "may",
  "june",
  "july",
  "august",
  "september",
  "october",
  "november",
  "december",
];
const WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const shortened = (names) => names.map((name) => name.slice(0, 3));

// What a letter after % stands for: its pattern, and how it sets a part of the time. Python writes no page
// whose formats have other letters.
const DIRECTIVES = new Map([["%", { pattern: "%", set: () => {} }]]);
const directive = (letter, pattern, set) => DIRECTIVES.set(letter, { pattern, set });
const named = (names) => [names.join("|"), (text) => names.indexOf(text.toLowerCase())];
const byName = (letter, names, set) => {
  const [pattern, placeOf] = named(names);
  directive(letter, pattern, (moment, text) => set(moment, placeOf(text)));
};

directive("Y", "\\d{4}", (moment, text) => {
  moment.year = Number(text);
});
directive("y", "\\d\\d", (moment, text) => {
  moment.year = Number(text) + (Number(text) < 69 ? 2000 : 1900);
});
directive("m", "1[0-2]|0[1-9]|[1-9]", (moment, text) => {
  moment.month = Number(text);
});
directive("d", "3[0-1]|[1-2]\\d|0[1-9]|[1-9]| [1-9]", (moment, text) => {
  moment.day = Number(text);
});
directive("H", "2[0-3]|[0-1]\\d|\\d", (moment, text) => {
  moment.hour = Number(text);
});
directive("I", "1[0-2]|0[1-9]|[1-9]| [1-9]", (moment, text) => {
  moment.half = Number(text) % 12;
});
directive("M", "[0-5]\\d|\\d", (moment, text) => {
  moment.minute = Number(text);
});
directive("S", "6[0-1]|[0-5]\\d|\\d", (moment, text) => {
  moment.second = Number(text);
});
directive("f", "\\d{1,6}", (moment, text) => {
  moment.micro = Number(text.padEnd(6, "0"));
});
directive("p", "am|pm", (moment, text) => {
  moment.later = text.toLowerCase() === "pm" ? 12 : 0;
});
directive("z", "[+-]\\d\\d:?[0-5]\\d(?::?[0-5]\\d(?:\\.\\d{1,6})?)?|Z", (moment, text) => {
  moment.zone = zoneOf(text);
});
byName("B", MONTHS, (moment, index) => {
  moment.month = index + 1;
});
byName("b", shortened(MONTHS), (moment, index) => {
  moment.month = index + 1;
});
byName("A", WEEKDAYS, () => {});
byName("a", shortened(WEEKDAYS), () => {});

/** Return seconds, or null where the text is not of the format. */
const secondsByFormat = (format, text) => {
  const setters = [];
  const pattern = format.replace(/%(.)|\s+|[\\.*+?^${}()|[\]/-]/gs, (result, letter) => {
    if (letter === undefined) return result.trim() === "" ? "\\s+" : `\\${result}`;
    const { pattern: part, set } = DIRECTIVES.get(letter);
    setters.push(set);
    return `(${part})`;
  });
  const parts = new RegExp(`^${pattern}$`, "i").exec(text);
  if (!parts) return null;
  const moment = { year: 1900 };
  setters.forEach((set, index) => set(moment, parts[index + 1]));
  if (moment.half !== undefined) moment.hour = moment.half + (moment.later ?? 0);
  return secondsOf(moment);
};

const ISO_DATES = [
  /^(?<year>\d{4})-(?<month>\d\d)-(?<day>\d\d)(?<rest>.*)$/s,
  /^(?<year>\d{4})(?<month>\d\d)(?<day>\d\d)(?<rest>.*)$/s,
  /^(?<year>\d{4})-W(?<week>\d\d)(?:-(?<weekday>\d))?(?<rest>.*)$/s,
  /^(?<year>\d{4})W(?<week>\d\d)(?<weekday>\d)?(?<rest>.*)$/s,
];
const ZONE = "(?<zone>Z|[+-]\\d\\d(?::?\\d\\d(?::?\\d\\d(?:[.,]\\d+)?)?)?)?";
const ISO_TIMES = [
  new RegExp(`^(?<hour>\\d\\d)(?::(?<minute>\\d\\d)(?::(?<second>\\d\\d)(?:[.,](?<fraction>\\d+))?)?)?${ZONE}$`),
  new RegExp(`^(?<hour>\\d\\d)(?:(?<minute>\\d\\d)(?:(?<second>\\d\\d)(?:[.,](?<fraction>\\d+))?)?)?${ZONE}$`),
];

/** Return seconds, or null where the text is not a date or time in ISO 8601. */
const secondsByIso = (text) => {
  const day = ISO_DATES.map((form) => form.exec(text)?.groups).find((result) => result);
  if (!day) return null;
  const moment = {
    year: Number(day.year),
    month: Number(day.month),
    day: Number(day.day),
    week: day.week && Number(day.week),
    weekday: Number(day.weekday ?? 1),
  };
  // Any one character may stand between day and time.
  const [mark, ...rest] = day.rest,
    clock = ISO_TIMES.map((form) => form.exec(rest.join(""))?.groups).find((result) => result);
  if (mark !== undefined) {
    if (!clock) return null;
    for (const part of ["hour", "minute", "second"]) moment[part] = Number(clock[part] ?? 0);
    moment.micro = Number((clock.fraction ?? "").slice(0, 6).padEnd(6, "0"));
    if (clock.zone) moment.zone = zoneOf(clock.zone);
  }
  return secondsOf(moment);
};

/** Return the seconds that a zone such as +02:00 is ahead. */
const zoneOf = (text) => {
  if (text.toUpperCase() === "Z") return 0;
  const [hours, minutes = 0, seconds = 0] = text
    .slice(1)
    .replaceAll(":", "")
    .match(/^\d\d|\d\d(?:[.,]\d+)?/g)
    .map((part) => Number(part.replace(",", ".")));
  const size = hours * 3600 + minutes * 60 + seconds;
  return minutes > 59 || seconds >= 60 || size >= 86400 ? NaN : text[0] === "-" ? -size : size;
};

/** Return the seconds of a moment in parts; null where there is no such day or time. */
const secondsOf = ({
  year,
  month = 1,
  day = 1,
  week,
  weekday,
  hour = 0,
  minute = 0,
  second = 0,
  micro = 0,
  zone = 0,
}) => {
  const days = week ? daysOfWeek(year, week, weekday) : daysOf(year, month, day);
  if (days === null || year < 1 || hour > 23 || minute > 59 || second > 59 || Number.isNaN(zone)) return null;
  return ((days * 86400 + hour * 3600 + minute * 60 + second - zone) * 1e6 + micro) / 1e6;
};

const daysOf = (year, month, day) => {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const same = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  return same ? date.getTime() / 86400000 : null;
};

const daysOfWeek = (year, week, weekday) => {
  // The fourth of January is in the first week, and 1970 began on a Thursday.
  const mondayOf = (of) => {
    const fourth = daysOf(of, 1, 4);
    return fourth - ((fourth + 3) % 7);
  };
  const first = mondayOf(year),
    weeks = (mondayOf(year + 1) - first) / 7;
  return week < 1 || week > weeks || weekday < 1 || weekday > 7 ? null : first + (week - 1) * 7 + weekday - 1;
};

/** Return seconds as a date, or as a date and time. */
const formatTime = (seconds) => {
  const text = new Date(seconds * 1000).toISOString();
  return seconds % 86400 === 0 ? text.slice(0, 10) : text.slice(0, 19).replace("T", " ");
};

// The form: a field per column, made from the contract. What is typed stays text, and the contract says what it means.

const MOST_CHOICES = 60,
  SLIDER_STEPS = 200;

/** Return a value of a golden row as it is typed; a gap is no text. */
const asTyped = (column, value) => {
  if (value === null || value === undefined) return "";
  if (column.isTime) return asMoment(secondsByIso(value));
  if (column.isNumber) return String(value).replace(".", column.decimal);
  return String(value);
};

/** Return the field of a column: { element, read, write, tell }; `changed` is called when its value has. */
const fieldOf = (column, place, changed) => {
  const id = `f${place}`,
    parts = controlOf(column, id),
    { control } = parts;
  const slider = sliderOf(column, control, changed);
  const fault = made("p", { class: "fault", id: `${id}-fault` }),
    hint = made("p", { class: "soft", id: `${id}-hint` }, hintOf(column));
  control.setAttribute("aria-describedby", `${id}-hint ${id}-fault`);
  const name = made("label", { for: id }, made("bdi", {}, column.name), ...(column.unit ? [` (${column.unit})`] : []));
  const element = made(
    "div",
    { class: "field" },
    name,
    control,
    ...parts.more,
    ...(slider ? [slider.element] : []),
    hint,
    fault,
  );
  control.addEventListener("input", () => changed(column));
  element.addEventListener("focusin", () => changed(column, { isLookedAt: true }));
  const write = (value) => {
    parts.prepare?.(value);
    control.value = value;
  };
  const tell = (message, cell) => {
    fault.textContent = message;
    control.setAttribute("aria-invalid", String(message !== ""));
    slider?.show(cell);
  };
  return { element, column, write, tell, read: () => (control.value === "" ? null : control.value) };
};

const controlOf = (column, id) => {
  if (column.kind === "text") return { control: made("textarea", { id, rows: 3 }), more: [] };
  const levels = Object.keys(column.categories).sort();
  if (column.kind === "boolean") return { control: choicesOf(id, ["true", "false"], column), more: [] };
  if (column.kind === "category" && levels.length <= MOST_CHOICES) {
    const control = choicesOf(id, levels, column);
    // A level of a row that training saw differently is offered as well.
    const prepare = (value) => {
      if (![...control.options].some((option) => option.value === value)) control.append(made("option", {}, value));
    };
    return { control, prepare, more: [] };
  }
  const control = made("input", {
    id,
    type: "text",
    autocomplete: "off",
    inputmode: column.isNumber ? "decimal" : undefined,
  });
  if (column.kind !== "category") return { control, more: [] };
  control.setAttribute("list", `${id}-levels`);
  return {
    control,
    more: [made("datalist", { id: `${id}-levels` }, ...levels.map((level) => made("option", { value: level })))],
  };
};

const choicesOf = (id, levels, column) => {
  const gap = column.nullable ? [made("option", { value: "" }, "– gap –")] : [];
  const unseen =
    column.kind === "category" && !column.rejectsUnknown
      ? [made("option", { value: "a level never seen" }, "– a level never seen –")]
      : [];
  return made("select", { id }, ...levels.map((level) => made("option", { value: level }, level)), ...gap, ...unseen);
};

/** Return the slider of a number or a time over what training saw; nothing for other kinds, or a single value. */
const sliderOf = (column, control, changed) => {
  if (!(column.isNumber || column.isTime) || column.training_range === null || column.training_range[0] === column.training_range[1]) return null;
  const [low, high] = column.training_range,
    step = stepOf(column);
  const element = made("input", { type: "range", min: low, max: high, step, "aria-label": `${column.name}, slider` });
  element.addEventListener("input", () => {
    const value = Math.min(high, low + Math.round((Number(element.value) - low) / step) * step);
    control.value = column.isTime ? asMoment(value) : asTyped(column, Number(value.toPrecision(12)));
    changed(column);
  });
  const show = (cell) => {
    if (cell === undefined || Number.isNaN(cell)) return;
    element.value = cell;
    element.setAttribute("aria-valuetext", control.value);
  };
  return { element, show };
};
const stepOf = ({ kind, training_range: [low, high] }) => {
  if (kind === "integer") return Math.max(1, Math.round((high - low) / 1000));
  if (kind === "date") return 86400;
  const raw = (high - low) / SLIDER_STEPS;
  return kind === "datetime" ? Math.max(1, Math.round(raw)) : 10 ** Math.floor(Math.log10(raw));
};

const hintOf = (column) => {
  const [low, high] = column.range ?? [null, null];
  const limits = [low === null ? "" : `at least ${low}`, high === null ? "" : `at most ${high}`]
    .filter((text) => text)
    .join(", ");
  const gaps = column.nullable ? "may be left empty" : "";
  const seen = column.kind === "category" || column.kind === "boolean" || column.kind === "text" ? "" : column.training_summary;
  return [seen, limits, gaps].filter((text) => text).join("; ");
};

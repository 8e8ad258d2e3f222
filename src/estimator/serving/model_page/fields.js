// The form: one field per column of the schema. Fields hold text, which the schema parses as it parses a CSV cell.

const MAX_CHOICES = 60,
  SLIDER_STEPS = 200,
  MISSING = "– missing –";

/** Return a value of a golden row as a user would type it; "" if it is missing. */
const asText = (column, value) => {
  if (value === null || value === undefined) return "";
  if (column.isTime) return formatTime(secondsByFormats(column.times, value));
  if (column.isNumber) return String(value).replace(".", column.decimal);
  return String(value);
};

/** Return the field of a column: { element, read, write, show }; `changed` is called when its value changes. */
const fieldOf = (column, index, changed) => {
  const id = `f${index}`,
    parts = controlOf(column, id),
    { control } = parts;
  const slider = sliderOf(column, control, changed);
  const fault = html("p", { class: "fault", id: `${id}-fault` }),
    hint = html("p", { class: "soft", id: `${id}-hint` }, hintOf(column));
  control.setAttribute("aria-describedby", `${id}-hint ${id}-fault`);
  const name = html("label", { for: id }, html("bdi", {}, column.name), ...(column.unit ? [` (${column.unit})`] : []));
  const element = html(
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
  element.addEventListener("focusin", () => changed(column, { isFocusOnly: true }));
  const write = (value) => {
    parts.prepare?.(value);
    control.value = value;
  };
  const show = (message, cell) => {
    fault.textContent = message;
    control.setAttribute("aria-invalid", String(message !== ""));
    slider?.show(cell);
  };
  return { element, column, write, show, read: () => (control.value === "" ? null : control.value) };
};

const controlOf = (column, id) => {
  if (column.kind === "text") return { control: html("textarea", { id, rows: 3 }), more: [] };
  const categories = Object.keys(column.categories).sort();
  if (column.kind === "boolean") return { control: choicesOf(id, ["true", "false"], column), more: [] };
  if (column.kind === "category" && categories.length <= MAX_CHOICES) {
    const control = choicesOf(id, categories, column);
    // A golden row may hold a spelling that is not in the list.
    const prepare = (value) => {
      if (![...control.options].some((option) => option.value === value)) control.append(html("option", {}, value));
    };
    return { control, prepare, more: [] };
  }
  const control = html("input", {
    id,
    type: "text",
    autocomplete: "off",
    inputmode: column.isNumber ? "decimal" : undefined,
  });
  if (column.kind !== "category") return { control, more: [] };
  control.setAttribute("list", `${id}-categories`);
  return {
    control,
    more: [html("datalist", { id: `${id}-categories` }, ...categories.map((name) => html("option", { value: name })))],
  };
};

const choicesOf = (id, categories, column) => {
  const missing = column.acceptsMissing ? [html("option", { value: "" }, MISSING)] : [];
  const unknown =
    column.kind === "category" && !column.rejectsUnknown
      ? [html("option", { value: "an unknown category" }, "– unknown category –")]
      : [];
  return html("select", { id }, ...categories.map((name) => html("option", { value: name }, name)), ...missing, ...unknown);
};

/** Return the slider of a number or a time over its training range; null for other kinds, or a single value. */
const sliderOf = (column, control, changed) => {
  if (!(column.isNumber || column.isTime) || column.training_range === null || column.training_range[0] === column.training_range[1]) return null;
  const [low, high] = column.training_range,
    step = stepOf(column);
  const element = html("input", { type: "range", min: low, max: high, step, "aria-label": `${column.name}, slider` });
  element.addEventListener("input", () => {
    const value = Math.min(high, low + Math.round((Number(element.value) - low) / step) * step);
    control.value = column.isTime ? formatTime(value) : asText(column, Number(value.toPrecision(12)));
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
  const optional = column.imputes ? "imputed when empty" : column.nullable ? "may be empty" : "";
  const summary = column.kind === "category" || column.kind === "boolean" || column.kind === "text" ? "" : column.training_summary;
  return [summary, limits, optional].filter((text) => text).join("; ");
};

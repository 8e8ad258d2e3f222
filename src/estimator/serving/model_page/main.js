// Start-up: the graph is decompressed and checked on its golden rows, and predicts the row in the form.

const MAX_ERROR = 1e-6,
  ANNOUNCE_DELAY_MS = 600;
let model;

const start = async () => {
  const data = JSON.parse(query("#model").textContent),
    bytes = await decompressed(query("#graph").textContent);
  const graph = readGraph(bytes);
  model = modelOf(data, graph);
  startForm();
  startBatch(model);
  document.body.dataset.ready = "yes";
  await pause();
  showFacts(graph, bytes.length);
};

const startForm = () => {
  const byName = new Map(model.schema.features.map((column) => [column.name, column])),
    features = model.column_order.map((name) => byName.get(name)),
    fields = [],
    columnSelect = query("#column"),
    classSelect = query("#class");
  let current = features[0],
    isScheduled = false,
    effectTimer = 0,
    announceTimer = 0;
  const update = () => {
    isScheduled = false;
    const outcome = model.predictRow(Object.fromEntries(fields.map(({ column, read }) => [column.name, read()])));
    const faults = new Map(outcome.faults.map(({ column, message }) => [column, message]));
    for (const { column, show } of fields) show(faults.get(column.name) ?? "", outcome.cells.get(column.name));
    showPrediction(model, outcome);
    // The curve needs many predictions, so the one of the row is shown first.
    clearTimeout(effectTimer);
    effectTimer = setTimeout(() => showEffect(model, outcome, current, Number(classSelect.value)), 0);
    clearTimeout(announceTimer);
    announceTimer = setTimeout(() => {
      query("#spoken").textContent = spoken(model, outcome);
    }, ANNOUNCE_DELAY_MS);
  };
  // However fast a slider moves, the page updates once a frame.
  const changed = (column, { isFocusOnly = false } = {}) => {
    if (isFocusOnly && column === current) return;
    [current, columnSelect.value] = [column, column.name];
    if (!isScheduled) requestAnimationFrame(update);
    isScheduled = true;
  };
  fields.push(...features.map((column, index) => fieldOf(column, index, changed)));
  query("#fields").append(...fields.map(({ element }) => element));
  columnSelect.append(...features.map(({ name }) => html("option", { value: name }, name)));
  columnSelect.addEventListener("change", () => changed(byName.get(columnSelect.value)));
  const { classes } = model.task;
  classSelect.append(...classes.map((name, index) => html("option", { value: index }, name)));
  classSelect.value = String(classes.length === 2 ? 1 : 0);
  query("#class-choice").hidden = classes.length === 0;
  classSelect.addEventListener("change", () => changed(current));
  const rowSelect = query("#row"),
    { rows } = model.golden;
  rowSelect.append(...rows.map((_, index) => html("option", { value: index }, `training row ${index + 1}`)));
  const load = () => {
    for (const { column, write } of fields) write(asText(column, rows[Number(rowSelect.value)]?.[column.name]));
    update();
  };
  rowSelect.addEventListener("change", load);
  query("#reset").addEventListener("click", load);
  const search = query("#search");
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    for (const { element, column } of fields) element.hidden = !column.name.toLowerCase().includes(wanted);
    const count = fields.filter(({ element }) => !element.hidden).length;
    query("#search-count").textContent = `${count} of ${fields.length} columns`;
  });
  load();
};

const showFacts = (graph, size) => {
  const counts = new Map();
  for (const { operator: name } of graph.nodes) counts.set(name, (counts.get(name) ?? 0) + 1);
  const error = checkGolden(model),
    isCorrect = error <= MAX_ERROR,
    check = query("#check");
  const rows = `${model.golden.rows.length} training rows`,
    difference = `largest relative difference ${error.toExponential(1)}`;
  check.textContent = isCorrect
    ? `Self-test passed: this browser reproduces the predictions of ${rows} (${difference}).`
    : `Self-test failed: this browser does not reproduce the predictions of ${rows} (${difference}). Do not rely on this page.`;
  check.classList.toggle("fault", !isCorrect);
  const facts = { ...model.facts, graph: `ONNX, ${graph.nodes.length} nodes, ${formatBytes(size)}` };
  query("#facts").append(
    ...Object.entries(facts).map(([name, text]) => html("div", {}, html("dt", {}, name), html("dd", {}, text))),
  );
  const operators = [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([name, count]) => html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, String(count))));
  query("#operators").append(...operators);
};

start().catch((error) => {
  query("#failure").textContent = `This page cannot predict: ${error.message}`;
  query("#failure").hidden = false;
  throw error;
});

// The page comes alive: the graph is unpacked, checked on its golden rows, and answers whatever the form says.

let model;

const start = async () => {
  const told = JSON.parse(one("#model").textContent),
    bytes = await unpacked(one("#graph").textContent);
  const graph = readGraph(bytes);
  model = modelOf(told, graph);
  startForm();
  startBatch(model);
  document.body.dataset.ready = "yes";
  await pause();
  showFacts(graph, bytes.length);
};

const startForm = () => {
  const byName = new Map(model.contract.features.map((column) => [column.name, column])),
    features = model.order.map((name) => byName.get(name)),
    fields = [],
    choice = one("#column"),
    level = one("#level");
  let current = features[0],
    isAsked = false,
    drawing = 0,
    speaking = 0;
  const ask = () => {
    isAsked = false;
    const found = model.answerRow(Object.fromEntries(fields.map(({ column, read }) => [column.name, read()])));
    const faults = new Map(found.faults.map(({ column, message }) => [column, message]));
    for (const { column, tell } of fields) tell(faults.get(column.name) ?? "", found.cells.get(column.name));
    showAnswer(model, found);
    // The curve asks for many answers: the one that was asked for is shown before.
    clearTimeout(drawing);
    drawing = setTimeout(() => showEffect(model, found, current, Number(level.value)), 0);
    clearTimeout(speaking);
    speaking = setTimeout(() => {
      one("#spoken").textContent = spoken(model, found);
    }, 600);
  };
  // However fast a slider moves, a picture is made once a frame.
  const changed = (column, { isLookedAt = false } = {}) => {
    if (isLookedAt && column === current) return;
    [current, choice.value] = [column, column.name];
    if (!isAsked) requestAnimationFrame(ask);
    isAsked = true;
  };
  fields.push(...features.map((column, place) => fieldOf(column, place, changed)));
  one("#fields").append(...fields.map(({ element }) => element));
  choice.append(...features.map(({ name }) => made("option", { value: name }, name)));
  choice.addEventListener("change", () => changed(byName.get(choice.value)));
  const { levels } = model.task;
  level.append(...levels.map((name, place) => made("option", { value: place }, name)));
  level.value = String(levels.length === 2 ? 1 : 0);
  one("#level-choice").hidden = levels.length === 0;
  level.addEventListener("change", () => changed(current));
  const row = one("#row"),
    { rows } = model.golden;
  row.append(...rows.map((_, place) => made("option", { value: place }, `row ${place + 1} of training`)));
  const load = () => {
    for (const { column, write } of fields) write(asTyped(column, rows[Number(row.value)]?.[column.name]));
    ask();
  };
  row.addEventListener("change", load);
  one("#again").addEventListener("click", load);
  const search = one("#search");
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    for (const { element, column } of fields) element.hidden = !column.name.toLowerCase().includes(wanted);
    const count = fields.filter(({ element }) => !element.hidden).length;
    one("#found").textContent = `${count} of ${fields.length} columns`;
  });
  load();
};

const showFacts = (graph, size) => {
  const counts = new Map();
  for (const { operator: name } of graph.nodes) counts.set(name, (counts.get(name) ?? 0) + 1);
  const far = checkGolden(model),
    isSame = far <= 1e-6,
    check = one("#check");
  const difference = `${far.toExponential(1)} of their size`,
    asked = `${model.golden.rows.length} rows with known answers`;
  check.textContent = isSame
    ? `${asked} were asked when this page opened: all as they must be (largest difference ${difference}).`
    : `${asked} get other answers in this browser: they differ by ${difference}. Do not rely on this page.`;
  check.classList.toggle("fault", !isSame);
  const facts = { ...model.facts, graph: `ONNX, ${graph.nodes.length} nodes, ${amount(size)}` };
  one("#facts").append(
    ...Object.entries(facts).map(([name, text]) => made("div", {}, made("dt", {}, name), made("dd", {}, text))),
  );
  const rows = [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([name, count]) => made("tr", {}, made("th", { scope: "row" }, name), made("td", {}, String(count))));
  one("#operators").append(...rows);
};

start().catch((error) => {
  one("#failure").textContent = `This page cannot answer: ${error.message}`;
  one("#failure").hidden = false;
  throw error;
});

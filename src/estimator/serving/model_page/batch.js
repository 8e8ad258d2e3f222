// A CSV file -> its predictions as a CSV file, computed in chunks so that the page stays responsive.

const CHUNK_ROWS = 500,
  MAX_FAULTS_SHOWN = 20,
  PREVIEW_ROWS = 5,
  PREVIEW_COLUMNS = 6;
const pause = () =>
  new Promise((resolve) => {
    setTimeout(resolve, 0);
  });
const formatCount = (count) => count.toLocaleString("en");

/** Return { predictions, faults }; the prediction of an invalid row is null. Throws FileError. */
const predictTable = async (model, { names, rows }, file, progress = () => {}) => {
  const wrong = columnFaults(model.schema, names);
  if (wrong.length)
    throw new FileError(`${file}: ${wrong.map(([message, column]) => faultOf(1, column, message).text).join("\n")}`);
  const predictions = Array(rows.length).fill(null),
    faults = [];
  for (let start = 0; start < rows.length; start += CHUNK_ROWS) {
    const valid = [],
      indices = [];
    rows.slice(start, start + CHUNK_ROWS).forEach((cells, step) => {
      const row = Object.fromEntries(names.map((name, index) => [name, cells[index]]));
      const read = readRow(model.schema, row, start + step + 1);
      faults.push(...read.faults);
      if (read.faults.length) return;
      valid.push(read.cells);
      indices.push(start + step);
    });
    if (valid.length)
      model.predict(valid).forEach((prediction, index) => {
        const row = indices[index],
          notFinite = finiteFaults(model.schema, valid[index], prediction, row + 1);
        faults.push(...notFinite);
        if (!notFinite.length) predictions[row] = prediction;
      });
    progress(Math.min(start + CHUNK_ROWS, rows.length), rows.length);
    await pause();
  }
  return { predictions, faults };
};

const startBatch = (model) => {
  const input = query("#file"),
    panel = query("#batch"),
    status = query("#batch-status"),
    bar = query("#batch-progress");
  let url = null;
  const run = async (file) => {
    query("#batch-result").replaceChildren();
    if (url) URL.revokeObjectURL(url);
    bar.hidden = false;
    try {
      const table = readCsv(await textOfFile(file), file.name);
      const { predictions, faults } = await predictTable(model, table, file.name, (done, all) => {
        [bar.value, bar.max] = [done, all];
      });
      const text = writeCsv(predictions, model.task.classes),
        nPredicted = predictions.filter((prediction) => prediction).length;
      url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      status.textContent = `predicted ${formatCount(nPredicted)} of ${formatCount(predictions.length)} rows`;
      const name = `${file.name.replace(/(\.csv|\.tsv|\.txt)?(\.gz)?$/i, "")}.predictions.csv`;
      const link = html("a", { class: "button", href: url, download: name }, `Download ${name}`);
      query("#batch-result").append(...resultParts(model, predictions, faults, table.notes, link));
    } catch (error) {
      status.textContent = "no predictions";
      query("#batch-result").append(html("p", { class: "fault" }, error.message));
    } finally {
      bar.hidden = true;
      input.value = "";
    }
  };
  input.addEventListener("change", () => {
    if (input.files[0]) run(input.files[0]);
  });
  for (const name of ["dragenter", "dragover"])
    panel.addEventListener(name, (event) => {
      event.preventDefault();
      panel.classList.add("over");
    });
  for (const name of ["dragleave", "drop"]) panel.addEventListener(name, () => panel.classList.remove("over"));
  panel.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) run(event.dataTransfer.files[0]);
  });
};

const resultParts = (model, predictions, faults, notes, link) => {
  const nHidden = faults.length - MAX_FAULTS_SHOWN,
    count = `${formatCount(faults.length)} ${faults.length === 1 ? "error" : "errors"}`;
  const lines = faults.slice(0, MAX_FAULTS_SHOWN).map(({ text }) => html("li", {}, text)),
    more = nHidden > 0 ? [html("li", {}, `and ${formatCount(nHidden)} more`)] : [];
  const noteList = notes.map((note) => html("p", { class: "soft" }, `note: ${note}`));
  const faultList = faults.length
    ? [html("p", {}, `Invalid rows have no prediction (${count}):`), html("ul", { class: "fault" }, ...lines, ...more)]
    : [];
  const shown = predictions
    .map((prediction, index) => [prediction, index])
    .filter(([prediction]) => prediction)
    .slice(0, PREVIEW_ROWS);
  if (!shown.length) return [...noteList, ...faultList];
  const columns = predictionColumns(shown[0][0], model.task.classes).slice(0, PREVIEW_COLUMNS);
  const head = html(
    "tr",
    {},
    html("th", { scope: "col" }, "row"),
    ...columns.map(([name]) => html("th", { scope: "col" }, name)),
  );
  const rows = shown.map(([prediction, index]) =>
    html(
      "tr",
      {},
      html("th", { scope: "row" }, String(index + 1)),
      ...columns.map(([, value]) => {
        const cell = value(prediction);
        return html("td", {}, typeof cell === "number" ? formatNumber(cell) : cell);
      }),
    ),
  );
  return [
    html("p", {}, link),
    ...noteList,
    ...faultList,
    html("div", { class: "scroll" }, html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows))),
  ];
};

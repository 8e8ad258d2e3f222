// A CSV file -> its answers as a CSV file, worked out in portions so that the page stays awake.

const PORTION = 500,
  MOST_FAULTS = 20,
  PREVIEW = 5;
const pause = () =>
  new Promise((resolve) => {
    setTimeout(resolve, 0);
  });

/** Return { answers, faults }: null for a row that breaks the contract. Throws FileError. */
const answerTable = async (model, { names, rows }, file, watch = () => {}) => {
  const wrong = nameFaults(model.contract, names);
  if (wrong.length)
    throw new FileError(`${file}: ${wrong.map(([message, column]) => faultOf(1, column, message).text).join("\n")}`);
  const answers = Array(rows.length).fill(null),
    faults = [];
  for (let start = 0; start < rows.length; start += PORTION) {
    const kept = [],
      places = [];
    rows.slice(start, start + PORTION).forEach((cells, step) => {
      const row = Object.fromEntries(names.map((name, place) => [name, cells[place]]));
      const read = readRow(model.contract, row, start + step + 1);
      faults.push(...read.faults);
      if (read.faults.length) return;
      kept.push(read.cells);
      places.push(start + step);
    });
    if (kept.length)
      model.answer(kept).forEach((one, place) => {
        answers[places[place]] = one;
      });
    watch(Math.min(start + PORTION, rows.length), rows.length);
    await pause();
  }
  return { answers, faults };
};

const startBatch = (model) => {
  const input = one("#file"),
    drop = one("#drop"),
    said = one("#batch-said"),
    progress = one("#batch-progress");
  let address = null;
  const run = async (file) => {
    one("#batch-result").replaceChildren();
    if (address) URL.revokeObjectURL(address);
    progress.hidden = false;
    try {
      const table = readCsv(await textOfFile(file), file.name);
      const { answers, faults } = await answerTable(model, table, file.name, (done, all) => {
        [progress.value, progress.max] = [done, all];
      });
      const text = writeCsv(answers, model.task.levels),
        answered = answers.filter((found) => found).length;
      address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      said.textContent = `${answered.toLocaleString("en")} of ${answers.length.toLocaleString("en")} rows answered`;
      const name = `${file.name.replace(/(\.csv|\.tsv|\.txt)?(\.gz)?$/i, "")}.answers.csv`;
      one("#batch-result").append(
        ...resultParts(
          model,
          answers,
          faults,
          made("a", { class: "button", href: address, download: name }, `Download ${name}`),
        ),
      );
    } catch (error) {
      said.textContent = "no answers";
      one("#batch-result").append(made("p", { class: "fault" }, error.message));
    } finally {
      progress.hidden = true;
      input.value = "";
    }
  };
  input.addEventListener("change", () => {
    if (input.files[0]) run(input.files[0]);
  });
  for (const name of ["dragenter", "dragover"])
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) run(event.dataTransfer.files[0]);
  });
};

const resultParts = (model, answers, faults, download) => {
  const left = faults.length - MOST_FAULTS;
  const count = `${faults.length.toLocaleString("en")} ${faults.length === 1 ? "fault" : "faults"}`;
  const lines = faults.slice(0, MOST_FAULTS).map(({ text }) => made("li", {}, text)),
    more = left > 0 ? [made("li", {}, `and ${left.toLocaleString("en")} more`)] : [];
  const told = faults.length
    ? [
        made("p", {}, `Rows that break the contract get no answer (${count}):`),
        made("ul", { class: "fault" }, ...lines, ...more),
      ]
    : [];
  const shownRows = answers
    .map((found, place) => [found, place])
    .filter(([found]) => found)
    .slice(0, PREVIEW);
  if (!shownRows.length) return told;
  const columns = answerColumns(shownRows[0][0], model.task.levels).slice(0, 6);
  const head = made(
    "tr",
    {},
    made("th", { scope: "col" }, "row"),
    ...columns.map(([name]) => made("th", { scope: "col" }, name)),
  );
  const rows = shownRows.map(([found, place]) =>
    made(
      "tr",
      {},
      made("th", { scope: "row" }, String(place + 1)),
      ...columns.map(([, value]) => {
        const cell = value(found);
        return made("td", {}, typeof cell === "number" ? figure(cell) : cell);
      }),
    ),
  );
  return [
    made("p", {}, download),
    ...told,
    made("div", { class: "scroll" }, made("table", {}, made("thead", {}, head), made("tbody", {}, ...rows))),
  ];
};

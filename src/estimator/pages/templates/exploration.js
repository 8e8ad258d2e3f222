"use strict";
// Search, sort, filter, copy, and one tooltip for all charts. Without JavaScript the page still shows everything.
(() => {
  const one = (selector) => document.querySelector(selector);
  const every = (selector, within = document) => [...within.querySelectorAll(selector)];
  const tip = one("#tip"), total = Number(one("main").dataset.rows);

  // Numbers, days and rows as text.
  const figure = (value) => Math.abs(value) >= 1e4 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
  const day = (seconds) => {
    const date = new Date(seconds * 1000);
    return isNaN(date) ? figure(seconds) : date.toISOString().slice(0, 10);
  };
  const rows = (count) => `${count.toLocaleString("en")} ${count === 1 ? "row" : "rows"} (${(100 * count / total).toFixed(1)}%)`;
  const numbers = (text) => text.split(" ").map(Number);

  // A reader of a chart: which part is under the pointer, where a part is, its text, and where an arrow key leads.
  const along = (back, on) => (index, key) => back.includes(key) ? index - 1 : on.includes(key) ? index + 1 : index;
  const histogram = (chart) => {
    const [low, high, left, right] = numbers(chart.dataset.bins), counts = numbers(chart.dataset.counts);
    const width = chart.viewBox.baseVal.width, step = (high - low) / counts.length;
    const label = "days" in chart.dataset ? day : figure;
    return {
      size: counts.length,
      at: (event, box) => Math.floor(((event.clientX - box.left) / box.width * width - left) / (right - left) * counts.length),
      anchor: (index, box) => [box.left + box.width * (left + (index + 0.5) / counts.length * (right - left)) / width, box.top],
      text: (index) => `${label(low + index * step)} to ${label(low + (index + 1) * step)}: ${rows(counts[index])}`,
      step: along(["ArrowLeft", "ArrowDown"], ["ArrowRight", "ArrowUp"]),
    };
  };
  const barTable = (chart) => {
    const lines = every("tbody tr", chart), counts = numbers(chart.dataset.counts), heads = every("thead th", chart);
    return {
      size: counts.length,
      at: (event) => lines.indexOf(event.target.closest("tr")),
      anchor: (index) => {
        const box = lines[index].getBoundingClientRect();
        return [box.left + box.width / 2, box.top];
      },
      text: (index) => {
        const cells = every("th, td", lines[index]).map((cell) => cell.textContent);
        const mean = cells[2] ? `\n${heads[2].textContent} ${cells[2]}` : "";
        return `${cells[0]}: ${rows(counts[index])}${mean}`;
      },
      step: along(["ArrowLeft", "ArrowUp"], ["ArrowRight", "ArrowDown"]),
    };
  };
  const triangle = (chart) => {
    const names = JSON.parse(chart.dataset.names), values = numbers(chart.dataset.values), cell = Number(chart.dataset.cell);
    const start = (row) => row * (row - 1) / 2;
    const rowOf = (index) => Math.floor((1 + Math.sqrt(1 + 8 * index)) / 2);
    const index = (row, column) => column >= 0 && column < row && row < names.length ? start(row) + column : -1;
    const scale = (box) => cell * box.width / chart.viewBox.baseVal.width;
    return {
      size: values.length,
      at: (event, box) => index(Math.floor((event.clientY - box.top) / scale(box)), Math.floor((event.clientX - box.left) / scale(box))),
      anchor: (part, box) => {
        const row = rowOf(part);
        return [box.left + (part - start(row) + 0.5) * scale(box), box.top + row * scale(box)];
      },
      text: (part) => {
        const row = rowOf(part);
        return `${names[row]} × ${names[part - start(row)]}: ${(values[part] / 100).toFixed(2)}`;
      },
      step: (part, key) => {
        const row = rowOf(part), column = part - start(row);
        return { ArrowLeft: index(row, column - 1), ArrowRight: index(row, column + 1), ArrowUp: index(row - 1, column), ArrowDown: index(row + 1, column) }[key] ?? part;
      },
    };
  };

  const charts = "svg[data-bins], svg[data-names], .bar-table[data-counts]";
  const readers = new WeakMap();
  const readerOf = (chart) => {
    if (!readers.has(chart)) readers.set(chart, (chart.dataset.bins ? histogram : chart.dataset.names ? triangle : barTable)(chart));
    return readers.get(chart);
  };
  let shown = 0, byKeyboard = false;
  const hide = () => { tip.hidden = true; };
  const show = (text, x, y) => {
    if (tip.textContent !== text) tip.textContent = text;
    tip.hidden = false;
    const left = Math.max(8, Math.min(x - tip.offsetWidth / 2, document.documentElement.clientWidth - tip.offsetWidth - 8));
    const above = y - tip.offsetHeight - 10;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(above < 4 ? y + 22 : above)}px)`;
  };
  const showPart = (chart, index) => {
    const reader = readerOf(chart);
    if (index < 0 || index >= reader.size) return;
    shown = index;
    byKeyboard = true;
    show(reader.text(index), ...reader.anchor(index, chart.getBoundingClientRect()));
  };
  const point = (event) => {
    const chart = event.target.closest?.(charts);
    if (!chart) {
      if (!byKeyboard) hide();
      return;
    }
    const reader = readerOf(chart), index = reader.at(event, chart.getBoundingClientRect());
    byKeyboard = false;
    if (index >= 0 && index < reader.size) show(reader.text(index), event.clientX, event.clientY);
    else hide();
  };
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("focusin", (event) => {
    if (event.target.matches(charts) && event.target.matches(":focus-visible")) showPart(event.target, 0);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", () => { if (!byKeyboard) hide(); }, { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if (!event.key.startsWith("Arrow") || !event.target.matches(charts)) return;
    event.preventDefault();
    showPart(event.target, readerOf(event.target).step(shown, event.key));
  });

  // Columns: search and sort.
  const search = one("#search"), list = one("#cards");
  let indexed;
  // Cards are read on first use, so that a page of many columns opens faster.
  const cards = () => indexed ??= every("#cards > article").map((card, position) => {
    const [association, missing, skewness, distinct] = numbers(card.dataset.sorting);
    const name = card.querySelector("h3").textContent, kind = card.querySelector(".kind span").textContent;
    return { card, position, association, missing, skewness, distinct, name, kind, text: `${name} ${kind}`.toLowerCase() };
  });
  const showMatches = () => {
    const query = search.value.trim().toLowerCase();
    for (const item of cards()) item.card.hidden = !item.text.includes(query);
    const count = cards().filter((item) => !item.card.hidden).length;
    one("#column-count").textContent = `${count.toLocaleString("en")} of ${cards().length.toLocaleString("en")} columns`;
  };
  search?.addEventListener("input", showMatches);
  const { compare } = new Intl.Collator("en", { numeric: true });
  one("#sort")?.addEventListener("change", (event) => {
    const key = event.target.value;
    const order = (a, b) => key === "position" ? 0 : key === "name" || key === "kind" ? compare(a[key], b[key]) : b[key] - a[key];
    list.append(...cards().sort((a, b) => order(a, b) || a.position - b.position).map((item) => item.card));
  });

  // Findings: filter by severity, copy an edit.
  const boxes = every("#severities input"), findings = every(".finding");
  const filter = () => {
    const severities = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    for (const item of findings) item.hidden = !severities.has(item.dataset.severity);
    one("#finding-count").textContent = `${findings.filter((item) => !item.hidden).length} of ${findings.length} findings`;
  };
  one("#severities")?.addEventListener("change", filter);
  const copyOld = (text) => {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyOld(text);
    }
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]"), link = event.target.closest('a[href^="#"]');
    if (button) {
      const copied = await copy(button.previousElementSibling.textContent);
      button.focus();
      button.textContent = copied ? "Copied" : "Select it";
      one("#copied").textContent = copied ? "Copied to the clipboard." : "Copying is not allowed here.";
      setTimeout(() => { button.textContent = "Copy"; one("#copied").textContent = ""; }, 2500);
    }
    // A link to a hidden card or finding shows it again.
    const goal = link && document.getElementById(link.hash.slice(1));
    if (goal?.hidden && goal.matches("article")) { search.value = ""; showMatches(); }
    if (goal?.hidden) { for (const box of boxes) box.checked = true; filter(); }
  });
})();

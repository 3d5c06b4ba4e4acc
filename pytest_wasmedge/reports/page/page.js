// The matrix of a report: made row by row from the JSON in the page, filtered, and opened cell by cell.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const words = {p: "passed", f: "failed", l: "slow", k: "known", s: "skipped", "-": "not run"};
  const signs = {p: "✓", f: "✗", l: "!", k: "≈", s: "–", "-": ""};
  // So many rows are made at once; the next ones when the end of the table comes into view.
  const CHUNK = 100;
  const byId = (id) => document.getElementById(id);
  const [body, text, verdict, runtime] = ["rows", "text", "verdict", "runtime"].map(byId);
  const [count, more, dialog] = ["count", "more", "detail"].map(byId);
  let shown = [], made = 0;

  // Whatever comes from a guest, a host or a test becomes text, never markup.
  function element(tag, className, content) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  }

  function cell(row, column) {
    const state = data.rows[row][1][column];
    const detail = data.details[`${row}:${column}`];
    const word = words[state];
    const inside = element(detail === undefined ? "span" : "button", `cell ${word}`, signs[state]);
    const label = `${data.rows[row][0]} on ${data.runtimes[column]}: ${word}`;
    inside.title = `${data.runtimes[column]}: ${word}`;
    inside.setAttribute("aria-label", label);
    if (detail === undefined) {
      inside.setAttribute("role", "img");
    } else {
      inside.type = "button";
      inside.dataset.place = `${row}:${column}`;
    }
    const around = element("td");
    around.append(inside);
    return around;
  }

  function makeMore() {
    const rows = document.createDocumentFragment();
    for (const row of shown.slice(made, made + CHUNK)) {
      const line = element("tr");
      const head = element("th", "name", data.rows[row][0]);
      head.scope = "row";
      line.append(head, ...data.runtimes.map((_, column) => cell(row, column)));
      rows.append(line);
    }
    made = Math.min(made + CHUNK, shown.length);
    body.append(rows);
    more.hidden = made === shown.length;
  }

  function matches(row, wanted, state, column) {
    const [name, states] = data.rows[row];
    const here = column < 0 ? states : states[column];
    const fits = state === "" || (state === "f" ? /[fl]/.test(here) : here.includes(state));
    return fits && (!wanted || name.toLowerCase().includes(wanted) || data.found[row].includes(wanted));
  }

  function filter() {
    const wanted = text.value.trim().toLowerCase();
    const column = Number(runtime.value);
    shown = data.order.filter((row) => matches(row, wanted, verdict.value, column));
    made = 0;
    body.replaceChildren();
    makeMore();
    count.textContent = `${shown.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} tests`;
  }

  // The text of one side, with all from the first to the last difference marked; escapes and line ends stand out.
  function side(title, mine, other) {
    let same = 0;
    while (same < mine.length && mine[same] === other[same]) same += 1;
    let until = mine.length;
    const shift = other.length - mine.length;
    while (until > same && until + shift > same && mine[until - 1] === other[until - 1 + shift]) until -= 1;
    const around = element("div");
    const shownText = element("pre");
    shownText.tabIndex = 0;
    shownText.setAttribute("aria-label", title);
    const marked = element("mark");
    const tail = document.createDocumentFragment();
    const parts = [[shownText, mine.slice(0, same)], [marked, mine.slice(same, until)], [tail, mine.slice(until)]];
    for (const [target, part] of parts) {
      for (const piece of part.split(/(\\x[0-9a-f]{2}|\\[rt]|\n)/)) {
        if (piece === "\n") target.append(element("span", "end", "↵"), "\n");
        else if (/^\\(x|[rt]$)/.test(piece)) target.append(element("span", "escape", piece));
        else target.append(piece);
      }
    }
    if (until > same) shownText.append(marked);
    shownText.append(tail);
    if (!mine) shownText.append(element("span", "end", "(nothing)"));
    around.append(element("h4", "", title), shownText);
    return around;
  }

  function open(place) {
    const [row, column] = place.split(":").map(Number);
    const detail = data.details[place];
    const told = typeof detail === "number" ? {reason: data.reasons[detail]} : detail;
    const state = words[data.rows[row][1][column]];
    byId("detail-title").textContent = `${data.rows[row][0]} on ${data.runtimes[column]}: ${state}`;
    const parts = [];
    for (const name of ["reason", "message", "asked"]) {
      if (told[name]) parts.push(element("p", "name", name === "asked" ? `asked: ${told[name]}` : told[name]));
    }
    for (const each of told.known || []) parts.push(element("p", "warn", each));
    for (const each of told.divergences || []) {
      const where = each.offset === undefined ? "" : `, first at byte ${each.offset}, line ${each.line}`;
      parts.push(element("h3", "", `${each.field}${where}`));
      const [expected, actual] = each.sides || [each.expected, each.actual];
      const sides = element("div", "sides");
      sides.append(side("expected", expected, actual), side("got", actual, expected));
      parts.push(sides);
    }
    byId("detail-body").replaceChildren(...parts);
    dialog.showModal();
  }

  // Arrows go from one cell with details to the next one in the row, or in the column.
  function step(event) {
    const way = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
    const from = event.target.closest("button.cell");
    if (!way || !from) return;
    event.preventDefault();
    let [row, column] = [from.closest("tr").rowIndex, from.closest("td").cellIndex];
    const table = body.closest("table");
    for (;;) {
      row += way[0];
      column += way[1];
      const place = row > 0 && column > 0 ? table.rows[row]?.cells[column] : undefined;
      if (!place) return;
      const target = place.querySelector("button.cell");
      if (target) return target.focus();
    }
  }

  for (const [at, name] of data.runtimes.entries()) {
    const head = element("th", "name", name);
    head.scope = "col";
    byId("runtimes").append(head);
    const choice = element("option", "", name);
    choice.value = String(at);
    runtime.append(choice);
  }
  // Texts of divergences are searched too, in lower case, put together once.
  data.found = data.rows.map(() => "");
  for (const [place, detail] of Object.entries(data.details)) {
    const row = Number(place.split(":")[0]);
    const told = typeof detail === "number" ? data.reasons[detail] : detail.message || "";
    data.found[row] += `\n${told.toLowerCase()}`;
  }
  for (const each of [text, verdict, runtime]) each.addEventListener("input", filter);
  more.addEventListener("click", makeMore);
  body.addEventListener("click", (event) => {
    const place = event.target.closest("button.cell")?.dataset.place;
    if (place) open(place);
  });
  body.addEventListener("keydown", step);
  byId("close").addEventListener("click", () => dialog.close());
  new IntersectionObserver((seen) => {
    if (seen.some((each) => each.isIntersecting) && made < shown.length) makeMore();
  }, {root: byId("matrix")}).observe(more);
  filter();
  document.documentElement.dataset.ready = "yes";
})();

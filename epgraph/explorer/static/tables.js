// The tables of states and edges: the same content as the diagram, for everyone. A row selects what it is about.

const MOST_ROWS = 1000;

/** A column: title, value to sort by, text to show, and whether it is a number. */
const column = (title, value, text = null, number = false) => ({ title, value, text: text ?? ((i) => String(value(i))), number });

const STATE_COLUMNS = [
  column("state", (i) => states[i].name),
  column("shape", (i) => states[i].units, (i) => states[i].shape, true),
  column("activation", (i) => states[i].activation || "clamped"),
  column(steps[0]?.title === "class" ? "class" : "step", (i) => states[i].classes[0] ?? 0, (i) => states[i].classes.join(", ") || "–", true),
  column("pre", (i) => sources(i).length, (i) => names(sources(i), 6) || "–"),
  column("post", (i) => targets(i).length, (i) => names(targets(i), 6) || "–"),
  column("biases", (i) => states[i].bias, (i) => count(states[i].bias), true),
  ...(run === null ? [] : SHOWN.map((metric) => column(metric, (i) => last(i, metric) ?? -1, (i) => short(last(i, metric)), true))),
];

const EDGE_COLUMNS = [
  column("edge", (i) => edges[i].name),
  column("from", (i) => edges[i].from, (i) => states[edges[i].from].name),
  column("to", (i) => edges[i].to, (i) => states[edges[i].to].name),
  column("kind", (i) => edges[i].label),
  column("weight", (i) => edges[i].weight || "–"),
  column("parameters", (i) => edges[i].parameters, (i) => count(edges[i].parameters), true),
  column("MACs", (i) => edges[i].macs, (i) => count(edges[i].macs), true),
  column("remarks", (i) => remarks(edges[i])),
];

function remarks(edge) {
  const tied = edge.tied === undefined ? "" : `weight of ${edges[edge.tied].name}`;
  return [tied, edge.frozen ? "frozen" : "", edge.untied ? "own feedback" : "", edge.conflict ? "conflict" : ""].filter(Boolean).join(", ");
}

/** A sortable table of all things of a type, put into an element when it is first shown. */
class Table {
  constructor(type, things, columns, title) {
    this.type = type;
    this.columns = columns;
    this.title = title;
    this.order = things.map((thing, i) => i);
    this.sorted = { by: -1, falling: false };
    this.rows = new Map();
    this.body = make("tbody", {});
    this.caption = make("caption", {});
    this.heads = columns.map(({ title: name, number }, k) =>
      make("th", { scope: "col", class: number ? "number" : "", "aria-sort": "none" },
        make("button", { type: "button", title: `Sort by ${name}`, onclick: () => this.sort(k) }, name)));
    const head = make("thead", {}, make("tr", {}, ...this.heads));
    this.element = make("div", { class: "scroll" }, make("table", {}, this.caption, head, this.body));
    this.body.addEventListener("click", (event) => this.choose(event));
    this.body.addEventListener("keydown", (event) => this.move(event));
    selection.listeners.push((thing, from) => this.follow(thing, from));
  }

  fill() {
    const now = selection.now;
    const chosen = now !== null && now.type === this.type ? now.i : -1;
    let shownRows = this.order.slice(0, MOST_ROWS);
    if (chosen >= 0 && !shownRows.includes(chosen)) shownRows = [chosen, ...shownRows];
    this.rows = new Map(shownRows.map((i) => [i, this.row(i)]));
    const all = count(this.order.length);
    const some = this.order.length > MOST_ROWS ? `, the first ${count(MOST_ROWS)} are shown; the search finds all` : "";
    this.caption.textContent = `${all} ${this.title}${some}`;
    this.body.replaceChildren(...this.rows.values());
  }

  row(i) {
    const cells = this.columns.map(({ text, number }, k) => k === 0
      ? make("th", { scope: "row" }, make("button", { type: "button" }, text(i)))
      : make("td", { class: number ? "number" : "" }, text(i)));
    return make("tr", { "data-i": i, "aria-current": isSelected(this.type, i) ? "true" : null }, ...cells);
  }

  sort(k) {
    const falling = this.sorted.by === k && !this.sorted.falling;
    this.sorted = { by: k, falling };
    const { value } = this.columns[k];
    const sign = falling ? -1 : 1;
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    this.order.sort((a, b) => sign * compare(value(a), value(b)) || a - b);
    this.heads.forEach((head, n) => head.setAttribute("aria-sort", n === k ? (falling ? "descending" : "ascending") : "none"));
    this.fill();
    say(`Sorted by ${this.columns[k].title}, ${falling ? "descending" : "ascending"}`);
  }

  choose(event) {
    const row = event.target.closest("tr");
    if (row) select({ type: this.type, i: Number(row.dataset.i) }, "table");
  }

  /** Arrow keys go from row to row, Escape clears. */
  move(event) {
    if (event.key === "Escape") select(null, "table");
    const row = event.target.closest("tr");
    const next = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling }[event.key];
    if (!next) return;
    event.preventDefault();
    next.querySelector("button").focus();
    select({ type: this.type, i: Number(next.dataset.i) }, "table");
  }

  follow(thing, from) {
    this.body.querySelector("[aria-current]")?.removeAttribute("aria-current");
    if (thing === null || thing.type !== this.type || !this.rows.size) return;
    if (!this.rows.has(thing.i)) this.fill();
    const row = this.rows.get(thing.i);
    row.setAttribute("aria-current", "true");
    if (from === "table") return;
    // Within the table alone: the page stays where it is.
    const top = row.offsetTop - this.element.clientHeight / 2;
    this.element.scrollTo({ top, behavior: still.matches ? "auto" : "smooth" });
  }
}

const TABLES = {
  states: new Table("state", states, STATE_COLUMNS, "states"),
  edges: new Table("edge", edges, EDGE_COLUMNS, "edges"),
};

/** Tabs, of which arrow keys choose the next and Tab leaves to what they show. */
const PANELS = [["states", "States"], ["edges", "Edges"], ...(run === null ? [] : [["run", settles ? "Relaxation" : "Checkpoints"]])];

function openTab(id) {
  for (const [other] of PANELS) {
    const tab = byId(`tab-${other}`);
    tab.setAttribute("aria-selected", String(other === id));
    tab.tabIndex = other === id ? 0 : -1;
    byId(other).hidden = other !== id;
  }
  const table = TABLES[id];
  if (table && !table.rows.size) {
    byId(id).append(table.element);
    table.fill();
  }
  if (id === "run") drawCharts();
}

function drawTabs() {
  PANELS.forEach(([id, title], k) => {
    const turn = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const [next] = PANELS[(k + step + PANELS.length) % PANELS.length];
      openTab(next);
      byId(`tab-${next}`).focus();
    };
    byId("tabs").append(make("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": id, onclick: () => openTab(id), onkeydown: turn }, title));
  });
}

// A thing that is selected elsewhere is looked for in the table that has it.
selection.listeners.push((thing, from) => {
  if (thing !== null && byId("run").hidden && from !== "table") openTab(thing.type === "state" ? "states" : "edges");
});

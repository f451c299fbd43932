// The search: names of states and edges that have the text in them. Arrow keys choose, Enter goes there.

const MOST_MATCHES = 50;
const field = byId("search");
const options = byId("matches");
const found = { things: [], active: -1 };

const everything = [
  ...states.map((state, i) => ({ type: "state", i, name: state.name, more: state.shape })),
  ...edges.map((edge, i) => ({ type: "edge", i, name: edge.name, more: edge.label })),
];

/** Things with the text in their name: those that begin with it first. */
function matching(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const hits = everything.filter(({ name }) => name.toLowerCase().includes(wanted));
  const rank = ({ name }) => (name.toLowerCase() === wanted ? 0 : name.toLowerCase().startsWith(wanted) ? 1 : 2);
  return hits.sort((a, b) => rank(a) - rank(b));
}

function lookUp() {
  const hits = matching(field.value);
  found.things = hits.slice(0, MOST_MATCHES);
  cy.batch(() => {
    cy.nodes().removeClass("match");
    hits.forEach(({ type, i }) => type === "state" && nodes[i].addClass("match"));
  });
  options.replaceChildren(...found.things.map(({ type, i, name, more }, k) =>
    make("li", { role: "option", id: `match-${k}`, "aria-selected": "false", onmousedown: (event) => pick(event, k) }, `${name} `, make("small", {}, `${type}, ${more}`))));
  activate(found.things.length ? 0 : -1);
  options.hidden = !found.things.length;
  field.setAttribute("aria-expanded", String(!options.hidden));
  if (field.value.trim()) say(hits.length === 1 ? "1 match" : `${count(hits.length)} matches`);
}

function activate(k) {
  found.active = k;
  [...options.children].forEach((option, n) => option.setAttribute("aria-selected", String(n === k)));
  options.children[k]?.scrollIntoView({ block: "nearest" });
  if (k < 0) field.removeAttribute("aria-activedescendant");
  else field.setAttribute("aria-activedescendant", `match-${k}`);
}

function pick(event, k) {
  event.preventDefault();
  if (k < 0) return;
  const { type, i } = found.things[k];
  empty();
  select({ type, i }, "search");
  canvas.focus();
}

function empty() {
  field.value = "";
  lookUp();
}

field.addEventListener("input", lookUp);
field.addEventListener("blur", () => {
  options.hidden = true;
  field.setAttribute("aria-expanded", "false");
});
field.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const size = found.things.length;
  if (step && size) {
    event.preventDefault();
    activate((found.active + step + size) % size);
  } else if (event.key === "Enter") pick(event, found.active);
  else if (event.key === "Escape") empty();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  field.focus();
});

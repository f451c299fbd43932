// The details of what is selected, or under the pointer; of the whole network where that is nothing.

function preview(thing) {
  show(thing ?? selection.now);
}

selection.listeners.push((thing) => show(thing));

function show(thing) {
  const [title, ...body] = thing === null ? ofNetwork() : thing.type === "state" ? ofState(thing.i) : ofEdge(thing.i);
  byId("details-title").textContent = title;
  byId("details-body").replaceChildren(...body.filter((part) => part !== null));
}

function ofNetwork() {
  const facts = [...network.facts, ...(run === null ? [] : [["weights", weights()], ...run.facts])];
  const guarantees = make("ul", {}, ...network.guarantees.map((text) => make("li", {}, text)));
  return [network.name || "network", list(facts), heading("What is guaranteed"), guarantees];
}

function ofState(i) {
  const state = states[i];
  const facts = [["shape", `${state.shape} (${count(state.units)} units)`]];
  if (state.role === "input") facts.push(["role", "clamped input: it does not move"]);
  else {
    facts.push(["activation σ", state.activation], [steps[0]?.title === "class" ? "class" : "steps", state.classes.join(", ") || "none"]);
    if (state.role === "output") facts.push(["role", "output"]);
  }
  const own = unique([...into[i], ...outOf[i], ...at[i]]).map((e) => edges[e].parameters);
  facts.push(["biases", count(state.bias)], ["weights of its edges", count(own.reduce((sum, n) => sum + n, 0))]);
  facts.push(...measured(i));
  return [
    `State ${state.name}`,
    list(facts),
    heading("Update"),
    ...state.equations.map(line),
    ...ends(`pre(${state.name}): edges into it`, into[i], (e) => edges[e].from),
    ...ends(`post(${state.name}): edges out of it`, outOf[i], (e) => edges[e].to),
    ...ends("Edges from it to itself", at[i], null),
    ...(state.co_parents.length ? [heading("Also reads, through a state that both lead to"), links(state.co_parents.map(link))] : []),
  ];
}

function ofEdge(i) {
  const edge = edges[i];
  const facts = [
    ["kind", edge.label],
    ["weight", edge.weight || "none"],
    ["parameters", count(edge.parameters) + (edge.frozen ? ", frozen" : "")],
    ["MACs of one use", count(edge.macs)],
  ];
  if (edge.untied) facts.push(["feedback", "through a second weight B, not Aᵀ"]);
  const [from, to] = [states[edge.from].name, states[edge.to].name];
  const [A, back] = [["A", i], [edge.untied ? "B" : "A", i, 1]];
  const what = edge.unary
    ? [["it adds", ["∂φ", i], "/∂", ["s", edge.from]]]
    : [[`to ${to}`, A, " ", ["s", edge.from]], [`to ${from}`, back, ...(network.forward ? ["(σ′ ⊙ ", ["ε", edge.to], ")"] : [" ", ["s", edge.to]])]];
  const backwards = network.backprop || states[edge.from].role === "input" ? what.slice(0, 1) : what;
  return [
    `Edge ${edge.name}`,
    list(facts),
    edge.tied === undefined ? null : labeled("Weight of", link(edge.tied, "edge")),
    edge.conflict ? make("p", { class: "alarm" }, `Conflict: ${from} and ${to} move together, and each reads the other.`) : null,
    heading(edge.unary ? "At" : "From and to"),
    links(unique([edge.from, edge.to]).map((k) => link(k))),
    heading("What it adds"),
    ...backwards.map(line),
  ];
}

const heading = (text) => make("h3", {}, text);
const list = (facts) => make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
const links = (buttons) => make("div", { class: "links" }, ...buttons);
const labeled = (text, button) => make("p", {}, `${text} `, button);

function line([label, ...tokens]) {
  return make("p", { class: "equation" }, make("span", { class: label === "where" ? "where" : "phase" }, label), formula(tokens));
}

function link(i, type = "state") {
  const thing = { type, i };
  const name = type === "state" ? states[i].name : edges[i].name;
  return make("button", { type: "button", "aria-label": `${type} ${name}`, onclick: () => follow(thing) }, name);
}

/** Select what a button of the details names, and keep the focus here: the button itself is gone. */
function follow(thing) {
  select(thing, "details");
  byId("details-title").focus();
}

const MOST_ENDS = 60;

/** Edges of a state, each with the state at its other end. */
function ends(title, list, other) {
  if (!list.length) return [];
  const rows = list.slice(0, MOST_ENDS).map((e) =>
    make("li", {}, ...(other === null ? [] : [link(other(e)), " by "]), link(e, "edge"), ` ${edges[e].label}`));
  const more = list.length > MOST_ENDS ? [make("li", {}, `and ${count(list.length - MOST_ENDS)} more, in the table of edges`)] : [];
  return [heading(title), make("ul", { class: "plain" }, ...rows, ...more)];
}

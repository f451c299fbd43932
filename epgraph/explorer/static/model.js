// The network, what is selected in it, and who is told of a change. Things are named as {type, i}: ("state", 3).

const { network, run } = JSON.parse(byId("data").textContent);
const { steps } = network;
const known = (things) => things.map((thing) => ({ ...network.alike[thing.alike], ...thing }));
const states = known(network.states).map((state) => ({ co_parents: [], ...state }));
const edges = known(network.edges);
const outputs = states.map((state, i) => i).filter((i) => states[i].role === "output");

/** Edges into, out of, and at each state. */
const into = states.map(() => []);
const outOf = states.map(() => []);
const at = states.map(() => []);
edges.forEach((edge, i) => {
  if (edge.unary) at[edge.from].push(i);
  else {
    outOf[edge.from].push(i);
    into[edge.to].push(i);
  }
});

/** What is played: a sweep, or a forward pass where nothing relaxes. */
const PLAYED = network.backprop ? "pass" : "sweep";

/** Whether any phase of a run is more than one forward pass, and what is known of a state then. */
const settles = run !== null && run.checkpoints.some((one) => Object.values(one.phases).some((phase) => !phase.pass));
const METRICS = ["activity", "saturation", "residual"];
const SHOWN = settles ? METRICS : METRICS.slice(0, 2);

const unique = (values) => [...new Set(values)];
const sources = (i) => unique(into[i].map((e) => edges[e].from));
const targets = (i) => unique(outOf[i].map((e) => edges[e].to));

/** States that the update of a state reads in a step of this title. */
function readBy(i, title) {
  if (title === "error") return targets(i);
  if (title === "state") return sources(i);
  return unique([...sources(i), ...targets(i), ...states[i].co_parents]);
}

const names = (list, most = 12) => {
  const shown = list.slice(0, most).map((i) => states[i].name);
  return shown.join(", ") + (list.length > most ? ` and ${count(list.length - most)} more` : "");
};

const selection = { now: null, listeners: [] };

/** Select a thing, or null for nothing; `from` is the part of the page that did, and need not follow. */
function select(thing, from = "") {
  selection.now = thing;
  for (const listener of selection.listeners) listener(thing, from);
  say(thing === null ? "Nothing is selected" : told(thing));
}

const isSelected = (type, i) => selection.now !== null && selection.now.type === type && selection.now.i === i;

/** A thing in one sentence. */
function told({ type, i }) {
  if (type === "edge") {
    const edge = edges[i];
    const ends = edge.unary ? `at ${states[edge.from].name}` : `from ${states[edge.from].name} to ${states[edge.to].name}`;
    return `Edge ${edge.name}, ${edge.label}, ${ends}`;
  }
  const state = states[i];
  const facts = [`State ${state.name}`, state.shape];
  facts.push(state.role === "input" ? "clamped" : `${state.activation}, ${when(state)}`);
  if (sources(i).length) facts.push(`edges from ${names(sources(i))}`);
  if (targets(i).length) facts.push(`edges to ${names(targets(i))}`);
  return facts.join(", ");
}

/** The steps in which a state moves. */
function when(state) {
  const word = steps.length && steps[0].title === "class" ? "class" : "step";
  return state.classes.length ? `${word} ${state.classes.join(", ")}` : "does not move";
}

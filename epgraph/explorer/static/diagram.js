// The diagram: cytoscape draws it; keys move the selection through it.

const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const LARGE = 400; // states or edges from which labels, arrows and curves cost too much while the picture moves

const large = states.length + edges.length > LARGE;
const canvas = byId("diagram");
canvas.setAttribute("aria-label", `Diagram of ${network.name}: ${count(states.length)} states, ${count(edges.length)} edges`);

// Looks are those of classes and not of each element by itself: cytoscape then works one out for all that have it.
const kinds = Object.keys(network.strokes);
const tinted = (state) => (state.classes.length ? `tint${(state.classes[0] - 1) % network.tints.length}` : "");

cytoscape.warnings(false); // it complains of an edge when its two states are dragged onto each other
const cy = cytoscape({
  container: canvas,
  elements: [...states.map(nodeOf), ...edges.map(lineOf)],
  style: styleOf(),
  layout: { name: "preset", fit: false },
  minZoom: 0.03,
  maxZoom: 4,
  boxSelectionEnabled: false,
  selectionType: "single",
  autounselectify: true,
  hideEdgesOnViewport: states.length + edges.length > 4 * LARGE,
  textureOnViewport: large,
  pixelRatio: large ? 1 : "auto",
});

function nodeOf(state, i) {
  const label = `${state.name}\n${state.shape}`;
  const width = Math.min(112, Math.max(54, 14 + 7.4 * Math.max(state.name.length, state.shape.length)));
  return { group: "nodes", data: { id: `s${i}`, label, width }, position: { x: state.x, y: state.y }, classes: `${state.role} ${tinted(state)}` };
}

function lineOf(edge, i) {
  const classes = [`kind${kinds.indexOf(edge.kind)}`, edge.unary ? "unary" : bent(edge), edge.conflict ? "conflict" : ""].join(" ");
  return { group: "edges", data: { id: `e${i}`, source: `s${edge.from}`, target: `s${edge.to}`, bend: bend(edge, i) }, classes };
}

/** Whether the straight line of an edge would pass through a state, behind which it could not be followed. */
function bent(edge) {
  if (large) return "";
  const [a, b] = [states[edge.from], states[edge.to]];
  const length = Math.hypot(b.x - a.x, b.y - a.y);
  const hit = states.some((s, k) => {
    if (k === edge.from || k === edge.to || !length) return false;
    const along = ((s.x - a.x) * (b.x - a.x) + (s.y - a.y) * (b.y - a.y)) / length;
    const beside = Math.abs((s.x - a.x) * (b.y - a.y) - (s.y - a.y) * (b.x - a.x)) / length;
    return along > 20 && along < length - 20 && beside < 26;
  });
  return hit ? "bent" : "";
}

function bend(edge, i) {
  const [a, b] = [states[edge.from], states[edge.to]];
  return (i % 2 ? 1 : -1) * (34 + 0.16 * Math.hypot(b.x - a.x, b.y - a.y));
}

const APART = 13; // pixels between two arrowheads at a side of a state
const BORDER = 2; // pixels that the widest border adds to a side

/** Let edges end at a side of a state beside each other: their arrowheads would lie on one another. */
function spread() {
  if (large) return;
  const sides = new Map();
  const straight = edges.map((edge, i) => i).filter((i) => !edges[i].unary);
  const here = (i) => nodes[i].position();
  for (const i of straight) {
    for (const [end, one, other] of [["source", edges[i].from, edges[i].to], ["target", edges[i].to, edges[i].from]]) {
      const [x, y] = [here(other).x - here(one).x, here(other).y - here(one).y];
      if (Math.abs(x) < nodes[one].width()) continue; // above or below: at the nearest point
      const side = `${one} ${Math.sign(x)}`;
      // A bent line leaves towards its bow, which is below it for a positive bend and a line to the right.
      const bow = lines[i].hasClass("bent") ? (2 * lines[i].data("bend") * Math.sign(here(edges[i].to).x - here(edges[i].from).x)) / Math.abs(x) : 0;
      if (!sides.has(side)) sides.set(side, []);
      sides.get(side).push({ i, end, slope: y / Math.abs(x) + bow, edge: Math.sign(x) * (nodes[one].width() / 2 + BORDER) });
    }
  }
  cy.batch(() => {
    for (const all of sides.values()) {
      all.sort((a, b) => a.slope - b.slope);
      const step = Math.min(APART, 30 / Math.max(1, all.length - 1));
      all.forEach(({ i, end, edge }, k) => lines[i].style(`${end}-endpoint`, `${edge}px ${(k - (all.length - 1) / 2) * step}px`));
    }
  });
}

function colors() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

/** A color of the print, lightened where the page is dark. */
function shown(color) {
  if (!dark.matches) return color;
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return `rgb(${parts.map((part) => Math.round(part + 0.58 * (255 - part))).join(",")})`;
}

function styleOf() {
  const c = colors();
  // Widths change at once: what fits into the window is computed from them.
  const lively = still.matches || large ? {} : { "transition-property": "opacity, border-color", "transition-duration": 150 };
  return [
    { selector: "node", style: { shape: "round-rectangle", width: "data(width)", height: 42, label: "data(label)", color: c("ink"),
      "background-color": c("back"), "border-width": 1.2, "border-color": dark.matches ? "#e8eaed" : "#1a1a1a",
      "font-family": "system-ui, DejaVu Sans, Verdana, sans-serif", "font-size": 12, "text-wrap": "wrap", "text-valign": "center", "min-zoomed-font-size": large ? 7 : 4, ...lively } },
    ...network.tints.map((color, k) => ({ selector: `node.tint${k}`, style: { "background-color": color, color: "#1a1a1a" } })),
    { selector: "node.input", style: { shape: "barrel" } },
    { selector: "node.output", style: { shape: "rectangle", "border-style": "double", "border-width": 4 } },
    { selector: "edge", style: { "curve-style": large ? "straight" : "bezier", "control-point-step-size": 22, opacity: large ? 0.5 : 1, "target-arrow-shape": large ? "none" : "triangle",
      "source-arrow-shape": large || network.forward ? "none" : "triangle", "source-arrow-fill": "hollow", "arrow-scale": 0.8, ...lively } },
    ...Object.values(network.strokes).map(({ color, style, width }, k) => ({ selector: `edge.kind${k}`, style: { ...lineStyle(shown(color)), "line-style": style, width } })),
    { selector: "edge.bent", style: { "curve-style": "unbundled-bezier", "control-point-distances": "data(bend)", "control-point-weights": 0.5 } },
    { selector: "edge.unary", style: { "curve-style": "bezier", "control-point-step-size": 56, "target-arrow-shape": "none", "source-arrow-shape": "none" } },
    { selector: ".conflict", style: lineStyle(c("alarm")) },
    { selector: ".faint", style: { opacity: 0.22 } },
    { selector: "node.from, node.read", style: { "border-color": c("from"), "border-width": 4, "border-style": "solid" } },
    { selector: "node.to", style: { "border-color": c("to"), "border-width": 4, "border-style": "solid" } },
    { selector: "edge.from", style: { ...lineStyle(c("from")), width: 3, opacity: 1, "z-index": 2 } },
    { selector: "edge.to", style: { ...lineStyle(c("to")), width: 3, opacity: 1, "z-index": 2 } },
    { selector: "node.match", style: { "border-color": c("accent"), "border-width": 4, "border-style": "dashed" } },
    { selector: "node.moves", style: { "border-color": c("ink"), "border-width": 5, "border-style": "solid" } },
    { selector: "node.clash", style: { "border-color": c("alarm"), "border-width": 5, "border-style": "solid" } },
    { selector: "edge.clash", style: { ...lineStyle(c("alarm")), width: 4, opacity: 1, "z-index": 3 } },
    { selector: "node.chosen", style: { "outline-color": c("accent"), "outline-width": 4, "outline-offset": 3 } },
    { selector: "edge.chosen", style: { ...lineStyle(c("accent")), width: 5, opacity: 1, "z-index": 3 } },
  ];
}

function lineStyle(color) {
  return { "line-color": color, "target-arrow-color": color, "source-arrow-color": color };
}

function redraw() {
  canvas.dataset.scheme = dark.matches ? "dark" : "light";
  cy.style(styleOf());
}
dark.addEventListener("change", redraw);
still.addEventListener("change", redraw);

const nodes = states.map((state, i) => cy.getElementById(`s${i}`));
const lines = edges.map((edge, i) => cy.getElementById(`e${i}`));
const elementOf = ({ type, i }) => (type === "state" ? nodes : lines)[i];
const thingOf = (element) => ({ type: element.isNode() ? "state" : "edge", i: Number(element.id().slice(1)) });

spread();
cy.on("dragfree", "node", spread);

function mark(classes, elements) {
  elements.forEach((element) => element.addClass(classes));
}

/** Mark what is selected: the state, where its edges come from, and where they lead. */
selection.listeners.push((thing, from) => {
  cy.batch(() => {
    cy.elements().removeClass(sweep.step < 0 ? "chosen from to faint" : "chosen");
    if (thing === null) return;
    elementOf(thing).addClass("chosen");
    if (sweep.step >= 0) return;
    const near = thing.type === "state" ? [thing.i, ...sources(thing.i), ...targets(thing.i)] : [edges[thing.i].from, edges[thing.i].to];
    cy.elements().addClass("faint");
    near.forEach((i) => nodes[i].removeClass("faint"));
    elementOf(thing).removeClass("faint");
    if (thing.type !== "state") return;
    mark("from", sources(thing.i).map((i) => nodes[i]));
    mark("to", targets(thing.i).map((i) => nodes[i]));
    for (const [kind, list] of [["from", into], ["to", outOf]]) {
      list[thing.i].forEach((e) => lines[e].removeClass("faint").addClass(kind));
    }
    at[thing.i].forEach((e) => lines[e].removeClass("faint"));
  });
  if (thing !== null && from !== "pointer") uncover(elementOf(thing), from === "search" ? READABLE : 0);
});

const READABLE = 0.8; // zoom at which labels are read

/** Move the view, if an element is outside of it, or smaller than at this zoom. */
function uncover(element, zoom) {
  const box = element.renderedBoundingBox();
  const inside = box.x1 >= 0 && box.y1 >= 0 && box.x2 <= cy.width() && box.y2 <= cy.height();
  if (inside && cy.zoom() >= zoom) return;
  const view = { center: { eles: element }, zoom: Math.max(zoom, cy.zoom()) };
  cy.animate(view, { duration: still.matches ? 0 : 200 });
}

cy.on("tap", (event) => select(event.target === cy ? null : thingOf(event.target), "pointer"));
cy.on("mouseover", "node, edge", (event) => {
  canvas.style.cursor = "pointer";
  preview(thingOf(event.target));
});
cy.on("mouseout", "node, edge", () => {
  canvas.style.cursor = "";
  preview(null);
});

function fit() {
  cy.fit(undefined, 24);
  if (cy.zoom() > 1.5) {
    cy.zoom(1.5);
    cy.center();
  }
}

function zoom(factor) {
  cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The state to go to from another one: the nearest in that direction, those that an edge joins first. */
function neighbor(i, [dx, dy]) {
  const here = nodes[i].position();
  const joined = new Set([...sources(i), ...targets(i)]);
  let best = null;
  let least = Infinity;
  nodes.forEach((node, k) => {
    const [x, y] = [node.position().x - here.x, node.position().y - here.y];
    const along = x * dx + y * dy;
    const across = Math.abs(x * dy) + Math.abs(y * dx);
    if (k === i || along <= 1 || across > 2.5 * along) return;
    const cost = (along + 2 * across) * (joined.has(k) ? 0.6 : 1);
    if (cost < least) [best, least] = [k, cost];
  });
  return best;
}

const KEYS = {
  Enter: () => byId("details-title").focus(),
  " ": () => toggle(),
  Escape: () => (sweep.step >= 0 ? leave() : select(null, "keys")),
  "+": () => zoom(1.25),
  "-": () => zoom(0.8),
  0: fit,
};

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const direction = DIRECTIONS[event.key];
  if (direction) {
    const now = selection.now;
    const start = now === null ? null : now.type === "state" ? now.i : edges[now.i].from;
    const next = start === null ? 0 : neighbor(start, direction);
    if (next !== null) select({ type: "state", i: next }, "keys");
  } else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});

/** Show what the marks of the diagram mean. */
function drawLegend() {
  const entries = [];
  const numbers = unique(states.flatMap((state) => state.classes.slice(0, 1))).sort((a, b) => a - b);
  if (numbers.length <= network.tints.length && (network.backprop || steps[0]?.title === "class")) {
    for (const number of numbers) {
      const swatch = make("i", { class: "swatch" });
      swatch.style.background = network.tints[(number - 1) % network.tints.length];
      entries.push(make("span", {}, swatch, `${network.backprop ? "step" : "class"} ${number}`));
    }
  }
  for (const [kind, { color, style }] of Object.entries(network.strokes)) {
    const stroke = make("i", { class: "stroke" });
    stroke.style.borderTopStyle = style;
    stroke.style.borderTopColor = shown(color);
    entries.push(make("span", {}, stroke, kind));
  }
  if (edges.some((edge) => edge.conflict)) {
    const stroke = make("i", { class: "stroke" });
    stroke.style.borderTopColor = colors()("alarm");
    entries.push(make("span", {}, stroke, "conflict: both ends move together"));
  }
  if (!large && !network.forward) entries.push(make("span", {}, "full arrow: A, hollow arrow: Aᵀ"));
  byId("legend").replaceChildren(...entries);
}
dark.addEventListener("change", () => (run === null ? drawLegend() : paint()));

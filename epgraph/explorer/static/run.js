// A run: how the network settles with the weights of each checkpoint. uPlot draws the curves.

const EXPLAINED = { activity: "mean of |s|", saturation: "share of units at a bound of σ", residual: "relative change of the state in a sweep" };
const LINES = ["#0072b2", "#d55e00", "#00735c", "#cc79a7", "#8a6d00", "#56b4e9", "#555555", "#7a3e9d"];
const MOST_LINES = 24;

const chosen = { checkpoint: run === null ? 0 : run.checkpoints.length - 1, phase: "free", metric: "activity" };
const plots = [];

const checkpoint = () => run.checkpoints[chosen.checkpoint];
/** Where the weights come from that everything on the page was measured with. */
const weights = () => `${run.folder}, ${checkpoint().name}, epoch ${checkpoint().epoch}`;
const phase = () => checkpoint().phases[chosen.phase] ?? checkpoint().phases.free;

/** Values of a metric of a state in the phase that is shown; none where it has none, as the input. */
function valuesOf(i, metric) {
  const all = phase().states;
  // Not by its name alone: a state may be called "constructor", which every object has.
  return Object.hasOwn(all, states[i].name) ? all[states[i].name][METRICS.indexOf(metric)] : [];
}

/** The last of these values; null where there is none. */
const last = (i, metric) => valuesOf(i, metric).at(-1) ?? null;

/** What the details of a state say of the run. */
function measured(i) {
  if (run === null || states[i].role === "input") return [];
  return SHOWN.map((metric) => [`${metric}, ${chosen.phase}`, `${short(last(i, metric))} after ${phase().pass ? "one forward pass" : inSweeps(phase().all)}`]);
}

const inSweeps = (n) => `${count(n)} ${n === 1 ? "sweep" : "sweeps"}`;

/** The parts of the panel, once. */
function drawRun() {
  const panel = byId("run");
  const slider = make("input", { type: "range", id: "checkpoint", min: 0, max: run.checkpoints.length - 1, step: 1, oninput: (event) => turn({ checkpoint: Number(event.target.value) }) });
  slider.value = chosen.checkpoint;
  panel.append(
    make("div", { class: "controls" },
      make("label", {}, "Checkpoint ", slider), make("output", { id: "checkpoint-name", for: "checkpoint" }),
      make("label", {}, "Phase ", choice("phase", Object.keys(run.checkpoints.at(-1).phases), (value) => turn({ phase: value }))),
      ...(settles ? [make("label", {}, "States by ", choice("metric", METRICS, (value) => turn({ metric: value })))] : [])),
    make("p", { id: "ended" }));
  // A forward pass has no curves.
  if (settles) {
    panel.append(make("div", { class: "charts" }, ...["energy", "change", "states"].map((name) =>
      make("div", { class: "chart" }, make("h3", { id: `title-${name}` }), make("div", { id: `chart-${name}`, role: "img", "aria-labelledby": `title-${name}` }), make("div", { id: `legend-${name}`, class: "legend" })))));
  }
  const color = byId("color");
  color.append(...["class", ...SHOWN].map((value) => make("option", { value }, value === "class" && network.backprop ? "step" : value)));
  byId("color-label").hidden = false;
  color.addEventListener("change", paint);
}

function choice(id, values, act) {
  const field = make("select", { id, onchange: (event) => act(event.target.value) }, ...values.map((value) => make("option", { value }, value)));
  return field;
}

/** Show another checkpoint, phase or metric, in all parts of the page. */
function turn(change) {
  Object.assign(chosen, change);
  drawCharts();
  paint();
  show(selection.now);
  if (TABLES.states.rows.size) TABLES.states.fill();
}

function drawCharts() {
  if (run === null || byId("run").hidden) return;
  const { name, epoch, phases } = checkpoint();
  byId("checkpoint-name").textContent = `${name}, epoch ${epoch}`;
  byId("checkpoint").setAttribute("aria-valuetext", `${name}, epoch ${epoch}`);
  byId("ended").textContent = Object.entries(phases).map(([key, { status, all, residual, pass }]) =>
    pass ? `${key}: one forward pass` : `${key}: ${status.toLowerCase().replaceAll("_", " ")} after ${inSweeps(all)}, largest residual ${short(residual.at(-1))}`).join("; ");
  if (!settles) return;
  plots.splice(0).forEach((plot) => plot.destroy());
  const every = Object.entries(phases);
  // Each phase has one color in all charts. A forward pass has no curve: it is one point, and exact.
  const settling = every.map(([key, one], k) => ({ key, one, k })).filter(({ one }) => !one.pass);
  chart("energy", "Energy F, mean of the examples", settling.filter(({ one }) => one.energy).map(({ key, one, k }) => ({ name: key, k, x: one.sweeps, y: one.energy })), false);
  chart("change", "Residual, the largest of the examples", settling.map(({ key, one, k }) => ({ name: key, k, x: one.sweeps, y: one.residual })), true);
  const moving = states.map((state, i) => i).filter((i) => valuesOf(i, "activity").length);
  let drawn = moving.slice(0, MOST_LINES);
  const now = selection.now;
  if (now !== null && now.type === "state" && moving.includes(now.i) && !drawn.includes(now.i)) drawn = [...drawn.slice(1), now.i];
  const some = moving.length > drawn.length ? `, ${drawn.length} of ${count(moving.length)} states` : "";
  chart("states", `${chosen.metric}: ${EXPLAINED[chosen.metric]}, ${chosen.phase}${some}`,
    drawn.map((i) => ({ name: states[i].name, i, x: phase().sweeps, y: valuesOf(i, chosen.metric) })), chosen.metric === "residual");
}

/** One chart with its legend. On a logarithmic axis zero has no place: there the curve has a gap. */
function chart(id, title, all, logarithmic) {
  byId(`title-${id}`).textContent = `${title}${logarithmic ? ", log scale" : ""}, against sweeps`;
  const place = byId(`chart-${id}`);
  const curves = all
    .map((curve, k) => ({ k, ...curve, y: curve.y.map((value) => (logarithmic && !(value > 0) ? null : value)) }))
    .filter(({ y }) => y.some((value) => value !== null));
  const empty = !curves.length;
  byId(`legend-${id}`).replaceChildren(...curves.map(entry));
  place.replaceChildren(...(empty ? [make("p", {}, "There is nothing to draw: no state has it, or it is zero.")] : []));
  if (empty) return;
  const c = colors();
  const axis = { stroke: c("ink"), grid: { stroke: c("line"), width: 0.5 }, ticks: { stroke: c("line"), width: 0.5 } };
  const now = selection.now;
  plots.push(new uPlot({
    width: Math.max(260, place.clientWidth),
    height: 230,
    legend: { show: false },
    cursor: { drag: { x: true, y: false } },
    scales: { x: { time: false }, y: logarithmic ? { distr: 3 } : {} },
    axes: [axis, { ...axis, size: 64, values: (plot, ticks) => ticks.map((tick) => (tick === null ? "" : short(tick))) }],
    series: [{}, ...curves.map(({ name, i, k }) => ({ label: name, stroke: ink(k), width: now !== null && now.type === "state" && i === now.i ? 4 : 1.6, dash: dash(k), points: { size: 4 }, spanGaps: false }))],
  }, uPlot.join(curves.map(({ x, y }) => [x, y])), place));
}

const ink = (k) => shown(LINES[k % LINES.length]);
const dash = (k) => [[], [8, 4], [2, 3]][Math.floor(k / LINES.length) % 3];

function entry({ name, i, k }) {
  const stroke = make("i", { class: "stroke" });
  stroke.style.borderTopColor = ink(k);
  stroke.style.borderTopStyle = ["solid", "dashed", "dotted"][Math.floor(k / LINES.length) % 3];
  return i === undefined ? make("span", {}, stroke, name) : make("button", { type: "button", "aria-label": `state ${name}`, onclick: () => select({ type: "state", i }, "run") }, stroke, name);
}

/** Fill the states of the diagram by class, or by what was measured in the last sweep. */
function paint() {
  const what = byId("color").value;
  if (what === "class") {
    cy.nodes().removeStyle();
    return drawLegend();
  }
  const scaled = states.map((state, i) => {
    const value = last(i, what);
    return value === null || (what === "residual" && value <= 0) ? null : what === "residual" ? Math.log10(value) : value;
  });
  const known = scaled.filter((value) => value !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  cy.batch(() => nodes.forEach((node, i) => {
    if (scaled[i] === null) node.style({ "background-color": colors()("back"), color: colors()("ink") });
    else node.style({ "background-color": fillOf(high > low ? (scaled[i] - low) / (high - low) : 1), color: "#1a1a1a" });
  }));
  const real = (value) => short(what === "residual" ? 10 ** value : value);
  const ends = known.length ? [[0, `least ${what}: ${real(low)}`], [1, `largest: ${real(high)}`]] : [];
  byId("legend").replaceChildren(...ends.map(([share, text]) => {
    const swatch = make("i", { class: "swatch" });
    swatch.style.background = fillOf(share);
    return make("span", {}, swatch, text);
  }));
}

/** From nearly white to a blue on which black text is still read. */
const fillOf = (share) => `rgb(${[[247, 96], [251, 169], [255, 214]].map(([from, to]) => Math.round(from + share * (to - from))).join(",")})`;

if (run !== null) {
  selection.listeners.push(drawCharts);
  dark.addEventListener("change", drawCharts);
  addEventListener("resize", drawCharts);
}

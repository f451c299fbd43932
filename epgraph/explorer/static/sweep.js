// The sweep: its classes one after the other, which states move in each and which they read.

const sweep = { step: -1, timer: 0 };

function goTo(step) {
  sweep.step = step;
  const { moves, edges: clashing, pairs, title } = steps[step];
  const moving = new Set(moves);
  const read = new Set(moves.flatMap((i) => readBy(i, title)));
  const clash = new Set([...clashing.flatMap((e) => [edges[e].from, edges[e].to]), ...pairs.flatMap(([one, other]) => [one, other])]);
  cy.batch(() => {
    cy.elements().removeClass("from to faint moves read clash").addClass("faint");
    read.forEach((i) => nodes[i].removeClass("faint").addClass("read"));
    moving.forEach((i) => nodes[i].removeClass("faint read").addClass("moves"));
    clash.forEach((i) => nodes[i].addClass("clash"));
    lines.forEach((element, e) => {
      if ((!network.backprop && moving.has(edges[e].from)) || moving.has(edges[e].to)) element.removeClass("faint");
    });
    clashing.forEach((e) => lines[e].addClass("clash"));
  });
  describe(step, moves, [...read].filter((i) => !moving.has(i)), clashing, pairs);
}

function describe(step, moves, read, clashing, pairs) {
  const { title } = steps[step];
  const what = title === "class" ? `Class ${step + 1} of ${steps.length}` : `Step ${step + 1} of ${steps.length}`;
  const verb = title === "error" ? `the error of ${names(moves)} is set` : `${names(moves)} ${moves.length === 1 ? "moves" : "move"}`;
  const reads = read.length ? `; read: ${names(read)}` : "";
  const wrong = [
    ...clashing.map((e) => `${states[edges[e].from].name} and ${states[edges[e].to].name} (edge ${edges[e].name})`),
    ...pairs.map(([one, other, child]) => `${states[one].name} and ${states[other].name}${child ? ` (both lead to ${child})` : ""}`),
  ];
  const shownWrong = wrong.slice(0, 4).join("; ") + (wrong.length > 4 ? ` and ${wrong.length - 4} more` : "");
  const conflict = wrong.length ? make("span", { class: "clash" }, ` Conflict: these move together and read each other: ${shownWrong}.`) : null;
  byId("step").replaceChildren(...[`${what}: ${verb}${reads}.`, conflict].filter(Boolean));
}

/** Go a step on or back; the sweep begins anew after its last class, as the relaxation does. */
function go(by) {
  if (!steps.length) return;
  const next = sweep.step < 0 ? (by > 0 ? 0 : steps.length - 1) : (sweep.step + by + steps.length) % steps.length;
  goTo(next);
}

function play() {
  if (!steps.length) return;
  go(1);
  clearInterval(sweep.timer);
  sweep.timer = setInterval(() => go(1), Number(byId("speed").value));
  pressed(true);
}

function pause() {
  clearInterval(sweep.timer);
  sweep.timer = 0;
  pressed(false);
}

function pressed(playing) {
  byId("play").setAttribute("aria-pressed", String(playing));
  byId("play").textContent = playing ? "Pause" : `Play ${PLAYED}`;
  // While it plays, every class would interrupt what a screen reader says.
  byId("step").setAttribute("aria-live", playing ? "off" : "polite");
}

const toggle = () => (sweep.timer ? pause() : play());

/** End the sweep, and show what is selected again. */
function leave() {
  pause();
  sweep.step = -1;
  cy.batch(() => cy.elements().removeClass("moves read clash faint"));
  byId("step").textContent = resting();
  select(selection.now, "sweep");
}

function resting() {
  const [one, several] = steps[0]?.title === "class" ? ["class", "classes"] : ["step", "steps"];
  if (network.backprop) return `The forward pass has ${count(steps.length)} ${steps.length === 1 ? one : several}. Play it to see who is computed and who is read.`;
  return `A sweep has ${count(steps.length)} ${steps.length === 1 ? one : several}. Play it to see who moves and who is read.`;
}

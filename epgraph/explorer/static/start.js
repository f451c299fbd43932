// Put the parts together, once all of them are there.

byId("name").textContent = network.name || "network";
byId("summary").textContent = `${count(states.length)} states, ${count(edges.length)} edges; ${network.facts.slice(0, 2).map(([, value]) => value).join("; ")}`;
byId("step").textContent = resting();
pressed(false);
document.querySelector(".bar").setAttribute("aria-label", `Diagram and ${PLAYED}`);
byId("stop").title = `Leave the ${PLAYED} (escape)`;
document.querySelectorAll(".played").forEach((place) => place.replaceChildren(PLAYED));

const CLICKS = { fit, closer: () => zoom(1.25), farther: () => zoom(0.8), play: toggle, stop: leave };
for (const [id, act] of Object.entries(CLICKS)) byId(id).addEventListener("click", act);
for (const [id, by] of [["back", -1], ["forth", 1]]) {
  byId(id).addEventListener("click", () => {
    pause();
    go(by);
  });
}
byId("speed").addEventListener("change", () => {
  if (sweep.timer) play();
});

drawLegend();
if (run !== null) drawRun();
drawTabs();
openTab("states");
show(null);
fit();
// The picture follows the width of the window; its height alone changes when a phone hides its bars.
let width = cy.width();
new ResizeObserver(() => {
  cy.resize();
  if (cy.width() !== width) fit();
  width = cy.width();
}).observe(canvas);
document.documentElement.dataset.ready = "true";

// Elements of the page. Texts go through text nodes and attributes alone, so that nothing of a user's is ever markup.

/** Make an element: attributes by name ("on…" for listeners), and children, which are nodes or texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const byId = (id) => document.getElementById(id);

/** Say something to readers of the screen, without moving the focus. */
function say(text) {
  byId("live").textContent = text;
}

const grouped = new Intl.NumberFormat("en-US");
const count = (number) => grouped.format(number);

/** A measured number in four digits. */
function short(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) return value.toExponential(2).replace(/\.?0*e/, "e");
  return String(Number(value.toPrecision(4)));
}

/** A formula. A token is a text, or [letter, number of its state or edge, 1 if transposed]. */
function formula(tokens) {
  const indexed = tokens.map((token) => (Array.isArray(token) ? [token[0], nameOf(token), token[2]] : token));
  const spoken = indexed.map((token) => (Array.isArray(token) ? `${token[0]}${token[2] ? " transposed" : ""} of ${token[1]}` : token));
  const math = make("span", { class: "math", role: "math", "aria-label": spoken.join("") });
  for (const token of indexed) {
    if (!Array.isArray(token)) math.append(token);
    else {
      math.append(make("var", {}, token[0]), make("sub", {}, token[1]));
      if (token[2]) math.append(make("sup", {}, "⊤"));
    }
  }
  return math;
}

const nameOf = ([letter, i]) => (["A", "B", "W", "∂φ"].includes(letter) ? edges : states)[i].name;

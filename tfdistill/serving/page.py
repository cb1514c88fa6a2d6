"""The page to try a server by hand: a text box, the answer, and the trace of a team.

It is three fixed files. Nothing is loaded from elsewhere, and whatever comes from an answer is set
as text and never as markup, so a request cannot put a script on the page. `?text=…` in the address
fills the box and asks at once, so that a question can be shared as a link.
"""

from __future__ import annotations

__all__ = ["FILES", "HEADERS"]

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>tfdistill</title>
<link rel="stylesheet" href="page.css">
<main>
  <h1>tfdistill <small id="servable"></small></h1>
  <form id="form">
    <label for="text">Text</label>
    <textarea id="text" rows="3" autofocus placeholder="wheat exports fell"
              aria-describedby="keys"></textarea>
    <div class="ask">
      <button>Ask</button>
      <small id="keys"><kbd>Ctrl</kbd> + <kbd>Enter</kbd> asks too</small>
      <span id="state" role="status"></span>
    </div>
  </form>
  <section id="answer" aria-live="polite"></section>
  <section id="trace"></section>
</main>
<script src="page.js"></script>
</html>
"""

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1f2328; --soft: #59636e; --paper: #ffffff; --panel: #f6f8fa; --line: #d1d9e0;
  --accent: #0b5cad; --on-accent: #ffffff; --track: #e4e8ec; --rest: #7d8894; --mark: #fff1c2;
  --wrong: #a4000f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --panel: #161b22; --line: #3d444d;
    --accent: #6cb6ff; --on-accent: #0d1117; --track: #262c34; --rest: #6e7985; --mark: #4b3d10;
    --wrong: #ff9a92;
  }
}
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: var(--ink);
       background: var(--paper); }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; }
h1 small { font-size: 1rem; font-weight: normal; color: var(--soft); }
h2 { font-size: 1.2rem; margin: 2rem 0 .75rem; overflow-wrap: anywhere; }
small { color: var(--soft); font-size: .875rem; }
label { display: block; font-weight: 600; margin-bottom: .25rem; }
textarea { width: 100%; font: inherit; color: inherit; background: var(--panel);
           padding: .6rem .75rem; border: 1px solid var(--rest); border-radius: .4rem;
           resize: vertical; }
textarea::placeholder { color: var(--soft); opacity: 1; }
.ask { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; margin-top: .5rem; }
button { font: inherit; font-weight: 600; min-height: 2.75rem; padding: 0 1.5rem; cursor: pointer;
         color: var(--on-accent); background: var(--accent); border: 0; border-radius: .4rem; }
button:hover { filter: brightness(1.1); }
textarea:focus-visible, button:focus-visible, .wide:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; }
kbd { font: inherit; border: 1px solid var(--line); border-radius: .25rem; padding: 0 .3rem; }
#state { margin-left: auto; color: var(--soft); font-variant-numeric: tabular-nums; }
.classes { list-style: none; margin: 0; padding: 0; }
.classes li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .2rem 1rem;
              margin-bottom: .75rem; }
.classes .name { overflow-wrap: anywhere; }
.classes .percent { font-variant-numeric: tabular-nums; }
.classes .given { font-weight: 600; }
.track { grid-column: 1 / -1; height: .6rem; border-radius: .3rem; background: var(--track);
         overflow: hidden; }
.bar { height: 100%; min-width: 1px; border-radius: inherit; background: var(--rest); }
.classes .given .bar { background: var(--accent); }
.unsure { border-left: .25rem solid var(--rest); background: var(--panel); margin: 0 0 1rem;
          padding: .5rem .75rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
mark { color: inherit; background: var(--mark); border-radius: .2rem; padding: 0 .15rem; }
th, td { text-align: left; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid var(--line);
         vertical-align: top; overflow-wrap: anywhere; min-width: 2rem; }
th { color: var(--soft); font-size: .875rem; font-weight: 600; }
.error { color: var(--wrong); }
@media (max-width: 30rem) { button { width: 100%; } #keys { display: none; } }
"""

_SCRIPT = """
"use strict";
const find = (id) => document.getElementById(id);
function make(tag, text, parent) {
  const node = document.createElement(tag);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}
function shown(value) {
  if (typeof value === "number" && !Number.isInteger(value)) return value.toFixed(3);
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}
function table(parent, name) {
  const wide = make("div", null, parent);
  wide.className = "wide";
  wide.tabIndex = 0;
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", name);
  return make("table", null, wide);
}
const percent = (p) => `${(100 * p).toFixed(1)} %`;
function showClass(answer, labels) {
  const place = find("answer");
  make("h2", `${answer.label} (${percent(answer.confidence)})`, place);
  if (answer.in_scope === false) {
    make("p", "The text is unlike those that the model knows: perhaps none of these.", place)
      .className = "unsure";
  }
  const rest = showBars(answer.probabilities, labels);
  if (rest.length) {
    const sum = rest.reduce((total, [p]) => total + p, 0);
    make("small", `${rest.length} more classes: ${percent(sum)}`, find("answer"));
  }
}
function showLabels(answer, labels) {
  make("h2", answer.labels.join(", ") || "no label", find("answer"));
  const rest = showBars(answer.probabilities, labels, answer.labels);
  if (rest.length) make("small", `${rest.length} more labels, less likely`, find("answer"));
}
// Lists the ten likeliest and returns the others.
function showBars(probabilities, labels, given) {
  const list = make("ol", null, find("answer"));
  list.className = "classes";
  const ranked = probabilities.map((p, i) => [p, labels[i] ?? `class ${i}`])
    .sort((a, b) => b[0] - a[0]);
  ranked.slice(0, 10).forEach(([p, label], place) => {
    const item = make("li", null, list);
    if (given ? given.includes(label) : place === 0) item.className = "given";
    make("span", label, item).className = "name";
    make("span", percent(p), item).className = "percent";
    const track = make("div", null, item);
    track.className = "track";
    const bar = make("div", null, track);
    bar.className = "bar";
    bar.style.width = `${100 * p}%`;
  });
  return ranked.slice(10);
}
const isSpan = (item) => Array.isArray(item) && item.length === 3 && typeof item[0] === "number";
function showValue(value, text, cell) {
  if (!Array.isArray(value) || !value.every(isSpan)) cell.textContent = shown(value);
  else if (!value.length) cell.textContent = "none";
  else value.forEach(([start, end, label]) => {
    const line = make("div", null, cell);
    // The server counts characters, not halves of some.
    make("mark", Array.from(text).slice(start, end).join(""), line);
    make("small", ` ${label}`, line);
  });
}
function showFields(fields, text) {
  const rows = table(find("answer"), "Answer");
  Object.entries(fields).forEach(([name, value]) => {
    const row = make("tr", null, rows);
    make("th", name, row).scope = "row";
    showValue(value, text, make("td", null, row));
  });
}
function showTrace(trace, text) {
  const place = find("trace");
  make("h2", `Trace: ${trace.length} entries`, place);
  const rows = table(place, "Trace");
  const head = make("tr", null, rows);
  ["", "field", "who", "what", "confidence", "ms"].forEach((name) => {
    make("th", name, head).scope = "col";
  });
  trace.forEach((entry, number) => {
    const [kind, parts] = Object.entries(entry)[0];
    const row = make("tr", null, rows);
    const [who, what] = {
      message: [`${parts.by} (${parts.tier})`, parts.value],
      failure: [`${parts.by} (${parts.tier})`, parts.error],
      decision: ["policy", parts.granted ? parts.choice : `${parts.choice}: no budget`],
    }[kind] ?? [kind, parts];
    [number, parts.field, who].forEach((value) => make("td", shown(value), row));
    showValue(what, text, make("td", null, row));
    [parts.confidence, parts.cost_ms].forEach((value) => make("td", value?.toFixed(3), row));
  });
}
let asked = 0;
async function ask(text) {
  const turn = ++asked;
  find("answer").replaceChildren();
  find("trace").replaceChildren();
  find("state").textContent = "…";
  const start = performance.now();
  try {
    const response = await fetch("predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text }),
    });
    const content = await response.json();
    if (turn !== asked) return; // a later question has the page
    find("state").textContent = `${Math.round(performance.now() - start)} ms`;
    if (content.error) throw new Error(content.error.message);
    if (Array.isArray(content.answer.labels)) showLabels(content.answer, servable.labels ?? []);
    else if (content.answer.probabilities) showClass(content.answer, servable.labels ?? []);
    else if (typeof content.answer.value === "number") {
      make("h2", String(Number(content.answer.value.toPrecision(6))), find("answer"));
    }
    else showFields(content.answer.answer ?? content.answer, text);
    if (Array.isArray(content.answer.trace)) showTrace(content.answer.trace, text);
    document.body.dataset.done = "yes";
  } catch (error) {
    if (turn !== asked) return;
    make("p", error.message, find("answer")).className = "error";
    document.body.dataset.done = "error";
  }
}
let servable = {};
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(find("text").value);
});
find("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    find("form").requestSubmit();
  }
});
fetch("health").then((response) => response.json()).then((health) => {
  servable = health;
  find("servable").textContent = health.name;
  const text = new URLSearchParams(location.search).get("text");
  if (text !== null) {
    find("text").value = text;
    ask(text);
  }
});
"""

# Path: media type and content.
FILES = {
    "/": ("text/html; charset=utf-8", _PAGE),
    "/page.css": ("text/css; charset=utf-8", _STYLE),
    "/page.js": ("text/javascript; charset=utf-8", _SCRIPT),
}

HEADERS = {
    # The width of a bar is set by script, which is not a style attribute in the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

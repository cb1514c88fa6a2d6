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
<title>tfdistill</title>
<link rel="stylesheet" href="page.css">
<main>
  <h1>tfdistill <small id="servable"></small></h1>
  <form id="form">
    <label for="text">Text</label>
    <textarea id="text" rows="3" autofocus placeholder="wheat exports fell"></textarea>
    <button>Ask</button> <span id="state" role="status"></span>
  </form>
  <section id="answer" aria-live="polite"></section>
  <section id="trace"></section>
</main>
<script src="page.js"></script>
</html>
"""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 52rem; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1 small { font-size: 1rem; font-weight: normal; color: #595959; }
label { display: block; font-weight: 600; }
textarea { width: 100%; box-sizing: border-box; font: inherit; padding: .5rem; }
button { font: inherit; padding: .4rem 1.2rem; margin-top: .5rem; }
table { border-collapse: collapse; margin-top: 1rem; width: 100%; }
mark { color: inherit; background: #e2e8f3; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #d0d0d0;
         vertical-align: top; overflow-wrap: anywhere; }
.bar { background: #2b6cb0; height: .8rem; min-width: 1px; }
.error { color: #a4000f; }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; }
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
function showClass(answer, labels) {
  const place = find("answer");
  const nearest = `${answer.label} (${(100 * answer.confidence).toFixed(1)} %)`;
  const none = answer.in_scope === false;
  make("h2", none ? `none of the classes; the nearest is ${nearest}` : nearest, place);
  const table = make("table", null, place);
  answer.probabilities.map((p, i) => [p, labels[i] ?? `class ${i}`])
    .sort((a, b) => b[0] - a[0]).slice(0, 10).forEach(([p, label]) => {
      const row = make("tr", null, table);
      make("td", label, row);
      make("td", p.toFixed(3), row);
      const bar = make("div", null, make("td", null, row));
      bar.className = "bar";
      bar.style.width = `${100 * p}%`;
    });
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
  const table = make("table", null, find("answer"));
  Object.entries(fields).forEach(([name, value]) => {
    const row = make("tr", null, table);
    make("th", name, row);
    showValue(value, text, make("td", null, row));
  });
}
function showTrace(trace, text) {
  const place = find("trace");
  make("h2", `Trace: ${trace.length} entries`, place);
  const table = make("table", null, place);
  const head = make("tr", null, table);
  ["", "field", "who", "what", "confidence", "ms"].forEach((name) => make("th", name, head));
  trace.forEach((entry, number) => {
    const [kind, parts] = Object.entries(entry)[0];
    const row = make("tr", null, table);
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
async function ask(text) {
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
    find("state").textContent = `${Math.round(performance.now() - start)} ms`;
    if (content.error) throw new Error(content.error.message);
    if (content.answer.probabilities) showClass(content.answer, servable.labels ?? []);
    else showFields(content.answer.answer ?? content.answer, text);
    if (Array.isArray(content.answer.trace)) showTrace(content.answer.trace, text);
    document.body.dataset.done = "yes";
  } catch (error) {
    make("p", error.message, find("answer")).className = "error";
    document.body.dataset.done = "error";
  }
}
let servable = {};
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(find("text").value);
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

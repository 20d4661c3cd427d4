"""The style and the script of the page of a translation. The script asks nobody and writes texts as text alone."""

from __future__ import annotations

STYLE = r"""
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #fff; --ink: #1d2126; --quiet: #646c76; --line: #dfe2e6;
  --soft: #f3f4f5; --accent: #2456a6; --warn: #8a4b00; --warn-soft: #fdf1dc; --mark: #ffdf8e; --hit: #bfe3ff;
  --bad: #ad2231; --bad-soft: #fdecee; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --card: #1c2025; --ink: #e4e7ea; --quiet: #9aa3ad;
  --line: #343a41; --soft: #23282e; --accent: #8ab4f4; --warn: #f3c374; --warn-soft: #392c15; --mark: #6d5200;
  --hit: #12466e; --bad: #ff8d99; --bad-soft: #40191e; } }
* { box-sizing: border-box; }
body { background: var(--ground); color: var(--ink); margin: 0 auto; max-width: 96rem; padding: 1.5rem 1.25rem 6rem;
  font: 16px/1.6 system-ui, "Noto Sans KR", "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic", sans-serif; }
h1 { font-size: 1.45rem; line-height: 1.3; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.notes { color: var(--quiet); font-size: .9rem; margin: 0 0 1rem; max-width: 62rem; padding-left: 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; text-align: right; }
th:first-child, td:first-child { text-align: left; white-space: pre-wrap; }
summary { cursor: pointer; }
kbd { background: var(--soft); border: 1px solid var(--line); border-radius: .25rem; font: .8em/1.2 ui-monospace,
  monospace; padding: .05rem .35rem; }
button, input, select { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  color: inherit; font: inherit; font-size: .9rem; min-height: 2.2rem; padding: .2rem .65rem; }
button { cursor: pointer; } button:disabled { cursor: default; opacity: .45; }
button:hover:enabled { border-color: var(--quiet); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.bar { background: var(--ground); border-bottom: 1px solid var(--line); margin: 1.2rem -1.25rem 0;
  padding: .6rem 1.25rem; position: sticky; top: 0; z-index: 1; }
.tools { align-items: end; display: flex; flex-wrap: wrap; gap: .5rem .7rem; }
.tools label { color: var(--quiet); display: grid; font-size: .78rem; }
.tools label > * { color: var(--ink); max-width: 16rem; }
.tools .search { flex: 1 1 14rem; } .tools .search input { max-width: none; width: 100%; }
.state { align-items: center; color: var(--quiet); display: flex; flex-wrap: wrap; font-size: .88rem; gap: .3rem .8rem;
  justify-content: space-between; }
.state p { margin: .4rem 0 0; } .state .keys { margin-left: auto; }
.heads, .pair { display: grid; gap: .8rem; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
.heads { color: var(--quiet); font-size: .82rem; font-weight: 600; padding: 0 1rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .55rem;
  margin: .8rem 0; padding: .7rem 1rem 1rem; }
article.damaged { border-left: .25rem solid var(--warn); }
article.flagged { border-color: var(--bad); }
article:focus-visible { outline-offset: 0; }
article header { align-items: center; display: flex; flex-wrap: wrap; gap: .3rem .7rem; }
.id { font: .88rem/1.4 ui-monospace, "SFMono-Regular", Consolas, monospace; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: .85rem; }
.flag { margin-left: auto; }
.flagged .flag { background: var(--bad-soft); border-color: var(--bad); color: var(--bad); }
.note { align-items: center; display: flex; font-size: .85rem; gap: .5rem; margin-top: .4rem; }
.note input { flex: 1; }
.field { margin-top: .7rem; }
.field h3 { color: var(--quiet); font-size: .82rem; font-weight: 600; margin: 0 0 .2rem; }
.verdicts { list-style: none; margin: 0 0 .35rem; padding: 0; }
.verdicts li { background: var(--warn-soft); border-radius: .3rem; color: var(--warn); display: inline-block;
  font-size: .85rem; margin: 0 .4rem .25rem 0; overflow-wrap: anywhere; padding: .1rem .5rem; }
.text { background: var(--soft); border-radius: .35rem; overflow-wrap: anywhere; padding: .5rem .7rem;
  unicode-bidi: isolate; white-space: pre-wrap; }
.text:lang(ko) { word-break: keep-all; }
.long { max-height: 32rem; overflow-y: auto; }
mark { background: var(--mark); border-radius: .15rem; color: inherit; } mark.hit { background: var(--hit); }
.escape { color: var(--bad); font: .82em/1 ui-monospace, monospace; }
.pages { align-items: center; display: flex; gap: .7rem; justify-content: center; margin-top: 1.2rem; }
@media (max-width: 46rem) { .pair { grid-template-columns: minmax(0, 1fr); } .heads { display: none; }
  .bar { position: static; } }
"""

SCRIPT = r"""
"use strict";
const PAGE = 100;  // rows that stand in the page at a time
const LONG = 3000;  // characters of a text that gets a scroll bar of its own
// Characters that change how others look, or that nobody sees: shown by their number.
const HIDDEN = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b\\u200e\\u200f" +
  "\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff\\u{e0000}-\\u{e007f}]|\\p{Cs}", "gu");

// What the page decides, without the page

function spelled(character) {
  const point = character.codePointAt(0);
  if (character === "\r") return "\\r";
  if (point < 256) return "\\x" + point.toString(16).padStart(2, "0");
  return point > 65535 ? "\\u{" + point.toString(16) + "}" : "\\u" + point.toString(16).padStart(4, "0");
}

// A text as parts [kind, text]: "" is plain, "mark" and "hit" stand out, "escape" spells a character nobody sees.
function parts(text, marks, query) {
  const found = [];
  const add = (kind, piece) => {
    let from = 0;
    for (const match of piece.matchAll(HIDDEN)) {
      if (match.index > from) found.push([kind, piece.slice(from, match.index)]);
      found.push([kind ? kind + " escape" : "escape", spelled(match[0])]);
      from = match.index + match[0].length;
    }
    if (from < piece.length) found.push([kind, piece.slice(from)]);
  };
  const wanted = [...marks, query].filter(Boolean).sort((a, b) => b.length - a.length).map(literal);
  let from = 0;
  if (wanted.length) {
    for (const match of text.matchAll(new RegExp(wanted.join("|"), "giu"))) {
      add("", text.slice(from, match.index));
      add(marks.includes(match[0]) ? "mark" : folded(match[0]) === folded(query) ? "hit" : "", match[0]);
      from = match.index + match[0].length;
    }
  }
  add("", text.slice(from));
  return found;
}

// A regular expression for one text; a number is not found inside a longer one.
function literal(text) {
  const plain = text.replace(/[\\^$.*+?()[\]{}|\/]/g, "\\$&");
  return (/^\d/.test(text) ? "(?<!\\d)" : "") + plain + (/\d$/.test(text) ? "(?!\\d)" : "");
}

function folded(text) {
  return text.normalize("NFC").toLowerCase();
}

// All of a row that is searched, in one text.
function searched(row) {
  const texts = row.fields.flatMap(([, english, korean]) => [english ?? "", korean]);
  return folded([row.id, ...texts].join("\n"));
}

// The places of the rows that a choice leaves: `kind` is "", "+", "-", "v:KIND", "b" or "b:KIND".
function chosen(rows, texts, flags, choice) {
  const query = folded(choice.query.trim());
  const found = [];
  rows.forEach((row, place) => {
    if (choice.source && row.source !== choice.source) return;
    if (choice.flag && flags.has(row.id) !== (choice.flag === "+")) return;
    if (!ofKind(row, choice.kind)) return;
    if (query && !texts[place].includes(query)) return;
    found.push(place);
  });
  return found;
}

function ofKind(row, kind) {
  if (!kind) return true;
  if (kind === "+" || kind === "-") return (row.verdicts.length > 0) === (kind === "+");
  if (kind === "b") return row.bound !== null;
  if (kind.startsWith("b:")) return row.bound !== null && row.bound[0] === kind.slice(2);
  return row.verdicts.some((verdict) => verdict[0] === kind.slice(2));
}

// The file of flags: one JSON object a line, in the order of the page.
function exported(rows, flags) {
  const ids = new Set([...rows.map((row) => row.id).filter((id) => flags.has(id)), ...flags.keys()]);
  const line = (id) => JSON.stringify({ id, flag: "bad", note: flags.get(id) }) + "\n";
  const escape = (character) => "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0");
  return [...ids].map(line).join("").replace(/[\u007f-\u009f\u2028\u2029]/g, escape);
}

// The flags that a browser kept; anything else that stands there is none.
function remembered(text) {
  try {
    const pairs = JSON.parse(text ?? "[]");
    return new Map(pairs.filter(([id]) => typeof id === "string").map(([id, note]) => [id, String(note)]));
  } catch {
    return new Map();
  }
}

// A key as a letter of the Latin keyboard, also where another script is typed.
function letter(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return "";
  if (/^[\x20-\x7e]$/.test(event.key)) return event.key;
  return /^Key[A-Z]$/.test(event.code) ? event.code[3].toLowerCase() : event.key;
}

// The page

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function spans(text, marks, query) {
  return parts(text, marks, query).map(([kind, piece]) => {
    if (!kind) return piece;
    const tag = kind.startsWith("escape") ? "span" : "mark";
    return element(tag, { class: kind }, piece);
  });
}

function language(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(code);
  } catch {
    return code;
  }
}

const find = (id) => document.getElementById(id);
const choice = { query: "", kind: "", source: "", flag: "" };
const shown = { found: [], page: 0, pages: 1, at: -1 };  // the chosen rows, and the row that has the focus
let data, rows, texts;
let flags = new Map();

function load() {
  try { flags = remembered(localStorage.getItem(data.key)); } catch { find("warning").hidden = false; }
}

function store() {
  try { localStorage.setItem(data.key, JSON.stringify([...flags])); } catch { find("warning").hidden = false; }
  find("export").textContent = `Export flags (${flags.size})`;
  find("export").disabled = flags.size === 0;
}

function textOf(text, lang, marks) {
  if (text === null) return element("div", { class: "text quiet" }, "(not kept)");
  return element("div", { class: "text", lang, dir: "auto" }, ...spans(text, marks, choice.query.trim()));
}

function verdictsOf(row, field) {
  const items = row.verdicts.filter((verdict) => verdict[1] === field);
  if (!items.length) return "";
  const list = items.map(([kind, , evidence]) => element("li", {}, element("b", {}, ...spans(kind, [], "")),
    " ", ...spans(evidence, [], "")));
  return element("ul", { class: "verdicts" }, ...list);
}

function fieldOf(row, [name, english, korean, marks]) {
  const same = english !== null && english === korean && korean !== "" ? " · the same in both" : "";
  const long = Math.max(english?.length ?? 0, korean.length) > LONG;
  return element("section", { class: "field" }, element("h3", {}, name + same), verdictsOf(row, name),
    element("div", { class: long ? "pair long" : "pair", tabindex: long ? "0" : null },
      textOf(english, data.source, marks?.[0] ?? []), textOf(korean, data.target, marks?.[1] ?? [])));
}

function boundOf(row) {
  const [kind, evidence, fields] = row.bound;
  const kept = fields.length ? ` · needs ${fields.join(", ")} in ${language(data.source)}` : "";
  return element("li", {}, element("b", {}, ...spans("bound: " + kind, [], "")), " ",
    ...spans((evidence ? `“${evidence}”` : "") + kept, [], ""));
}

function rowOf(place) {
  const row = rows[place];
  const flagged = flags.has(row.id);
  const flag = element("button", { type: "button", class: "flag", "aria-pressed": String(flagged) },
    flagged ? "Flagged bad" : "Flag bad");
  flag.addEventListener("click", () => toggle(place));
  const made = element("article", { tabindex: "-1", "aria-label": `Row ${row.number}`,
    class: (row.verdicts.length ? "damaged " : "") + (flagged ? "flagged" : "") },
    element("header", {}, element("span", { class: "quiet" }, `Row ${row.number.toLocaleString("en")}`),
      element("span", { class: "id" }, ...spans(row.id, [], choice.query.trim())),
      element("span", { class: "quiet" }, ...spans(row.source, [], "")), flag));
  if (flagged) made.append(noteOf(row));
  const known = new Set(row.fields.map(([name]) => name));
  const others = [...new Set(row.verdicts.map((verdict) => verdict[1]).filter((name) => !known.has(name)))];
  made.append(...others.map((name) => verdictsOf(row, name)));
  if (row.bound) made.append(element("ul", { class: "verdicts" }, boundOf(row)));
  made.append(...row.fields.map((field) => fieldOf(row, field)));
  made.addEventListener("focusin", () => { shown.at = [...made.parentNode.children].indexOf(made); });
  return made;
}

function noteOf(row) {
  const input = element("input", { type: "text", placeholder: "What is wrong?", autocomplete: "off" });
  input.value = flags.get(row.id);
  input.addEventListener("input", () => { flags.set(row.id, input.value); store(); });
  return element("label", { class: "note" }, "Note", input);
}

function toggle(place) {
  const id = rows[place].id;
  if (!flags.delete(id)) flags.set(id, "");
  store();
  shown.found.slice(shown.page * PAGE, (shown.page + 1) * PAGE).forEach((other, at) => {
    if (rows[other].id === id) find("rows").children[at].replaceWith(rowOf(other));
  });
  const row = find("rows").children[shown.found.indexOf(place) - shown.page * PAGE];
  row.focus({ preventScroll: true });
  row.firstChild.scrollIntoView({ block: "nearest" });
}

function draw(page, at) {
  shown.pages = Math.max(1, Math.ceil(shown.found.length / PAGE));
  shown.page = Math.min(Math.max(page, 0), shown.pages - 1);
  const from = shown.page * PAGE;
  const here = shown.found.slice(from, from + PAGE);
  shown.at = -1;
  find("rows").replaceChildren(...here.map(rowOf));
  const count = (number) => number.toLocaleString("en");
  const which = here.length ? `${count(from + 1)}–${count(from + here.length)} of ` : "";
  find("count").textContent = `${which}${count(shown.found.length)} rows` +
    (shown.found.length < rows.length ? ` (${count(rows.length)} in the page)` : "");
  find("page").textContent = `Page ${shown.page + 1} of ${shown.pages}`;
  find("before").disabled = shown.page === 0;
  find("after").disabled = shown.page === shown.pages - 1;
  if (at !== undefined) go(at);
  else scrollTo(0, Math.min(scrollY, find("rows").offsetTop - find("bar").offsetHeight));
}

function choose() {
  shown.found = chosen(rows, texts, flags, choice);
  draw(0);
}

function go(at) {
  const here = find("rows").children;
  if (at < 0 && shown.page > 0) return draw(shown.page - 1, PAGE - 1);
  if (at >= here.length && shown.page < shown.pages - 1) return draw(shown.page + 1, 0);
  const row = here[Math.min(Math.max(at, 0), here.length - 1)];
  if (!row) return;
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "start" });
}

function press(event) {
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (typing && event.key === "Escape") { event.target.blur(); go(shown.at); }
  if (typing) return;
  const place = shown.at < 0 ? undefined : shown.found[shown.page * PAGE + shown.at];
  const keys = {
    j: () => go(shown.at + 1),
    k: () => go(shown.at - 1),
    f: () => place !== undefined && toggle(place),
    n: () => {
      if (place === undefined) return;
      if (!flags.has(rows[place].id)) toggle(place);
      find("rows").children[shown.at].querySelector(".note input").focus();
    },
    "/": () => { find("query").focus(); find("query").select(); },
  };
  const key = letter(event);
  if (!Object.hasOwn(keys, key)) return;
  event.preventDefault();
  keys[key]();
}

function save() {
  const address = URL.createObjectURL(new Blob([exported(rows, flags)], { type: "application/jsonl" }));
  element("a", { href: address, download: data.file }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

// A row that is scrolled to stands below the bar.
function clear() {
  const bar = find("bar");
  const height = getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
  document.documentElement.style.scrollPaddingTop = `${height + 8}px`;
}

function start() {
  data = JSON.parse(find("data").textContent);
  rows = data.rows;
  texts = rows.map(searched);
  for (const name of ["source", "target"]) find(name).textContent = language(data[name]);
  for (const name of ["kind", "source", "flag"]) {
    const select = find("by-" + name);
    select.addEventListener("change", () => { choice[name] = select.value; choose(); });
    choice[name] = select.value;  // a browser keeps what was chosen before the page was loaded again
  }
  let wait = 0;
  find("query").addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(() => { choice.query = find("query").value; choose(); }, 120);
  });
  choice.query = find("query").value;
  find("before").addEventListener("click", () => draw(shown.page - 1, 0));
  find("after").addEventListener("click", () => draw(shown.page + 1, 0));
  find("export").addEventListener("click", save);
  addEventListener("keydown", press);
  addEventListener("resize", clear);
  clear();
  addEventListener("storage", (event) => {
    if (event.key === data.key) { load(); store(); draw(shown.page, shown.at < 0 ? undefined : shown.at); }
  });
  load();
  store();
  choose();
}

if (typeof document !== "undefined") start();
"""

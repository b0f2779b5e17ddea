// The search page: what the reader does becomes a state, the state a request, its answer elements.

import * as api from "./api.js";
import { LEAST, PAGE, fromAddress, toAddress, toggle } from "./state.js";
import { facetsOf, hitOf, make, percent } from "./view.js";
import { explanationOf } from "./why.js";

const PAUSE = 60; // milliseconds without a key before a search
const SLOW = 250; // milliseconds before the reader is told to wait
const SETTLED = 1000; // milliseconds without a key after which a query was meant, and is recorded

const at = (id) => document.getElementById(id);
const input = at("query"), hits = at("hits"), more = at("more");

let state = fromAddress();
let known = { fields: {}, documents: 0, records_clicks: true };
let committed = true; // whether the next change of the query is a new step for the back button
let learning = null; // the promise of what the server has, while it is asked for
let composing = false;
let running = new AbortController();
let timer = 0;
let settling = 0;
let telling = 0;
let searched = ""; // the query that was searched for, its misspelt words corrected
let answered = null; // the state whose hits are shown
let unrecorded = null; // what is shown of a query that is being typed: { asked, items }
let recording = null; // the promise that it is recorded now

// ---- Searching

// Ask for the hits from `offset`; those before it stay. An answer that is no longer wanted is dropped.
// typing: whether the query may be half a word, which no server shall record before it settles.
async function search(offset = 0, typing = false) {
  clearTimeout(timer);
  clearTimeout(settling);
  if (offset) settle();
  running.abort();
  const own = (running = new AbortController());
  const { query, asTyped, filters, least, n } = state;
  if (!query.trim()) return showNothing();
  const slow = setTimeout(wait, SLOW);
  try {
    // Without filters the counts are those of all documents, which are known; asking costs the server time.
    const facets = filters.size ? Object.keys(known.fields) : [];
    const record = !(typing && known.records_clicks);
    const answer = await api.search(query, asTyped, filters, least, facets, offset, n - offset, record, own.signal);
    if (own !== running) return;
    answered = state;
    show(answer, offset, typing);
    unrecorded = record ? null : { asked: state, items: [...hits.children] };
    if (!record) settleSoon();
  } catch (error) {
    if (own === running) showProblem(error);
  } finally {
    clearTimeout(slow);
    if (own === running) hits.removeAttribute("aria-busy");
  }
}

// The old hits are dimmed; where there are none, the reader is told in words.
function wait() {
  hits.setAttribute("aria-busy", "true");
  if (hits.childElementCount) return;
  at("empty").hidden = true;
  tell(at("count"), "Searching …");
}

function show(answer, offset, typing) {
  const elements = answer.hits.map(hitOf);
  noteSearch(elements, answer.search);
  if (offset) hits.append(...elements);
  else hits.replaceChildren(...elements);
  searched = answer.corrected ?? answer.query;
  showCorrected(answer.corrected, typing);
  const shown = hits.childElementCount;
  more.hidden = answer.hits.length < state.n - offset || !shown;
  at("problem").hidden = at("empty").hidden = true;
  const counted = `${shown} ${shown === 1 ? "result" : "results"}${more.hidden ? "" : ", more below"}`;
  tell(at("count"), shown ? counted : nothing());
  at("count").classList.toggle("nothing", !shown);
  at("likely").hidden = !state.least && !answer.hits.some((hit) => hit.probability !== null);
  at("took").textContent = shown ? `${answer.took_ms.toFixed(1)} ms` : "";
  at("unfilter").hidden = shown > 0 || !state.filters.size;
  showFacets(answer.facets ?? (state.filters.size ? {} : known.fields));
  learn(); // if it failed before
  if (offset) hits.children[offset]?.querySelector(".title").focus();
  else if (document.activeElement === input) scrollTo(0, 0);
}

// Say which query was searched for, if it is another one. While somebody types, half a word may be read as
// many others one after another, and the hits would jump at each; so it is said when the query has settled.
function showCorrected(query, typing = false) {
  const [read] = at("corrected").children;
  clearTimeout(telling);
  if (!query || query !== read.textContent) at("corrected").hidden = true;
  if (!query) return;
  telling = setTimeout(() => {
    read.textContent = query;
    at("corrected").hidden = false;
  }, typing ? SETTLED : 0);
}

function nothing() {
  if (state.least) {
    return `No good answer for “${state.query.trim()}”: no result is relevant with a probability of ${percent(state.least)}.`;
  }
  const remedy = state.filters.size ? "Remove a filter or use other words." : "Try other words.";
  return `Nothing found for “${state.query.trim()}”. ${remedy}`;
}

function showNothing() {
  answered = null;
  hits.replaceChildren();
  more.hidden = at("problem").hidden = at("unfilter").hidden = at("likely").hidden = true;
  showCorrected();
  at("empty").hidden = false;
  at("took").textContent = at("count").textContent = "";
  showFacets(state.filters.size ? {} : known.fields);
}

function showProblem(error) {
  if (!(error instanceof api.Problem)) console.error(error);
  answered = null; // so that Enter tries again
  const text = error instanceof api.Problem ? error.message : "This page failed; load it again.";
  tell(at("problem").firstElementChild, text);
  at("problem").hidden = false;
  if (!hits.childElementCount) at("count").textContent = "";
  at("likely").hidden = !state.least;
  showFacets({});
}

// A screen reader says what changed. A text that is the same again is made another one.
function tell(element, text) {
  element.textContent = element.textContent === text ? `${text}\u00a0` : text;
}

function showFacets(counts) {
  const { filters } = state;
  const focused = document.activeElement;
  at("filters").hidden = !Object.keys(known.fields).length && !filters.size;
  at("facets").replaceChildren(...facetsOf(known.fields, counts, filters));
  const chosen = [...filters.values()].reduce((sum, values) => sum + values.size, 0);
  at("chosen").textContent = chosen ? ` (${chosen})` : "";
  at("clear").hidden = !chosen;
  if (focused?.dataset.field === undefined) return;
  // The box that was changed is a new element now; the reader stays on it.
  [...at("facets").querySelectorAll("input")]
    .find((box) => box.dataset.field === focused.dataset.field && box.value === focused.value)?.focus();
}

// ---- What a server may record

// Whoever writes Chinese composes a word for longer than this; the query before it was then not meant.
function settleSoon() {
  clearTimeout(settling);
  settling = setTimeout(() => { if (!composing) settle(); }, SETTLED);
}

// What is shown was meant: search for it again, to be recorded.
function settle() {
  clearTimeout(settling);
  if (unrecorded) recording = again(unrecorded);
  unrecorded = null;
  return recording;
}

async function again({ asked, items }) {
  const { query, asTyped, filters, least, n } = asked;
  try {
    noteSearch(items, (await api.search(query, asTyped, filters, least, [], 0, n, true)).search);
  } catch {
    // Only the record is missing; the reader has the hits.
  }
}

// Note under which id the search of some hits was recorded, if it was.
function noteSearch(items, id) {
  for (const item of items) if (id) item.dataset.search = id;
}

async function record(item) {
  if (!known.records_clicks) return;
  if (!item.dataset.search) await settle();
  const { search, id } = item.dataset;
  if (search) api.click(search, id, item.value);
}

// ---- Why this hit

async function explain(item) {
  const title = item.querySelector(".title"), why = item.querySelector(".why");
  const open = title.getAttribute("aria-expanded") === "true";
  for (const other of hits.querySelectorAll('[aria-expanded="true"]')) close(other.closest("li"));
  if (open) return;
  record(item);
  committed = true;
  title.setAttribute("aria-expanded", "true");
  const { signal } = running;
  const slow = setTimeout(() => {
    why.replaceChildren(make("p", {}, "Explaining …"));
    why.hidden = title.getAttribute("aria-expanded") !== "true";
  }, SLOW);
  try {
    const { id } = item.dataset;
    const [explained, found] = await Promise.all([
      api.explain(searched, id, signal),
      api.documentOf(id, signal).catch(() => ({ metadata: {} })), // an address cannot end in the id ".."
    ]);
    why.replaceChildren(...explanationOf(explained, found));
  } catch (error) {
    if (signal.aborted) return close(item);
    why.replaceChildren(make("p", {}, error.message));
  } finally {
    clearTimeout(slow);
  }
  why.hidden = title.getAttribute("aria-expanded") !== "true";
  // What scrolls by itself can be scrolled by keys.
  for (const part of why.querySelectorAll(".shaded")) if (part.scrollHeight > part.clientHeight) part.tabIndex = 0;
}

function close(item) {
  item.querySelector(".title").setAttribute("aria-expanded", "false");
  item.querySelector(".why").hidden = true;
}

// ---- What the reader does

// Whether the field has another query than the one searched for. A blank at its end finds nothing else.
const isOther = () => input.value.trim() !== state.query.trim();

function typed() {
  if (composing) return;
  clearTimeout(timer);
  if (!isOther()) return;
  timer = setTimeout(() => {
    state = { ...state, query: input.value, asTyped: false, n: PAGE };
    toAddress(state, committed);
    committed = false;
    search(0, true);
  }, PAUSE);
}

function change(part) {
  const asTyped = state.asTyped && input.value === state.query;
  state = { ...state, query: input.value, asTyped, n: PAGE, ...part };
  toAddress(state, true);
  committed = true;
  return search();
}

function moveFrom(element, step) {
  const places = [input, ...hits.querySelectorAll(".title"), ...(more.hidden ? [] : [more])];
  const here = places.indexOf(element);
  const next = places[here + step];
  if (here < 0 || !next) return false;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  if (next === input) input.select();
  return true;
}

function pressed(event) {
  const { key, target } = event;
  if (event.isComposing || composing || event.keyCode === 229 || event.ctrlKey || event.metaKey || event.altKey) return;
  const writing = target === input;
  if (key === "/" && !writing) input.select();
  else if (key === "ArrowDown") { if (!moveFrom(target, 1)) return; }
  else if (key === "ArrowUp" && !writing) { if (!moveFrom(target, -1)) return; }
  else if (key === "Escape") escape(writing);
  else return;
  event.preventDefault();
}

function escape(writing) {
  const open = hits.querySelector('[aria-expanded="true"]');
  if (open) { close(open.closest("li")); open.focus(); return; }
  if (writing) { input.value = ""; typed(); }
  input.focus();
}

input.addEventListener("compositionstart", () => { composing = true; clearTimeout(timer); });
input.addEventListener("compositionend", () => {
  composing = false;
  typed();
  if (unrecorded) settleSoon();
});
input.addEventListener("input", typed);
input.addEventListener("change", () => { committed = true; });
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (composing) return;
  if (isOther()) change({});
  else if (answered === state) settle(); // a further search for what is shown would be recorded once more
  else search();
  committed = true;
});
document.addEventListener("keydown", pressed);
hits.addEventListener("click", (event) => {
  const title = event.target.closest(".title");
  if (title) explain(title.closest("li"));
  else if (event.target.closest(".why a")) record(event.target.closest("li"));
});
at("facets").addEventListener("change", ({ target }) => {
  const filters = new Map([...state.filters].map(([field, values]) => [field, new Set(values)]));
  toggle(filters, target.dataset.field, target.value);
  change({ filters });
});
for (const id of ["clear", "unfilter"]) {
  at(id).addEventListener("click", () => { change({ filters: new Map() }); input.focus(); });
}
at("corrected").lastElementChild.addEventListener("click", () => { change({ asTyped: true }); input.focus(); });
at("least").append(...LEAST.map((each) => make("option", { value: each }, percent(each))));
at("least").addEventListener("change", ({ target }) => change({ least: target.value }));
at("problem").lastElementChild.addEventListener("click", () => {
  at("problem").hidden = true; // so that the same problem is told again
  input.focus();
  start();
});
more.addEventListener("click", () => {
  const offset = hits.childElementCount;
  state = { ...state, n: offset + PAGE };
  toAddress(state, false);
  search(offset);
});
window.addEventListener("popstate", restore);

function restore() {
  state = fromAddress();
  input.value = state.query;
  at("least").value = state.least;
  committed = true;
  document.title = state.query ? `${state.query} – Peephole` : "Peephole";
  return search();
}

// Learn what the server has: its documents, their fields, whether it records. Nothing if that is known.
async function learn() {
  if (known.documents) return;
  try {
    known = await (learning ??= api.fields());
    at("recorded").hidden = !known.records_clicks;
    at("hint").textContent = `Type to search ${known.documents.toLocaleString("en")} documents.`;
    if (!state.filters.size) showFacets(known.fields);
  } catch (error) {
    if (!state.query.trim()) showProblem(error); // else the search tells it
  } finally {
    learning = null;
  }
}

async function start() {
  const learned = learn();
  // Hits do not wait for the fields, which may take seconds, unless their values are counted for filters.
  if (state.filters.size) await learned;
  if (isOther() && input.value) typed(); // written before the page was ready
  else restore();
}

// Filters stand beside the results where there is room (page.css), and are folded away where there is none.
const wide = matchMedia("(min-width: 52rem)");
const fold = () => { at("filters").open = wide.matches; };
wide.addEventListener("change", fold);
fold();
start();

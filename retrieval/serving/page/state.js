// What the reader asks for, and its place in the address bar: q, one f.FIELD for each chosen value, n hits,
// p the least probability, typed=1 if misspelt words stay.

export const PAGE = 10;
const MOST = 200;
export const LEAST = ["0.1", "0.3", "0.5"]; // probabilities to choose from

export function fromAddress() {
  const filters = new Map();
  const pairs = new URLSearchParams(location.search);
  for (const [name, value] of pairs) {
    if (name.startsWith("f.")) add(filters, name.slice(2), value);
  }
  const n = Number.parseInt(pairs.get("n") ?? PAGE, 10);
  const least = LEAST.find((each) => each === pairs.get("p")) ?? "";
  const asTyped = pairs.has("typed");
  return { query: pairs.get("q") ?? "", asTyped, filters, least, n: Math.min(Math.max(n || PAGE, PAGE), MOST) };
}

// push: whether the back button returns to the state before.
export function toAddress({ query, asTyped, filters, least, n }, push) {
  const pairs = new URLSearchParams();
  if (query) pairs.set("q", query);
  for (const [field, values] of filters) for (const value of values) pairs.append(`f.${field}`, value);
  if (asTyped) pairs.set("typed", 1);
  if (least) pairs.set("p", least);
  if (n > PAGE) pairs.set("n", n);
  const address = pairs.size ? `?${pairs}` : location.pathname;
  history[push ? "pushState" : "replaceState"](null, "", address);
  document.title = query ? `${query} – Peephole` : "Peephole";
}

export function toggle(filters, field, value) {
  if (!filters.get(field)?.has(value)) return add(filters, field, value);
  filters.get(field).delete(value);
  if (!filters.get(field).size) filters.delete(field);
}

function add(filters, field, value) {
  if (!filters.has(field)) filters.set(field, new Set());
  filters.get(field).add(value);
}

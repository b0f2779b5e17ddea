// Requests to the server beside this page.
// In: what is asked. Out: JSON values, or a Problem with one line for the reader.

export class Problem extends Error {}

const LONGEST_WAIT = 15000; // milliseconds

async function get(path, pairs, signal) {
  const limit = AbortSignal.timeout(LONGEST_WAIT);
  let response, values;
  try {
    response = await fetch(`${path}?${new URLSearchParams(pairs)}`, {
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    values = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("The server does not answer.");
  }
  if (!response.ok) throw new Problem(values?.error?.message ?? `The server answered ${response.status}.`);
  return values;
}

// The metadata fields to filter by, and the number of documents.
export const fields = () => get("fields", []);

// Some hits of a query. filters: a Map of fields to the texts of chosen values. least: probability, "" for any.
// asTyped: whether misspelt words stay. record: whether a server that records searches shall record this one.
export function search(query, asTyped, filters, least, facets, offset, k, record, signal) {
  const pairs = [["q", query], ["k", k], ["offset", offset], ["snippet", 1], ["text", 0]];
  if (asTyped) pairs.push(["as_typed", 1]);
  if (!record) pairs.push(["record", 0]);
  for (const [field, values] of filters) pairs.push(["where", condition(field, values)]);
  if (least) pairs.push(["min_probability", least]);
  for (const field of facets) pairs.push(["facet", field]);
  return get("search", pairs, signal);
}

// query: as it was searched for, so nothing of it is to be corrected.
export const explain = (query, id, signal) => get("explain", [["q", query], ["id", id], ["as_typed", 1]], signal);

export const documentOf = (id, signal) => get(`documents/${encodeURIComponent(id)}`, [], signal);

// Tell a server that records clicks of one; also while the reader leaves the page. Nothing waits for it.
export function click(search, document, rank) {
  const body = JSON.stringify({ search, document, rank });
  navigator.sendBeacon("click", new Blob([body], { type: "application/json" }));
}

// A name may have signs in it, such as "price (EUR)". One with a dot is a path, spelt as a filter spells it.
function condition(field, values) {
  const name = field.includes(".") ? field : `"${field.replaceAll('"', '""')}"`;
  const quoted = [...values].map((value) => `'${value.replaceAll("'", "''")}'`);
  return `${name} in (${quoted.join(", ")})`;
}

// Elements for hits and filters. Whatever a document says becomes text nodes, never markup.

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// A hit: its title is a button that opens the explanation, which stands in `.why`.
export function hitOf(hit) {
  const why = `why-${hit.rank}`;
  const snippet = hit.snippet.map((piece) => piece.text).join("");
  const language = languageOf(snippet), titled = languageOf(hit.title);
  const title = make("button", {
    type: "button", class: "title", dir: directionOf(hit.title),
    lang: titled && (language ?? titled), // a title in Japanese may have no kana
    "aria-expanded": "false", "aria-controls": why, "aria-describedby": `about-${hit.rank}`,
  }, hit.title.trim() || hit.id);
  const id = hit.title.trim() && hit.title !== hit.id ? make("bdi", { class: "id" }, hit.id) : "";
  const score = make("span", { class: "score", title: "Score: comparable within one search only" },
    make("span", { class: "unseen" }, "score "), hit.score.toFixed(3));
  const likely = hit.probability === null ? "" : make("span", { class: "probability", title: "Probability that this is relevant" },
    make("span", { class: "unseen" }, "probability "), percent(hit.probability));
  return make("li", { "data-id": hit.id, value: hit.rank },
    make("div", { class: "head" }, make("h2", {}, title), likely, score),
    id && make("p", { class: "about" }, id),
    make("p", { class: "snippet", id: `about-${hit.rank}`, dir: directionOf(snippet), lang: language },
      ...piecesOf(hit.snippet)),
    make("div", { class: "why", id: why, role: "region", "aria-label": "Why this hit", hidden: true }));
}

const READ = 2000; // characters that tell direction and language; a document may have millions

// The direction of most letters. A browser's "auto" is that of the first, which may be of a name in another script.
export function directionOf(text) {
  const letters = text.slice(0, READ).match(/\p{L}/gu) ?? [];
  const leftward = letters.filter((letter) => /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(letter));
  return !letters.length ? "auto" : 2 * leftward.length > letters.length ? "rtl" : "ltr";
}

// The language of Chinese, Japanese and Korean, by which a browser chooses the shapes of Han characters and a voice.
// Others cannot be told by their letters.
export function languageOf(text) {
  const count = (letters) => (text.slice(0, READ).match(letters) ?? []).length;
  const han = count(/\p{Script=Han}/gu), hangul = count(/\p{Script=Hangul}/gu);
  const kana = count(/[\p{Script=Hiragana}\p{Script=Katakana}]/gu);
  if (4 * (han + kana + hangul) <= count(/\p{L}/gu)) return undefined;
  if (hangul > han) return "ko";
  return 10 * kana > han ? "ja" : "zh";
}

export const percent = (share) => `${Math.round(100 * share)}%`;

function piecesOf(pieces) {
  return pieces.map((piece) => (piece.marked ? make("mark", {}, piece.text) : piece.text));
}

// The filters: all values of each field, with how many documents the search could find with each. Numbers
// stand in order, other values the most frequent first, as the server sends them.
// counts: of the last answer; a field with chosen values has no others, so theirs are unknown.
export function facetsOf(fields, counts, filters) {
  return [...new Set([...Object.keys(fields), ...filters.keys()])].map((field) => {
    const values = fields[field] ?? [];
    const found = new Map((counts[field] ?? []).map((each) => [String(each.value), each.count]));
    const chosen = filters.get(field) ?? new Set();
    const all = new Set([...values.map((each) => String(each.value)), ...chosen]);
    const ordered = [...all];
    if (ordered.every((value) => value.trim() && Number.isFinite(+value))) ordered.sort((a, b) => a - b);
    const rows = ordered.map((value) => {
      const count = found.get(value) ?? (chosen.size || !counts[field] ? undefined : 0);
      return checkbox(field, value, chosen.has(value), count);
    });
    return make("fieldset", {}, make("legend", {}, field), ...rows);
  });
}

function checkbox(field, value, checked, count) {
  const box = make("input", {
    type: "checkbox", checked, "data-field": field, value, disabled: count === 0 && !checked,
  });
  const number = count === undefined ? "" : make("span", { class: "number" }, count.toLocaleString("en"));
  return make("label", {}, box, make("bdi", {}, value), number);
}

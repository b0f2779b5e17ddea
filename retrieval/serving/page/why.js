// "Why this hit", drawn word by word: query and document with each word shaded by its share of the match.

import { directionOf, languageOf, make } from "./view.js";

const WEAKEST = 0.04; // part of the largest share from which a word is shaded
const PAIR = /^[\u2e80-\ud7a3\u{20000}-\u{3ffff}]{2}$/u;
const UNREAD = 100; // characters behind the last word that are shown nevertheless

export function explanationOf(explained, found) {
  const { query, document: read, cosine, exact, pairs } = explained;
  const kind = exact ? "the sum of the shares of all words" : "a word's share is what is lost without it";
  const lines = [query, read].map(shaded);
  const against = lines.some((line) => line.querySelector(".against"));
  const parts = [
    make("p", { class: "sum" }, "Cosine ", make("strong", {}, cosine.toFixed(3)), `: ${kind}. `,
      against ? "Underlined words count against the match." : ""),
    labelled("Query", lines[0]),
    labelled(read.passage ? "Passage" : "Document", lines[1]),
  ];
  const strong = pairs.filter((pair) => pair.share > 0).slice(0, 8);
  if (strong.length) parts.push(labelled("Word pairs", pairList(strong)));
  const about = Object.entries(found.metadata);
  if (about.length) parts.push(labelled("About", metadataList(about)));
  return parts;
}

function labelled(name, ...children) {
  return make("section", {}, make("h3", {}, name), ...children);
}

// The text itself, shaded where the tower found its words. The tower reads normalised text, so a word that
// is not found as it is written stays plain; where no place fits, the words themselves are shown.
function shaded({ text, words }) {
  const top = Math.max(...words.map((word) => Math.abs(word.share)), 1e-9);
  const shares = sharesByPlace(text, words);
  const pieces = shares
    ? runsOf(text.slice(0, shares.length), shares)
    : words.flatMap((word) => [[word.word, word.share], [" ", 0]]);
  const line = make("p", { class: "shaded", dir: directionOf(text), lang: languageOf(text) });
  for (const [piece, share] of pieces) line.append(shadedPiece(piece, share, top));
  if (shares && shares.length < text.length) line.append(" … (read no further)");
  return line;
}

function shadedPiece(piece, share, top) {
  if (Math.abs(share) < WEAKEST * top) return piece;
  const element = make("span", { class: share > 0 ? "for" : "against", title: signed(share) }, piece);
  element.style.setProperty("--share", `${Math.round((100 * Math.abs(share)) / top)}%`);
  return element;
}

// The share of each UTF-16 unit of the text, up to where the tower stopped reading if much is left; null if
// the text has another length in lower case, or no word is found.
function sharesByPlace(text, words) {
  const lowered = text.replace(/[\uff01-\uff5e]/g, narrow).toLowerCase();
  if (lowered.length !== text.length) return null;
  const shares = new Float64Array(text.length);
  let at = 0, placed = 0;
  for (const { word, share } of words) {
    const begin = lowered.indexOf(word, at);
    if (begin < 0) continue;
    placed += 1;
    for (let i = begin; i < begin + word.length; i += 1) {
      if (Math.abs(share) > Math.abs(shares[i])) shares[i] = share;
    }
    // Words of Chinese and Japanese are pairs of characters that overlap.
    at = begin + (PAIR.test(word) ? [...word][0].length : word.length);
  }
  if (!placed) return null;
  return text.length - at > UNREAD ? shares.slice(0, at) : shares;
}

// A full-width letter or sign as the tower reads it.
const narrow = (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0);

function runsOf(text, shares) {
  const runs = [];
  for (let start = 0, i = 1; i <= text.length; i += 1) {
    if (i < text.length && shares[i] === shares[start]) continue;
    runs.push([text.slice(start, i), shares[start]]);
    start = i;
  }
  return runs;
}

function pairList(pairs) {
  const top = pairs[0].share;
  return make("ul", { class: "pairs" }, ...pairs.map((pair) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", `${Math.round((100 * pair.share) / top)}%`);
    const words = make("span", {}, make("bdi", {}, pair.query), " – ", make("bdi", {}, pair.document));
    return make("li", {}, words, bar, make("span", { class: "number" }, signed(pair.share)));
  }));
}

function metadataList(entries) {
  return make("dl", {}, ...entries.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", { dir: "auto" }, valueOf(value))]));
}

// Only http and https become links; every other value is text.
function valueOf(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (!/^https?:\/\/\S+$/i.test(text)) return text;
  return make("a", { href: text, rel: "noopener noreferrer", target: "_blank" }, text);
}

function signed(share) {
  return `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(3)}`;
}

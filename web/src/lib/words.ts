// From an answer's text to the words one can point at. Before a server has explained the answer its words are guessed
// by the same rule as there; afterwards they are the server's. Offsets here count UTF-16 units, as strings do.

// Scripts that write no spaces between words: each character is one.
const ALONE = "\\u3005-\\u3007\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const LETTER = "[\\p{L}\\p{N}\\p{M}_]";
const LETTERS = `(?:(?![${ALONE}])${LETTER})+`;
const WORD = new RegExp(`[${ALONE}]|${LETTERS}(?:['’.,-]${LETTERS})*|(?:(?!${LETTER})\\S)+`, "gu");

/** A stretch of the answer; `word` is its number among the words, null for what stands between them. */
export interface Piece {
  text: string;
  word: number | null;
}

/** Where a word stands. */
export interface Span {
  start: number;
  end: number;
}

/** The words of a text that no server has explained yet. */
export function guessSpans(text: string): Span[] {
  return Array.from(text.matchAll(WORD), (match) => ({ start: match.index, end: match.index + match[0].length }));
}

/**
 * The server's words in `text`. Its offsets count characters of the answer as its tokens write it, which can differ
 * from the text that was sent in spaces: then each word is looked for behind the one before.
 */
export function alignSpans(
  text: string,
  answer: string,
  words: readonly { text: string; start: number; end: number }[],
) {
  if (answer === text) {
    const units = unitOffsets(text);
    return words.map(({ start, end }) => ({ start: units[start] ?? text.length, end: units[end] ?? text.length }));
  }
  let from = 0;
  return words.map((word) => {
    const start = text.indexOf(word.text, from);
    if (start < 0) return { start: from, end: from };
    from = start + word.text.length;
    return { start, end: from };
  });
}

/** The text cut at its words; the pieces join to it. */
export function cut(text: string, spans: readonly Span[]): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  spans.forEach(({ start, end }, word) => {
    if (start > at) pieces.push({ text: text.slice(at, start), word: null });
    if (end > start) pieces.push({ text: text.slice(start, end), word });
    at = Math.max(at, end);
  });
  if (at < text.length) pieces.push({ text: text.slice(at), word: null });
  return pieces;
}

/** For each character's number the UTF-16 unit it starts at, and the length at last. */
function unitOffsets(text: string): number[] {
  let at = 0;
  const starts = Array.from(text, (character) => {
    at += character.length;
    return at - character.length;
  });
  return [...starts, at];
}

/** "zh" where a text is mostly Chinese, so that it is read aloud and set as such; undefined: leave it to the page. */
export function languageOf(text: string): string | undefined {
  const chinese = text.match(/[\u3400-\u9fff]/g)?.length ?? 0;
  if (chinese === 0) return /[a-z]/i.test(text) ? "en" : undefined;
  return chinese * 2 > text.replace(/\s/g, "").length ? "zh-CN" : undefined;
}

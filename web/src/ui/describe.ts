// What a word's map says, in words: for the line beside the picture and for those who do not see it.
import type { ExplainedWord, Explanation } from "../lib/explanation";
import { lossOf, type View, whereIn } from "../lib/heat";
import type { Dictionary } from "../text/en";

/** A share of 1 in percent, finer where it is small. */
export function percent(share: number): string {
  return `${number(share)} %`;
}

/** Probability, where the word looked, and how much of it was at pictures; or what hiding costs it, and where. */
export function describe(t: Dictionary, word: ExplainedWord, view: View, explanation: Explanation): string[] {
  const place = whereIn(word, view, explanation);
  const name = place && t.places[place.row]![place.col]!;
  const picture = place && explanation.regions.length > 1 ? place.image + 1 : null;
  const loss = lossOf(word);
  const parts = [t.probability(percent(word.probability))];
  if (view === "attention" || loss === null) {
    return [...parts, name ? t.lookedAt(name, picture) : t.lookedNowhere, t.onPictures(percent(word.on_pictures))];
  }
  if (loss < 0.005) return [...parts, t.noLoss];
  const left = t.loss(t.points(number(loss)), percent(word.probability - loss));
  return [...parts, ...(name ? [t.lostAt(name, picture)] : []), left];
}

function number(share: number): string {
  const percents = 100 * share;
  return percents > 0 && percents < 9.95 ? percents.toFixed(1) : percents.toFixed(0);
}

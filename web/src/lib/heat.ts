// How strongly a patch is shown, in which colours, and where in a picture a word looked, in words. It draws nothing.
import type { ExplainedWord, Explanation } from "./explanation";

export type View = "attention" | "occlusion";

// Position, red, green, blue, opacity: from nothing over violet and orange to yellow, evenly brighter.
const STOPS: readonly (readonly [number, number, number, number, number])[] = [
  [0, 60, 15, 110, 0],
  [0.25, 95, 20, 120, 0.45],
  [0.55, 205, 60, 65, 0.7],
  [0.8, 250, 145, 20, 0.8],
  [1, 250, 235, 110, 0.88],
];
const LEAST_LOSS = 0.05; // a word whose largest loss is below this is shown as weakly as that

/** A place in a picture, by thirds. */
export interface Place {
  image: number;
  row: 0 | 1 | 2;
  col: 0 | 1 | 2;
}

/** A word's map as 0 to 1 for each picture's patches, under one scale, and the value that 1 stands for. */
export function levels(word: ExplainedWord, view: View): { maps: number[][][]; scale: number } | null {
  const values = view === "attention" ? word.attention : word.occlusion;
  if (!values) return null;
  const scale = Math.max(...values.flat(2), view === "occlusion" ? LEAST_LOSS : 1e-9);
  return { maps: values.map((map) => map.map((row) => row.map((value) => Math.max(0, value) / scale))), scale };
}

/** The colour of a level from 0 to 1, as CSS writes it. */
export function colour(level: number): string {
  const above = Math.max(
    1,
    STOPS.findIndex((stop) => stop[0] >= level),
  );
  const [low, high] = [STOPS[above - 1]!, STOPS[above]!];
  const share = (level - low[0]) / (high[0] - low[0]);
  const [red, green, blue, alpha] = [1, 2, 3, 4].map((n) => low[n]! + share * (high[n]! - low[n]!));
  return `rgb(${Math.round(red!)} ${Math.round(green!)} ${Math.round(blue!)} / ${alpha!.toFixed(3)})`;
}

/** The third of the picture that a word's map is strongest in; null where it is empty. */
export function whereIn(word: ExplainedWord, view: View, { grid, regions }: Explanation): Place | null {
  const found = levels(word, view);
  if (!found || found.maps.flat(2).every((level) => level === 0)) return null;
  const mass = found.maps.map((map, image) => thirds(map, grid, regions[image] ?? [0, 0, 1, 1]));
  const most = Math.max(...mass.flat());
  const image = mass.findIndex((cells) => cells.includes(most));
  const cell = mass[image]!.indexOf(most);
  return { image, row: Math.floor(cell / 3) as Place["row"], col: (cell % 3) as Place["col"] };
}

/** How much of a word's map each picture has, to compare them; all 0 where the map is empty. */
export function shares(word: ExplainedWord, view: View): number[] {
  const maps = levels(word, view)?.maps ?? [];
  return maps.map((map) => map.flat().reduce((sum, level) => sum + level, 0));
}

/** How much probability hiding the worst window takes from a word; null where nothing was hidden. */
export function lossOf(word: ExplainedWord): number | null {
  return word.worst ? Math.max(0, word.probability - Math.exp(word.worst.log_probability)) : null;
}

/** The map's mass in each ninth of the picture, squared, so that a few strong patches outweigh many weak ones. */
function thirds(map: number[][], [rows, cols]: [number, number], region: readonly number[]): number[] {
  const [left, top, right, bottom] = region as [number, number, number, number];
  const cells: number[] = new Array(9).fill(0);
  const third = (at: number) => Math.min(2, Math.max(0, Math.floor(at * 3)));
  map.forEach((line, row) => {
    line.forEach((level, col) => {
      const y = top + ((row + 0.5) / rows) * (bottom - top);
      const x = left + ((col + 0.5) / cols) * (right - left);
      cells[third(y) * 3 + third(x)]! += level * level;
    });
  });
  return cells;
}

import { expect, test } from "vitest";
import type { ExplainedWord, Explanation } from "../src/lib/explanation";
import { colour, levels, lossOf, shares, whereIn } from "../src/lib/heat";

function word(change: Partial<ExplainedWord>): ExplainedWord {
  return {
    text: "duck",
    start: 0,
    end: 4,
    probability: 0.9,
    on_pictures: 0.4,
    attention: [grid(0, 0, 0)],
    occlusion: null,
    worst: null,
    ...change,
  };
}

/** A map of 6 x 6 patches, all but one 0. */
function grid(row: number, col: number, value: number): number[][] {
  return Array.from({ length: 6 }, (_, r) => Array.from({ length: 6 }, (_, c) => (r === row && c === col ? value : 0)));
}

const WHOLE: Explanation = {
  answer: "duck",
  grid: [6, 6],
  regions: [
    [0, 0, 1, 1],
    [0, 0, 1, 1],
  ],
  window: null,
  words: [],
};

test("a word's pictures share one scale", () => {
  const found = levels(word({ attention: [grid(0, 0, 0.1), grid(1, 1, 0.4)] }), "attention");
  expect(found?.scale).toBe(0.4);
  expect(found?.maps[0]?.[0]?.[0]).toBeCloseTo(0.25);
  expect(found?.maps[1]?.[1]?.[1]).toBe(1);
});

test("a small loss is shown weakly, a gain as nothing, and there is none before it was asked for", () => {
  expect(levels(word({ occlusion: [grid(0, 0, 0.01)] }), "occlusion")?.maps[0]?.[0]?.[0]).toBeCloseTo(0.2);
  expect(levels(word({ occlusion: [grid(0, 0, -0.5)] }), "occlusion")?.maps[0]?.[0]?.[0]).toBe(0);
  expect(levels(word({}), "occlusion")).toBeNull();
});

test("where a word looked is told by thirds of the picture that has most", () => {
  const attention = [grid(0, 0, 0.1), grid(5, 2, 0.4)];
  expect(whereIn(word({ attention }), "attention", WHOLE)).toEqual({ image: 1, row: 2, col: 1 });
  expect(shares(word({ attention }), "attention")).toEqual([0.25, 1]);
});

test("a map of a crop is told by where the crop lies in the picture", () => {
  const regions: Explanation["regions"] = [[0.6, 0.6, 1, 1]];
  expect(whereIn(word({ attention: [grid(0, 5, 1)] }), "attention", { ...WHOLE, regions })).toEqual({
    image: 0,
    row: 1,
    col: 2,
  });
});

test("an empty map is nowhere", () => {
  expect(whereIn(word({}), "attention", WHOLE)).toBeNull();
});

test("a word's loss is what the worst window leaves, never below 0", () => {
  const worst = { image: 0, row: 0, col: 0 };
  expect(lossOf(word({ worst: { ...worst, log_probability: Math.log(0.2) } }))).toBeCloseTo(0.7);
  expect(lossOf(word({ worst: { ...worst, log_probability: 0 } }))).toBe(0);
  expect(lossOf(word({}))).toBeNull();
});

test("colours go from clear to opaque", () => {
  expect(colour(0)).toBe("rgb(60 15 110 / 0.000)");
  expect(colour(1)).toBe("rgb(250 235 110 / 0.880)");
});

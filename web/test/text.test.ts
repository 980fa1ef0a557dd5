import { expect, test } from "vitest";
import { languages } from "../src/text/languages";

function leaves(value: unknown, path = ""): [string, unknown][] {
  if (typeof value !== "object" || value === null) return [[path, value]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, `${path}.${key}`));
}

test("every language says everything, and no text is left in another one", () => {
  const [english, chinese] = [new Map(leaves(languages.en)), new Map(leaves(languages.zh))];
  expect([...chinese.keys()].sort()).toEqual([...english.keys()].sort());
  const same = [...english].filter(([path, text]) => typeof text === "string" && chinese.get(path) === text);
  expect(same.map(([path]) => path)).toEqual([".fields.top_p.0", ".fields.top_k.0"]);
});

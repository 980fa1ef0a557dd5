import { expect, test } from "vitest";
import { alignSpans, cut, guessSpans, languageOf } from "../src/lib/words";

function words(text: string): string[] {
  return guessSpans(text).map(({ start, end }) => text.slice(start, end));
}

test("words end at spaces and punctuation, and Chinese characters stand alone", () => {
  expect(words("A duck, that isn't 3.5 m.")).toEqual(["A", "duck", ",", "that", "isn't", "3.5", "m", "."]);
  expect(words("上方是一张床。")).toEqual(["上", "方", "是", "一", "张", "床", "。"]);
  expect(words("  \n")).toEqual([]);
});

test.each(["A duck.", " two  spaces\n", "灯泡 bulb 🦆!", ""])("the pieces of %j join to it", (text) => {
  expect(
    cut(text, guessSpans(text))
      .map((piece) => piece.text)
      .join(""),
  ).toBe(text);
});

test("a server counts characters, a string here counts units", () => {
  const text = "🦆 duck";
  const spans = alignSpans(text, text, [
    { text: "🦆", start: 0, end: 1 },
    { text: "duck", start: 2, end: 6 },
  ]);
  expect(spans.map(({ start, end }) => text.slice(start, end))).toEqual(["🦆", "duck"]);
});

test("words are found again where the server's text has other spaces, and one that is not there takes no place", () => {
  const explained = [
    { text: "A", start: 0, end: 1 },
    { text: "cow", start: 2, end: 5 },
    { text: "duck", start: 6, end: 10 },
  ];
  const spans = alignSpans(" A  duck", "A cow duck", explained);
  expect(spans.map(({ start, end }) => " A  duck".slice(start, end))).toEqual(["A", "", "duck"]);
  expect(cut(" A  duck", spans).map(({ word }) => word)).toEqual([null, 0, null, 2]);
});

test("a text's language is told by its letters", () => {
  expect(languageOf("上方是一张床。")).toBe("zh-CN");
  expect(languageOf("A bed.")).toBe("en");
  expect(languageOf("3 + 4")).toBeUndefined();
});

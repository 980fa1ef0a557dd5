import { expect, test } from "vitest";
import * as draft from "../src/lib/draft";

const CAT = { id: "reading-cat", name: "cat.png" };
const DOG = { id: "reading-dog", name: "dog.png" };
const asked = { ...draft.EMPTY, text: "What is this?" };

test("a question waits for its pictures, and is ready with something in it", () => {
  const waiting = draft.withReading(asked, [CAT]);
  expect([draft.EMPTY, { ...asked, text: " \n" }, asked, waiting].map(draft.isReady)).toEqual([
    false,
    false,
    true,
    false,
  ]);
  expect(draft.isReady(draft.withRead(waiting, [CAT], ["cat"]))).toBe(true);
});

test("pictures come in the order of their files, what holds none is left out, and text typed meanwhile stays", () => {
  const waiting = draft.withReading({ ...asked, pictures: ["old"] }, [CAT, DOG]);
  const typed = { ...waiting, text: "Where is it?" };
  expect(draft.withRead(typed, [CAT, DOG], [null, "dog"])).toEqual({
    text: "Where is it?",
    pictures: ["old", "dog"],
    reading: [],
  });
});

test("one that was removed while it was read is not attached, and others go on being read", () => {
  const waiting = draft.withReading(draft.withReading(asked, [CAT]), [DOG]);
  const removed = draft.withoutReading(waiting, CAT.id);
  expect(draft.withRead(removed, [CAT], ["cat"])).toEqual({ ...asked, reading: [DOG] });
});

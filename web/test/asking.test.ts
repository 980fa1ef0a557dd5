import "./page";
import { expect, test, vi } from "vitest";
import { addTurn, answer, newConversation, path, question } from "../src/lib/tree";
import { askInstead } from "../src/state/conversing";
import { addPictures, changeDraft, dropDraft, findDraft } from "../src/state/drafts";
import { open, usePage } from "../src/state/store";

vi.mock("../src/lib/api", () => ({
  Failure: class extends Error {},
  chat: async function* () {
    yield { text: "a dog", finish: "stop", tokens: 2 };
  },
}));
vi.mock("../src/lib/storage", () => ({
  saveConversation: async () => {},
  savePicture: async () => {},
  remembered: () => null,
  remember: () => {},
}));
vi.mock("../src/lib/pictures", () => ({
  readPicture: async (_file: File, name: string) => ({ id: `id of ${name}`, name }),
}));

const CAT = new File([], "cat.png");

test("another version of a question goes into the conversation as it is by then, and into no deleted one", async () => {
  const asked = question(null, "what?", [], 1);
  const before = addTurn(newConversation(0), asked);
  const answered = { ...answer(asked.id, "model", 2), text: "a cat", state: "done" as const };
  usePage.setState({ conversations: [addTurn(before, answered)] });
  askInstead(before.id, asked, { text: "where?", pictures: [] });
  await vi.waitFor(() => expect(path(usePage.getState().conversations[0]!).at(-1)?.state).toBe("done"));
  expect(usePage.getState().conversations[0]!.turns.map(({ text }) => text)).toEqual([
    "what?",
    "a cat",
    "where?",
    "a dog",
  ]);
  usePage.setState({ conversations: [] });
  askInstead(before.id, asked, { text: "where?", pictures: [] });
  expect(usePage.getState().conversations).toEqual([]);
});

test("a picture comes to the draft that it was given to, whichever conversation is shown by then", async () => {
  const read = addPictures("", [CAT]);
  expect(findDraft("").reading.map(({ name }) => name)).toEqual(["cat.png"]);
  open("another");
  await read;
  expect(findDraft("")).toEqual({ text: "", pictures: ["id of cat.png"], reading: [] });
  expect(findDraft("another").pictures).toEqual([]);
});

test("a draft that was given up does not come back with its picture, nor does a later one get it", async () => {
  const [first, second] = [addPictures("one", [CAT]), addPictures("other", [CAT])];
  dropDraft("one");
  dropDraft("other");
  changeDraft("other", { text: "later" });
  await Promise.all([first, second]);
  expect(usePage.getState().drafts).not.toHaveProperty("one");
  expect(findDraft("other")).toEqual({ text: "later", pictures: [], reading: [] });
});

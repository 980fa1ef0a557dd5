import { describe, expect, test } from "vitest";
import type { Conversation } from "../src/lib/conversation";
import type { Picture } from "../src/lib/pictures";
import { BadFile, readFile, writeFile } from "../src/lib/transfer";
import { addTurn, answer, newConversation, path, question } from "../src/lib/tree";

const NOW = new Date("2026-01-02T03:04:05Z");
const BYTES = Uint8Array.from({ length: 70_000 }, (_, index) => index % 251);
const PICTURE: Picture = {
  id: "abcdefgh12345678",
  name: "cat.png",
  width: 3,
  height: 2,
  blob: new Blob([BYTES], { type: "image/png" }),
};

function conversation(): Conversation {
  const asked = question(null, "什么?", [PICTURE.id], 5);
  const answered = { ...answer(asked.id, "model", 6), text: "a cat" };
  return addTurn(addTurn(newConversation(4), asked), answered);
}

async function file(): Promise<Record<string, any>> {
  return JSON.parse(await writeFile([conversation()], new Map([[PICTURE.id, PICTURE]]), NOW));
}

function reasonOf(content: unknown): string {
  try {
    readFile(typeof content === "string" ? content : JSON.stringify(content), new Set());
  } catch (error) {
    if (error instanceof BadFile) return `${error.reason} ${error.where}`.trim();
    throw error;
  }
  return "nothing";
}

test("what is exported comes back: turns, pictures to the byte, and what was being written as stopped", async () => {
  const { conversations, pictures } = readFile(JSON.stringify(await file()), new Set());
  const [asked, answered] = path(conversations[0]!);
  expect([asked?.text, answered?.text, answered?.state]).toEqual(["什么?", "a cat", "stopped"]);
  expect(asked?.pictures).toEqual([pictures[0]?.id]);
  expect(new Uint8Array(await pictures[0]!.blob.arrayBuffer())).toEqual(BYTES);
  expect(pictures[0]).toMatchObject({ name: "cat.png", width: 3, height: 2 });
});

test("a conversation that is there already is imported beside it", async () => {
  const content = await file();
  const id = content.conversations[0].id;
  expect(readFile(JSON.stringify(content), new Set()).conversations[0]?.id).toBe(id);
  expect(readFile(JSON.stringify(content), new Set([id])).conversations[0]?.id).not.toBe(id);
});

describe("a bad file says what is wrong with it", () => {
  test("no JSON, or JSON of something else", () => {
    expect(reasonOf("{")).toBe("json");
    expect(reasonOf([1, 2])).toBe("format");
    expect(reasonOf({ format: "sightline-conversations", version: 2 })).toBe("format");
  });

  test.each<[string, (content: Record<string, any>) => void, string]>([
    ["an unknown field", (content) => (content.extra = 1), "shape extra"],
    [
      "a turn without text",
      (content) => delete content.conversations[0].turns[1].text,
      "shape conversations.0.turns.1.text",
    ],
    [
      "a turn of nobody's",
      (content) => (content.conversations[0].turns[0].role = "system"),
      "shape conversations.0.turns.0.role",
    ],
    [
      "a parent that is not there",
      (content) => (content.conversations[0].turns[1].parent = "nobody00"),
      "shape conversations.0",
    ],
    [
      "two answers in a row",
      (content) => (content.conversations[0].turns[0].role = "assistant"),
      "shape conversations.0",
    ],
    ["a turn that is its own parent", loop, "shape conversations.0"],
    [
      "a chosen turn that is not there",
      (content) => (content.conversations[0].chosen.root = "nobody00"),
      "shape conversations.0",
    ],
    [
      "a picture that is a page",
      (content) => (picture(content).data = "data:text/html;base64,PGI+"),
      `picture pictures.${PICTURE.id}`,
    ],
    [
      "a picture that is elsewhere",
      (content) => (picture(content).data = "https://example.org/a.png"),
      `picture pictures.${PICTURE.id}`,
    ],
  ])("%s", async (_, spoil, reason) => {
    const content = await file();
    spoil(content);
    expect(reasonOf(content)).toBe(reason);
  });
});

function picture(content: Record<string, any>) {
  return content.pictures[PICTURE.id];
}

function loop(content: Record<string, any>) {
  const [turn] = content.conversations[0].turns;
  turn.parent = turn.id;
}

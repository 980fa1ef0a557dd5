import "./page";
import { beforeEach, expect, test, vi } from "vitest";
import { readPictures } from "../src/state/pictures";
import { say, usePage } from "../src/state/store";

vi.mock("../src/lib/pictures", () => ({
  readPicture: async (file: File, name: string) => {
    if (file.type !== "image/png") throw new Error("no picture");
    return { id: `id of ${name}`, name };
  },
}));

function file(name: string, type = "image/png"): File {
  return new File([], name, { type });
}

function texts(): string[] {
  return usePage.getState().notices.map(({ text }) => text);
}

beforeEach(() => usePage.setState({ notices: [] }));

test("files that hold no picture are said in one line, each by its name", async () => {
  const bad = Array.from({ length: 6 }, (_, index) => file(`notes-${index}.pdf`, "application/pdf"));
  expect(await readPictures([...bad, file("cat.png")])).toEqual([...Array(6).fill(null), "id of cat.png"]);
  expect(texts()).toHaveLength(1);
  for (const { name } of bad) expect(texts()[0]).toContain(`“${name}”`);
});

test("a problem stays until it is dismissed, whatever is said after it; of what was done, the last four stay", () => {
  for (let number = 0; number < 6; number++) say("problem", `problem ${number}`);
  for (let number = 0; number < 6; number++) say("done", `done ${number}`);
  say("problem", "problem 0");
  expect(texts().sort()).toEqual([
    ...[2, 3, 4, 5].map((number) => `done ${number}`),
    ...[0, 1, 2, 3, 4, 5].map((number) => `problem ${number}`),
  ]);
});

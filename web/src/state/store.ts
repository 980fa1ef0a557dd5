// What the page shows, in one place, and the small changes to it. What takes time (asking, explaining, keeping) stands
// in the files beside this one.
import { create } from "zustand";
import type { Conversation, Problem } from "../lib/conversation";
import type { Draft } from "../lib/draft";
import type { Explanation } from "../lib/explanation";
import type { View } from "../lib/heat";
import { readSampling, type Sampling } from "../lib/sampling";
import { remember, remembered } from "../lib/storage";
import { type LanguageName, languages } from "../text/languages";

export type Theme = "system" | "light" | "dark";

/** Whether there is a server to ask, and what it is called there. */
export type Connection = "connecting" | "ready" | "down" | "key" | "wrong key";

/** Something to be said until it is dismissed; `undo` where it can be taken back. */
export interface Notice {
  id: string;
  kind: "problem" | "done";
  text: string;
  undo?: () => void;
}

/** What is known of where an answer looked. `busy` names the map that is being made. */
export interface Look {
  found: Explanation | null;
  busy: View | null;
  problem: Problem | null;
}

/** The word that is looked at, by a place in the text: which words there are is known better once it is explained. */
export interface Focus {
  turn: string;
  at: number;
  by: "hover" | "click" | "keys"; // a word that is only pointed at gives way to the next one
}

export interface Page {
  loaded: boolean;
  conversations: Conversation[]; // newest first
  current: string | null; // null: a new one
  drafts: Record<string, Draft>; // by conversation, "" for a new one, or by the question that is edited
  connection: Connection;
  model: string;
  key: string | null;
  sampling: Sampling;
  language: LanguageName;
  theme: Theme;
  view: View;
  looks: Record<string, Look>; // by turn
  focus: Focus | null;
  notices: Notice[];
  spoken: { id: number; text: string }[]; // for screen readers, the last few
}

export const usePage = create<Page>()(() => ({
  loaded: false,
  conversations: [],
  current: null,
  drafts: {},
  connection: "connecting",
  model: "",
  key: remembered("key", "session"),
  sampling: readSampling(remembered("sampling")),
  language: pickLanguage(),
  theme: pickTheme(),
  view: remembered("view") === "occlusion" ? "occlusion" : "attention",
  looks: {},
  focus: null,
  notices: [],
  spoken: [],
}));

const { getState, setState } = usePage;
const DONE_SHOWN = 4;

/** What the page says, in the language it is set to. */
export function useText() {
  return languages[usePage((page) => page.language)];
}

/** Whether there is a server to ask, and a name of a model to ask it for. */
export function useReady(): boolean {
  return usePage((page) => page.connection === "ready");
}

/** What the page says, outside of components. */
export function text() {
  return languages[getState().language];
}

export function findConversation(id: string | null): Conversation | undefined {
  return getState().conversations.find((one) => one.id === id);
}

/** Show a conversation; null: a new one. */
export function open(id: string | null): void {
  setState({ current: id, focus: null });
  remember("current", id, "session");
}

export function setSampling(sampling: Sampling): void {
  setState({ sampling });
  remember("sampling", JSON.stringify(sampling));
}

export function setLanguage(language: LanguageName): void {
  setState({ language });
  remember("language", language);
}

export function setTheme(theme: Theme): void {
  setState({ theme });
  remember("theme", theme);
}

/** Say something. A problem stays until it is dismissed; of what was done, the last few are enough. */
export function say(kind: Notice["kind"], text: string, undo?: () => void): string {
  const said = getState().notices.find((notice) => kind === "problem" && notice.text === text);
  if (said) return said.id; // or a screen reader would say it again
  const id = `${kind}-${Date.now()}-${Math.random()}`;
  setState(({ notices }) => {
    const all = [...notices.filter((notice) => notice.text !== text), { id, kind, text, ...(undo && { undo }) }];
    const old = all.filter((notice) => notice.kind === "done").slice(0, -DONE_SHOWN);
    return { notices: all.filter((notice) => !old.includes(notice)) };
  });
  return id;
}

export function dismiss(id: string): void {
  setState((page) => ({ notices: page.notices.filter((notice) => notice.id !== id) }));
}

/** Have a screen reader say something, once. */
export function speak(text: string): void {
  setState(({ spoken }) => ({ spoken: [...spoken, { id: (spoken.at(-1)?.id ?? 0) + 1, text }].slice(-8) }));
}

function pickLanguage(): LanguageName {
  const kept = remembered("language");
  if (kept === "en" || kept === "zh") return kept;
  const wanted = navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag)) ?? "en";
  return wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function pickTheme(): Theme {
  const kept = remembered("theme");
  return kept === "light" || kept === "dark" ? kept : "system";
}

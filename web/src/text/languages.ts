// The languages that the page speaks.
import { type Dictionary, en } from "./en";
import { zh } from "./zh";

export type LanguageName = "en" | "zh";

export const languages: Record<LanguageName, Dictionary> = { en, zh };

export const LANGUAGE_NAMES: Record<LanguageName, string> = { en: "English", zh: "中文" };

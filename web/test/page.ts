// What a browser has and Node.js lacks, as far as the state of the page needs it. Imported before that state.
import { vi } from "vitest";

vi.stubGlobal("window", globalThis);
vi.stubGlobal("navigator", { languages: ["en"] });

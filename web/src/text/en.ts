// Everything the page says, in English. Its shape is what every other language has to fill.

const quoted = (names: string[]) => names.map((name) => `“${name}”`).join(", ");

export const en = {
  tag: "en",
  skip: "Skip to the question",
  conversations: "Conversations",
  newConversation: "New conversation",
  noConversations: "Nothing here yet. What you ask is kept in this browser only.",
  untitled: "Untitled",
  rename: "Rename",
  renameLabel: "Title of the conversation",
  delete: "Delete",
  exportOne: "Export",
  exportAll: "Export all",
  import: "Import",
  deleted: (title: string) => `Deleted “${title}”.`,
  undo: "Undo",
  dismiss: "Dismiss",
  close: "Close",
  cancel: "Cancel",
  openMenu: "Show conversations",
  options: (title: string) => `“${title}”`,

  theme: "Appearance",
  themes: { system: "As the system", light: "Light", dark: "Dark" },
  language: "Language",

  welcome: "Show it a picture, and ask.",
  welcomeMore:
    "Drop, paste or pick pictures. Then point at a word of the answer, or tap it, to see where the model looked for it.",
  tryOne: "Or try one of these",

  placeholder: "Ask about a picture…",
  placeholderMore: "Ask something else…",
  questionLabel: "Your question",
  addPictures: "Add pictures",
  dropHere: "Drop pictures anywhere",
  send: "Send",
  stop: "Stop",
  attached: (count: number) => (count === 1 ? "1 picture attached" : `${count} pictures attached`),
  removePicture: (name: string) => `Remove ${name}`,
  showPicture: (name: string) => `Show ${name}`,
  replacePicture: (name: string) => `Replace ${name} and ask again`,
  pictureLost: "This picture is not in this browser any more.",
  notPictures: (names: string[]) =>
    names.length === 1
      ? `“${names[0]}” could not be read as a picture, so it was not attached.`
      : `${quoted(names)} could not be read as pictures, so they were not attached.`,
  reading: (names: string[]) => `Reading ${quoted(names)}.`,
  readingShort: "Reading…",
  noFiles: "What was dropped holds no picture file. Save the picture first, then drop the file.",
  sizes: (width: number, height: number, bytes: string) => `${width} × ${height} pixels, ${bytes}`,

  you: "You",
  model: "Answer",
  waiting: "Looking at it…",
  stopped: "Stopped.",
  elsewhere: "It is being written in another tab, and can be stopped there.",
  full: "It ended at the most tokens that an answer may have.",
  empty: "The answer is empty.",
  retry: "Ask again",
  edit: "Edit",
  editLabel: "Edit the question",
  editSend: "Ask again",
  copy: "Copy",
  copied: "Copied",
  branch: "Go on in a new conversation",
  version: (now: number, all: number) => `${now} / ${all}`,
  versionLabel: (now: number, all: number) => `Version ${now} of ${all}`,
  earlier: "Earlier version",
  later: "Later version",
  newest: "To the newest",
  figures: {
    speed: (value: string) => `${value} tokens/s`,
    first: (value: string) => `first token after ${value}`,
    tokens: (count: number) => (count === 1 ? "1 token" : `${count} tokens`),
  },
  seconds: (value: string) => `${value} s`,
  milliseconds: (value: string) => `${value} ms`,

  problems: {
    refused: "The server refused this.",
    failed: "The server failed while it answered.",
    key: "The server asks for an API key.",
    unreachable:
      "The server did not answer, or closed the connection. It may have stopped, or the request was too large.",
    cut: "The connection ended before the answer did.",
    missing:
      "A picture of this conversation is not in this browser any more, so nothing was sent. Replace or remove it.",
    unexpected: "The server answered something that this page does not understand.",
  },
  ofPicture: (name: string) => `It is about the picture “${name}”.`,
  wait: (seconds: number) => `Try again in ${seconds} s.`,

  looked: "Where it looked",
  explore: "Go through the words",
  exploreHint: "Arrow keys go from word to word, Escape leaves.",
  lookHint: "Point at a word of the answer, or tap it, to see where the model looked for it.",
  lookWhen:
    "The pictures of this conversation. Where the model looked for each word is shown here once it has answered.",
  looking: "Looking where it looked…",
  hiding: "Hiding the picture piece by piece…",
  lookFailed: "The maps could not be made.",
  tryAgain: "Try again",
  view: "Map",
  views: { attention: "Attention", occlusion: "Lost when hidden" },
  viewHelp: {
    attention:
      "Where the model read from when it chose the word. That it read a patch does not mean that the patch mattered.",
    occlusion: "The check: how much probability the word loses when a square of the picture is painted over.",
  },
  legend: ["nothing", "strongest patch"] as const,
  picture: (number: number) => `Picture ${number}`,
  probability: (share: string) => `probability ${share}`,
  onPictures: (share: string) => `${share} of its attention on pictures`,
  loss: (points: string, left: string) => `loses ${points} at most, to ${left}`,
  noLoss: "loses nothing when a part is hidden",
  points: (value: string) => `${value} points`,
  places: [
    ["top left", "top", "top right"],
    ["left", "centre", "right"],
    ["bottom left", "bottom", "bottom right"],
  ] as const,
  lookedAt: (place: string, picture: number | null) =>
    picture === null ? `looked most at the ${place}` : `looked most at the ${place} of picture ${picture}`,
  lostAt: (place: string, picture: number | null) =>
    picture === null ? `most lost at the ${place}` : `most lost at the ${place} of picture ${picture}`,
  lookedNowhere: "looked at no patch",
  noWord: "This word has no map of its own.",

  sampling: "Sampling",
  samplingIntro: "How the next answers are chosen. What is left empty is the server's choice.",
  fields: {
    temperature: ["Temperature", "0 takes the likeliest token each time; more is more varied."],
    top_p: ["Top p", "Choose among the likeliest tokens that make up this much probability."],
    top_k: ["Top k", "Choose among this many likeliest tokens; 0: among all."],
    repetition_penalty: ["Repetition penalty", "Above 1, tokens that were there already become less likely."],
    max_tokens: ["Most tokens", "Where an answer ends at the latest."],
    seed: ["Seed", "The same seed draws the same answer again."],
  },
  unset: "Server's choice",
  reset: "Reset",
  resetAll: "Reset all",
  invalid: "Not a value that the server takes.",
  greedyNote: "At temperature 0 nothing is drawn: top p, top k and the seed change nothing.",

  keyTitle: "This server asks for a key",
  keyText: "It is kept until this tab is closed, and sent to this server only.",
  keyLabel: "API key",
  keyWrong: "The server does not know this key.",
  keySave: "Use this key",
  keyAsk: "Enter the key",

  down: "The server does not answer.",
  reconnect: "Connect again",
  notKept: "This browser keeps nothing for this page, so the conversation ends with it. Export what you need.",
  unreadable: (count: number) =>
    count === 1 ? "A kept conversation could not be read." : `${count} kept conversations could not be read.`,
  imported: (count: number) => (count === 1 ? "Imported 1 conversation." : `Imported ${count} conversations.`),
  badFile: {
    json: "This file is not JSON, so nothing was imported.",
    format: "This file was not exported from this page, so nothing was imported.",
    shape: (where: string) => `This file is damaged${where ? ` at ${where}` : ""}, so nothing was imported.`,
    picture: (where: string) => `A picture in this file cannot be read (${where}), so nothing was imported.`,
    size: "This file is larger than 512 MB, so nothing was imported.",
  },
  lostOnExport: (count: number) =>
    count === 1
      ? "1 picture is not in this browser any more, so it is not in the file."
      : `${count} pictures are not in this browser any more, so they are not in the file.`,
  examples: {
    scene: "Describe the picture.",
    shapes: "What is at the top right?",
    grid: "What is in the centre?",
    single: "What is this?",
  },
};

type Wide<T> = T extends string
  ? string
  : T extends (...given: infer Given) => string
    ? (...given: Given) => string
    : { [Key in keyof T]: Wide<T[Key]> };

export type Dictionary = Wide<typeof en>;

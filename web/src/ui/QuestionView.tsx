// A question that was asked: its pictures, each of which can be swapped, and its text, which can be edited. Either asks
// a new version and leaves the old one there.
import { Pencil, RefreshCw } from "lucide-react";
import { useRef, useState } from "react";
import type { Conversation, Turn } from "../lib/conversation";
import { languageOf } from "../lib/words";
import { askInstead } from "../state/conversing";
import { readPictures } from "../state/pictures";
import { type Draft, useText } from "../state/store";
import { Composer } from "./Composer";
import { IconButton } from "./IconButton";
import { Thumbnail } from "./Thumbnail";
import { Versions } from "./Versions";

export function QuestionView({ conversation, turn }: { conversation: Conversation; turn: Turn }) {
  const t = useText();
  const [draft, setDraft] = useState<Draft | null>(null);
  const edit = useRef<HTMLButtonElement>(null);
  const wrong = wrongPictures(conversation, turn);
  const { input, pick } = useSwap((index, id) => {
    askInstead(conversation, turn, { text: turn.text, pictures: turn.pictures.with(index, id) });
  });

  if (draft) {
    return (
      <article className="question editing">
        <Composer
          label={t.editLabel}
          draft={draft}
          onChange={(change) => setDraft({ ...draft, ...change })}
          onCancel={() => {
            setDraft(null);
            requestAnimationFrame(() => edit.current?.focus());
          }}
          onSend={() => {
            setDraft(null);
            askInstead(conversation, turn, draft);
          }}
        />
      </article>
    );
  }
  return (
    <article className="question">
      <h2 className="hidden">{t.you}</h2>
      {turn.pictures.length > 0 && (
        <ul className="thumbs">
          {turn.pictures.map((id, index) => (
            <Thumbnail
              // biome-ignore lint/suspicious/noArrayIndexKey: the same picture may be shown twice
              key={`${id} ${index}`}
              id={id}
              wrong={wrong.includes(index)}
              action={{ icon: RefreshCw, label: t.replacePicture, act: () => pick(index) }}
            />
          ))}
        </ul>
      )}
      {turn.text !== "" && (
        <p className="bubble" lang={languageOf(turn.text)}>
          {turn.text}
        </p>
      )}
      <div className="turn-foot">
        <Versions conversation={conversation} turn={turn} />
        <IconButton
          ref={edit}
          icon={Pencil}
          label={t.edit}
          onClick={() => setDraft({ text: turn.text, pictures: turn.pictures })}
        />
      </div>
      {input}
    </article>
  );
}

/** Lets a file be picked in place of picture number `index`. */
function useSwap(onPicked: (index: number, id: string) => void) {
  const input = useRef<HTMLInputElement>(null);
  const index = useRef(0);
  const pick = (which: number) => {
    index.current = which;
    input.current?.click();
  };
  const read = async (files: FileList | null) => {
    const [id] = await readPictures([...(files ?? [])].slice(0, 1));
    if (id) onPicked(index.current, id);
  };
  const element = (
    <input
      ref={input}
      type="file"
      accept="image/*"
      hidden
      data-testid="swap"
      onChange={(event) => {
        void read(event.target.files);
        event.target.value = "";
      }}
    />
  );
  return { input: element, pick };
}

/** Which pictures of this question a server refused, in any of the answers below it. */
function wrongPictures(conversation: Conversation, turn: Turn): number[] {
  return conversation.turns.flatMap(({ problem }) =>
    problem?.turn === turn.id && problem.picture !== undefined ? [problem.picture] : [],
  );
}

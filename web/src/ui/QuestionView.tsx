// A question that was asked: its pictures, each of which can be swapped, and its text, which can be edited. Either asks
// a new version and leaves the old one there.
import { Pencil, RefreshCw } from "lucide-react";
import { useRef, useState } from "react";
import type { Conversation, Turn } from "../lib/conversation";
import { languageOf } from "../lib/words";
import { askInstead } from "../state/conversing";
import { changeDraft, dropDraft, useDraft } from "../state/drafts";
import { readPictures } from "../state/pictures";
import { speak, text, useReady, useText } from "../state/store";
import { Composer } from "./Composer";
import { IconButton } from "./IconButton";
import { ReadingThumbnail, Thumbnail } from "./Thumbnail";
import { Versions } from "./Versions";

export function QuestionView({ conversation, turn }: { conversation: Conversation; turn: Turn }) {
  const t = useText();
  const ready = useReady();
  const editing = useDraft(turn.id) !== undefined;
  const edit = useRef<HTMLButtonElement>(null);
  const wrong = wrongPictures(conversation, turn);
  const { input, pick, reading } = useSwap((index, id) => {
    askInstead(conversation.id, turn, { text: turn.text, pictures: turn.pictures.with(index, id) });
  });

  if (editing) {
    return (
      <article className="question editing">
        <Composer
          label={t.editLabel}
          draft={turn.id}
          onCancel={() => {
            dropDraft(turn.id);
            requestAnimationFrame(() => edit.current?.focus());
          }}
          onSend={(draft) => {
            dropDraft(turn.id);
            askInstead(conversation.id, turn, draft);
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
          {turn.pictures.map((id, index) =>
            reading?.index === index ? (
              <ReadingThumbnail key="reading" name={reading.name} />
            ) : (
              <Thumbnail
                // biome-ignore lint/suspicious/noArrayIndexKey: the same picture may be shown twice
                key={`${id} ${index}`}
                id={id}
                wrong={wrong.includes(index)}
                action={{ icon: RefreshCw, label: t.replacePicture, act: () => pick(index), disabled: !ready }}
              />
            ),
          )}
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
          onClick={() => changeDraft(turn.id, { text: turn.text, pictures: turn.pictures })}
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
  const [reading, setReading] = useState<{ index: number; name: string } | null>(null);
  const pick = (which: number) => {
    index.current = which;
    input.current?.click();
  };
  const read = async (file: File | undefined) => {
    if (!file) return;
    const begun = { index: index.current, name: file.name };
    setReading(begun);
    speak(text().reading([file.name]));
    const [id] = await readPictures([file]);
    setReading((now) => (now === begun ? null : now));
    if (id) onPicked(begun.index, id);
  };
  const element = (
    <input
      ref={input}
      type="file"
      accept="image/*"
      hidden
      data-testid="swap"
      onChange={(event) => {
        void read(event.target.files?.[0]);
        event.target.value = "";
      }}
    />
  );
  return { input: element, pick, reading };
}

/** Which pictures of this question a server refused, in any of the answers below it. */
function wrongPictures(conversation: Conversation, turn: Turn): number[] {
  return conversation.turns.flatMap(({ problem }) =>
    problem?.turn === turn.id && problem.picture !== undefined ? [problem.picture] : [],
  );
}

// A question being written: text and pictures, picked, dropped or pasted. What is asked with it is its owner's business.
import { ArrowUp, ImagePlus, Square, X } from "lucide-react";
import { type KeyboardEvent, type MouseEvent, useCallback, useEffect, useId, useRef } from "react";
import { type Draft, EMPTY, isReady, withoutReading } from "../lib/draft";
import { isComposing } from "../lib/keys";
import { addPictures, changeDraft, findDraft, useDraft } from "../state/drafts";
import { receive } from "../state/receiving";
import { speak, useReady, useText } from "../state/store";
import { IconButton } from "./IconButton";
import { SamplingDialog } from "./SamplingDialog";
import { ReadingThumbnail, Thumbnail } from "./Thumbnail";

interface Props {
  id?: string;
  label: string;
  placeholder?: string;
  draft: string; // its id
  onSend: (draft: Draft) => void;
  writing?: boolean; // an answer is being written
  onStop?: (() => void) | undefined; // there while that can be stopped here
  onCancel?: () => void;
  sampling?: boolean;
}

export function Composer(props: Props) {
  const { id, label, placeholder, draft: draftId, onSend, writing = false, onStop, onCancel, sampling } = props;
  const t = useText();
  const draft = useDraft(draftId) ?? EMPTY;
  const own = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  const ready = useReady();
  const canSend = ready && isReady(draft) && !writing;
  const held = draft.reading.length > 0 ? t.reading(draft.reading.map(({ name }) => name)) : undefined;
  const change = (change: Partial<Draft>) => changeDraft(draftId, change);
  const addFiles = useCallback((files: File[]) => void addPictures(draftId, files), [draftId]);
  useEffect(() => receive(addFiles), [addFiles]);

  // A question that is edited is what its reader wants to type in next.
  const edited = onCancel !== undefined;
  useEffect(() => {
    if (edited) field.current?.focus();
  }, [edited]);

  const send = () => {
    const now = findDraft(draftId); // what was put in since it was drawn counts, too
    if (canSend && isReady(now)) onSend(now);
    else if (held) speak(held); // why it isn't sent
  };
  // The second click of a double click on Send, whose place this button has taken, is no wish to stop.
  const stop = (event: MouseEvent) => {
    if (event.detail < 2) onStop?.();
  };
  const press = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (isComposing(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    }
    if (event.key === "Escape") onCancel?.();
  };

  return (
    <form
      className="composer"
      onPaste={() => {
        receive(addFiles); // the listener that hands over is the window's, and comes next
      }}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {draft.pictures.length + draft.reading.length > 0 && (
        <ul className="tray" aria-label={t.attached(draft.pictures.length)}>
          {draft.pictures.map((picture) => (
            <Thumbnail
              key={picture}
              id={picture}
              action={{
                icon: X,
                label: t.removePicture,
                act: () => change({ pictures: draft.pictures.filter((one) => one !== picture) }),
              }}
            />
          ))}
          {draft.reading.map(({ id, name }) => (
            <ReadingThumbnail key={id} name={name} onRemove={() => change(withoutReading(draft, id))} />
          ))}
        </ul>
      )}
      <label className="hidden" htmlFor={id ?? own}>
        {label}
      </label>
      <textarea
        id={id ?? own}
        ref={field}
        rows={3} // where the browser does not fit it to its text
        value={draft.text}
        placeholder={placeholder}
        onChange={(event) => change({ text: event.target.value })}
        onKeyDown={press}
      />
      <div className="composer-foot">
        <PickButton onFiles={addFiles} />
        {sampling && <SamplingDialog />}
        <span className="grow" />
        {onCancel && (
          <button type="button" className="button small" onClick={onCancel}>
            {t.cancel}
          </button>
        )}
        {onStop ? (
          <button type="button" className="button primary round" aria-label={t.stop} title={t.stop} onClick={stop}>
            <Square size={14} fill="currentColor" aria-hidden="true" />
          </button>
        ) : (
          <button
            type="submit"
            className={`button primary ${onCancel ? "small" : "round"}`}
            aria-label={onCancel ? undefined : t.send}
            title={held ?? (onCancel ? undefined : t.send)}
            disabled={!canSend}
          >
            {onCancel ? t.editSend : <ArrowUp size={18} aria-hidden="true" />}
          </button>
        )}
      </div>
    </form>
  );
}

function PickButton({ onFiles }: { onFiles: (files: File[]) => void }) {
  const t = useText();
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <IconButton icon={ImagePlus} size={18} label={t.addPictures} onClick={() => input.current?.click()} />
      <input
        ref={input}
        type="file"
        accept="image/*"
        multiple
        hidden
        data-testid="pictures"
        onChange={(event) => {
          onFiles([...(event.target.files ?? [])]);
          event.target.value = "";
        }}
      />
    </>
  );
}

// A question being written: text and pictures, picked, dropped or pasted. Where they go is its owner's business.
import { ArrowUp, ImagePlus, Square, X } from "lucide-react";
import { type KeyboardEvent, useEffect, useId, useRef } from "react";
import { readPictures } from "../state/pictures";
import { receive } from "../state/receiving";
import { type Draft, usePage, useText } from "../state/store";
import { IconButton } from "./IconButton";
import { SamplingDialog } from "./SamplingDialog";
import { Thumbnail } from "./Thumbnail";

interface Props {
  id?: string;
  label: string;
  placeholder?: string;
  draft: Draft;
  onChange: (change: Partial<Draft>) => void;
  onSend: () => void;
  onStop?: (() => void) | undefined; // there while an answer is being written
  onCancel?: () => void;
  sampling?: boolean;
}

export function Composer({ id, label, placeholder, draft, onChange, onSend, onStop, onCancel, sampling }: Props) {
  const t = useText();
  const own = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  const ready = usePage((page) => page.connection === "ready");
  const filled = draft.text.trim() !== "" || draft.pictures.length > 0;
  const canSend = ready && filled && !onStop;
  const addFiles = useAdding(draft, onChange);

  // A question that is edited is what its reader wants to type in next.
  const edited = onCancel !== undefined;
  useEffect(() => {
    if (edited) field.current?.focus();
  }, [edited]);

  const press = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.nativeEvent.isComposing) return; // Enter chooses a Chinese word
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      if (canSend) onSend();
    }
    if (event.key === "Escape") onCancel?.();
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        if (canSend) onSend();
      }}
    >
      {draft.pictures.length > 0 && (
        <ul className="tray" aria-label={t.attached(draft.pictures.length)}>
          {draft.pictures.map((picture) => (
            <Thumbnail
              key={picture}
              id={picture}
              action={{
                icon: X,
                label: t.removePicture,
                act: () => onChange({ pictures: draft.pictures.filter((one) => one !== picture) }),
              }}
            />
          ))}
        </ul>
      )}
      <label className="hidden" htmlFor={id ?? own}>
        {label}
      </label>
      <textarea
        id={id ?? own}
        ref={field}
        rows={1}
        value={draft.text}
        placeholder={placeholder}
        onChange={(event) => onChange({ text: event.target.value })}
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
          <button type="button" className="button primary round" aria-label={t.stop} title={t.stop} onClick={onStop}>
            <Square size={14} fill="currentColor" aria-hidden="true" />
          </button>
        ) : (
          <button
            type="submit"
            className={`button primary ${onCancel ? "small" : "round"}`}
            aria-label={onCancel ? undefined : t.send}
            title={onCancel ? undefined : t.send}
            disabled={!canSend}
          >
            {onCancel ? t.editSend : <ArrowUp size={18} aria-hidden="true" />}
          </button>
        )}
      </div>
    </form>
  );
}

/** Adds files to the draft as it is when they are read, which takes a moment. */
function useAdding(draft: Draft, onChange: Props["onChange"]) {
  const latest = useRef({ draft, onChange });
  latest.current = { draft, onChange };
  const add = async (files: Iterable<File>) => {
    const pictures = await readPictures(files);
    const now = latest.current;
    if (pictures.length) now.onChange({ pictures: [...now.draft.pictures, ...pictures] });
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: what it adds to is looked up when it does
  useEffect(() => receive((files) => void add(files)), []);
  return add;
}

function PickButton({ onFiles }: { onFiles: (files: Iterable<File>) => void }) {
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

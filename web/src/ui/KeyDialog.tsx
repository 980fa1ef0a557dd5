// Asks for the API key where the server wants one.
import { Dialog } from "@base-ui/react/dialog";
import { type FormEvent, useEffect, useState } from "react";
import { takeKey } from "../state/connection";
import { usePage, useText } from "../state/store";

export function KeyDialog() {
  const t = useText();
  const connection = usePage((page) => page.connection);
  const wanted = connection === "key" || connection === "wrong key";
  const [open, setOpen] = useState(false);
  useEffect(() => setOpen(wanted), [wanted]);

  const send = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const key = String(new FormData(event.currentTarget).get("key") ?? "").trim();
    if (key) void takeKey(key);
  };

  return (
    <Dialog.Root open={open} onOpenChange={setOpen}>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop" />
        <Dialog.Popup className="dialog narrow">
          <Dialog.Title className="dialog-title">{t.keyTitle}</Dialog.Title>
          <Dialog.Description className="quiet">{t.keyText}</Dialog.Description>
          <form onSubmit={send} className="stack">
            <label className="field">
              <span>{t.keyLabel}</span>
              <input
                name="key"
                type="password"
                pattern="\s*[!-~]+\s*" // a header takes nothing else
                autoComplete="off"
                spellCheck={false}
                className="input"
              />
            </label>
            {connection === "wrong key" && (
              <p className="problem-line" role="alert">
                {t.keyWrong}
              </p>
            )}
            <div className="actions">
              <Dialog.Close className="button">{t.cancel}</Dialog.Close>
              <button type="submit" className="button primary">
                {t.keySave}
              </button>
            </div>
          </form>
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

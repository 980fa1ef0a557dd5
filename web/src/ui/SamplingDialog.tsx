// How the next answers are sampled. A value that the server would not take is said at once and not kept.
import { Dialog } from "@base-ui/react/dialog";
import { RotateCcw, SlidersHorizontal, X } from "lucide-react";
import { useEffect, useId, useState } from "react";
import { allowed, type Field, OFFERED, type Sampling } from "../lib/sampling";
import { setSampling, usePage, useText } from "../state/store";
import { IconButton } from "./IconButton";

export function SamplingDialog() {
  const t = useText();
  const sampling = usePage((page) => page.sampling);
  const set = OFFERED.filter(({ field }) => sampling[field] !== undefined);
  return (
    <Dialog.Root>
      <Dialog.Trigger className="button small plain">
        <SlidersHorizontal size={15} aria-hidden="true" />
        <span className="sampling-summary">
          {set.length ? set.map(({ field }) => `${t.fields[field][0]} ${sampling[field]}`).join(" · ") : t.sampling}
        </span>
      </Dialog.Trigger>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop" />
        <Dialog.Popup className="dialog">
          <div className="dialog-head">
            <Dialog.Title className="dialog-title">{t.sampling}</Dialog.Title>
            <Dialog.Close className="icon-button" aria-label={t.close} title={t.close}>
              <X size={18} aria-hidden="true" />
            </Dialog.Close>
          </div>
          <Dialog.Description className="quiet">{t.samplingIntro}</Dialog.Description>
          <div className="stack">
            {OFFERED.map(({ field }) => (
              <Row key={field} field={field} sampling={sampling} />
            ))}
          </div>
          {!sampling.temperature && <p className="quiet small">{t.greedyNote}</p>}
          <div className="actions">
            <button type="button" className="button" disabled={set.length === 0} onClick={() => setSampling({})}>
              {t.resetAll}
            </button>
            <Dialog.Close className="button primary">{t.close}</Dialog.Close>
          </div>
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Row({ field, sampling }: { field: Field; sampling: Sampling }) {
  const t = useText();
  const id = useId();
  const { slider, usual } = OFFERED.find((one) => one.field === field)!;
  const value = sampling[field];
  const [typed, setTyped] = useState(String(value ?? ""));
  const [name, help] = t.fields[field] as [string, string];
  const valid = typed.trim() === "" || allowed(field, Number(typed));
  // "0." is 0, and is still being typed.
  useEffect(() => setTyped((now) => (now && Number(now) === value ? now : String(value ?? ""))), [value]);

  const take = (text: string) => {
    setTyped(text);
    const { [field]: _, ...rest } = sampling;
    if (text.trim() === "") setSampling(rest);
    else if (allowed(field, Number(text))) setSampling({ ...rest, [field]: Number(text) });
  };

  return (
    <div className="setting">
      <label htmlFor={id}>{name}</label>
      <input
        id={id}
        className="input small number"
        inputMode="decimal"
        value={typed}
        placeholder={usual === null ? t.unset : String(usual)}
        aria-invalid={!valid}
        aria-describedby={`${id}-help`}
        onChange={(event) => take(event.target.value)}
      />
      <IconButton
        icon={RotateCcw}
        size={14}
        label={`${t.reset}: ${name}`}
        disabled={value === undefined && valid}
        onClick={() => take("")}
      />
      {slider && (
        <input
          type="range"
          aria-label={name}
          data-set={value !== undefined || undefined}
          min={slider[0]}
          max={slider[1]}
          step={slider[2]}
          value={value ?? usual ?? slider[0]}
          onChange={(event) => take(event.target.value)}
        />
      )}
      <p id={`${id}-help`} className="small" data-invalid={!valid || undefined}>
        {valid ? help : t.invalid}
      </p>
    </div>
  );
}

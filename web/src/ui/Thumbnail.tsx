// A small picture, one thing that can be done with it, and the whole picture on request.
import { Dialog } from "@base-ui/react/dialog";
import { ImageOff, type LucideIcon, X } from "lucide-react";
import { bytesText } from "../lib/pictures";
import { urlOf, usePicture } from "../state/pictures";
import { useText } from "../state/store";
import { IconButton } from "./IconButton";

interface Props {
  id: string;
  wrong?: boolean; // the server refused it
  action: { icon: LucideIcon; label: (name: string) => string; act: () => void; disabled?: boolean };
}

/** The place of a picture that is still being read. */
export function ReadingThumbnail({ name, onRemove }: { name: string; onRemove?: () => void }) {
  const t = useText();
  const label = t.reading([name]);
  return (
    <li className="thumb">
      <span className="thumb-blank" role="img" aria-label={label} title={label}>
        <span className="small pulse">{t.readingShort}</span>
      </span>
      {onRemove && (
        <IconButton className="thumb-action" icon={X} size={13} label={t.removePicture(name)} onClick={onRemove} />
      )}
    </li>
  );
}

export function Thumbnail({ id, wrong = false, action }: Props) {
  const t = useText();
  const picture = usePicture(id);
  const name = picture?.name || t.picture(1);
  return (
    <li className="thumb" data-wrong={wrong || undefined}>
      {picture === null && (
        <span className="thumb-blank" role="img" aria-label={t.pictureLost} title={t.pictureLost}>
          <ImageOff size={20} aria-hidden="true" />
        </span>
      )}
      {picture && (
        <Dialog.Root>
          <Dialog.Trigger className="thumb-open" aria-label={t.showPicture(name)} title={name}>
            <img src={urlOf(picture)} alt="" draggable={false} />
          </Dialog.Trigger>
          <Dialog.Portal>
            <Dialog.Backdrop className="backdrop" />
            <Dialog.Popup className="dialog viewer">
              <img src={urlOf(picture)} alt={name} draggable={false} width={picture.width} height={picture.height} />
              <div className="viewer-foot">
                <Dialog.Title className="viewer-name">{name}</Dialog.Title>
                <Dialog.Description className="quiet small">
                  {t.sizes(picture.width, picture.height, bytesText(picture.blob.size))}
                </Dialog.Description>
                <Dialog.Close className="icon-button" aria-label={t.close} title={t.close}>
                  <X size={18} aria-hidden="true" />
                </Dialog.Close>
              </div>
            </Dialog.Popup>
          </Dialog.Portal>
        </Dialog.Root>
      )}
      <IconButton
        className="thumb-action"
        icon={action.icon}
        size={13}
        label={action.label(name)}
        disabled={action.disabled ?? false}
        onClick={action.act}
      />
    </li>
  );
}

// Pictures dropped or pasted anywhere on the page. What holds no picture file is said to.
import { ImagePlus } from "lucide-react";
import { useEffect, useState } from "react";
import { handOver } from "../state/receiving";
import { say, text, useText } from "../state/store";

export function DropZone() {
  const t = useText();
  const [over, setOver] = useState(false);

  useEffect(() => {
    let depth = 0; // enter and leave come for every element below the pointer
    const move = (event: DragEvent, change: number) => {
      if (!fromOutside(event)) return;
      event.preventDefault();
      depth = Math.max(0, depth + change);
      setOver(depth > 0);
    };
    const enter = (event: DragEvent) => move(event, 1);
    const leave = (event: DragEvent) => move(event, -1);
    const hover = (event: DragEvent) => move(event, 0);
    const drop = (event: DragEvent) => {
      if (!fromOutside(event)) return;
      event.preventDefault();
      depth = 0;
      setOver(false);
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length) handOver(files);
      else say("problem", text().noFiles);
    };
    const paste = (event: ClipboardEvent) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length && handOver(files)) event.preventDefault();
    };
    const ended = new AbortController();
    const { signal } = ended;
    window.addEventListener("dragenter", enter, { signal });
    window.addEventListener("dragleave", leave, { signal });
    window.addEventListener("dragover", hover, { signal });
    window.addEventListener("drop", drop, { signal });
    window.addEventListener("paste", paste, { signal });
    return () => ended.abort();
  }, []);

  return over ? (
    <div className="drop" aria-hidden="true">
      <ImagePlus size={40} strokeWidth={1.25} />
      {t.dropHere}
    </div>
  ) : null;
}

/** Text that is moved into a field is none of this page's business. */
function fromOutside({ dataTransfer, target }: DragEvent): boolean {
  const types = dataTransfer?.types ?? [];
  const foreign = types.includes("text/uri-list") || types.includes("text/html");
  return types.includes("Files") || (foreign && !(target instanceof HTMLTextAreaElement));
}

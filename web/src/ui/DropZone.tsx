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
      const given = event.clipboardData;
      const words = given?.getData("text") && given.getData("text/html"); // office programs add a picture of the text
      if (given?.files.length && !words && handOver([...given.files])) event.preventDefault();
    };
    const listeners = {
      dragenter: (event: DragEvent) => move(event, 1),
      dragleave: (event: DragEvent) => move(event, -1),
      dragover: (event: DragEvent) => move(event, 0),
      drop,
      paste,
    };
    const ended = new AbortController();
    for (const [name, listener] of Object.entries(listeners)) {
      window.addEventListener(name, listener as EventListener, ended); // of which it reads the signal
    }
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

// Where pictures go that are dropped or pasted anywhere on the page: to the question that is being written, the one
// begun last if there are several.
type Receiver = (files: File[]) => void;

const receivers: Receiver[] = [];

/** Take what is dropped or pasted, until the returned function is called. */
export function receive(receiver: Receiver): () => void {
  receivers.push(receiver);
  return () => {
    receivers.splice(receivers.indexOf(receiver), 1);
  };
}

/** Hand over files; false where nothing takes any. */
export function handOver(files: File[]): boolean {
  const receiver = receivers.at(-1);
  receiver?.(files);
  return receiver !== undefined;
}

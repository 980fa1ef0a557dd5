// Where pictures go that are dropped or pasted anywhere on the page: to the question that is being written, the one
// begun or pasted into last if there are several.
type Receiver = (files: File[]) => void;

const receivers = new Set<Receiver>();

/** Take what is dropped or pasted, before all others, until the returned function is called. */
export function receive(receiver: Receiver): () => void {
  receivers.delete(receiver);
  receivers.add(receiver);
  return () => void receivers.delete(receiver);
}

/** Hand over files; false where nothing takes any. */
export function handOver(files: File[]): boolean {
  const receiver = [...receivers].at(-1);
  receiver?.(files);
  return receiver !== undefined;
}

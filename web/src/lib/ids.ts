// Names for what is made here. Not `crypto.randomUUID`: a page that came over plain HTTP from another machine lacks it.

/** A new name: 20 characters of a to v and 0 to 9, 100 random bits. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(20)), (byte) => (byte % 32).toString(32)).join("");
}

// One of a few choices, of which one holds.
import { Toggle } from "@base-ui/react/toggle";
import type { ReactNode } from "react";

interface Props {
  value: string;
  label?: string;
  lang?: string;
  children: ReactNode;
}

export function Choice({ value, label, lang, children }: Props) {
  return (
    <Toggle className="choice" value={value} aria-label={label} title={label} lang={lang}>
      {children}
    </Toggle>
  );
}

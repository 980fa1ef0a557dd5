// The page as a whole: conversations on the left, the one that is shown in the middle, its pictures on the right.
import { CSPProvider } from "@base-ui/react/csp-provider";
import { useEffect } from "react";
import { titleOf } from "../lib/tree";
import { usePage, useText } from "../state/store";
import { Announcer } from "./Announcer";
import { ConversationView } from "./ConversationView";
import { DropZone } from "./DropZone";
import { KeyDialog } from "./KeyDialog";
import { Lens } from "./Lens";
import { Sidebar } from "./Sidebar";

export function App() {
  const t = useText();
  const theme = usePage((page) => page.theme);
  const loaded = usePage((page) => page.loaded);
  const current = usePage((page) => page.conversations.find(({ id }) => id === page.current));

  useEffect(() => {
    const root = document.documentElement;
    root.lang = t.tag;
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
  }, [t, theme]);

  const title = current && titleOf(current);
  useEffect(() => {
    document.title = title ? `${title} · Sightline` : "Sightline";
  }, [title]);

  return (
    // Elements with styles of their own would be refused by the page's policy.
    <CSPProvider disableStyleElements>
      <a className="skip" href="#question">
        {t.skip}
      </a>
      <div className="page">
        <aside className="side" aria-label={t.conversations}>
          <Sidebar />
        </aside>
        {loaded && <ConversationView conversation={current} key={current?.id ?? ""} />}
        {loaded && current && <Lens conversation={current} />}
      </div>
      <Announcer />
      <DropZone />
      <KeyDialog />
    </CSPProvider>
  );
}

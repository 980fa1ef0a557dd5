// The list of conversations, what can be done with all of them, and how the page looks.
import { ToggleGroup } from "@base-ui/react/toggle-group";
import { Download, Monitor, Moon, Plus, Sun, Upload } from "lucide-react";
import { useRef } from "react";
import icon from "../icon.svg";
import { exportFile, importFile } from "../state/keeping";
import { open, setLanguage, setTheme, type Theme, usePage, useText } from "../state/store";
import { LANGUAGE_NAMES, type LanguageName } from "../text/languages";
import { Choice } from "./Choice";
import { ConversationItem } from "./ConversationItem";

const THEMES = [
  ["light", Sun],
  ["system", Monitor],
  ["dark", Moon],
] as const;

/** `onChoose` is told when another conversation was chosen, or one deleted: then the list has been of use. */
export function Sidebar({ onChoose = () => {} }: { onChoose?: () => void }) {
  const t = useText();
  const conversations = usePage((page) => page.conversations);
  const current = usePage((page) => page.current);
  const theme = usePage((page) => page.theme);
  const language = usePage((page) => page.language);
  const choose = (id: string | null) => {
    open(id);
    onChoose();
  };

  return (
    <div className="side-inner">
      <div className="brand">
        <img src={icon} alt="" width="28" height="28" />
        <span>Sightline</span>
      </div>
      <button type="button" className="button new" onClick={() => choose(null)}>
        <Plus size={16} aria-hidden="true" />
        {t.newConversation}
      </button>
      <nav className="history" aria-label={t.conversations}>
        {conversations.length === 0 && <p className="quiet small">{t.noConversations}</p>}
        <ul>
          {conversations.map((one) => (
            <ConversationItem
              key={one.id}
              conversation={one}
              shown={one.id === current}
              onChoose={() => choose(one.id)}
              onRemoved={onChoose}
            />
          ))}
        </ul>
      </nav>
      <footer className="side-foot">
        <div className="pair">
          <ImportButton />
          <button
            type="button"
            className="button small"
            disabled={conversations.length === 0}
            onClick={() => void exportFile(conversations)}
          >
            <Download size={14} aria-hidden="true" />
            {t.exportAll}
          </button>
        </div>
        <div className="pair">
          <ToggleGroup
            className="choices"
            aria-label={t.theme}
            value={[theme]}
            onValueChange={([chosen]) => chosen && setTheme(chosen as Theme)}
          >
            {THEMES.map(([name, Icon]) => (
              <Choice key={name} value={name} label={t.themes[name]}>
                <Icon size={14} aria-hidden="true" />
              </Choice>
            ))}
          </ToggleGroup>
          <ToggleGroup
            className="choices"
            aria-label={t.language}
            value={[language]}
            onValueChange={([chosen]) => chosen && setLanguage(chosen as LanguageName)}
          >
            {Object.entries(LANGUAGE_NAMES).map(([name, label]) => (
              <Choice key={name} value={name} lang={name}>
                {label}
              </Choice>
            ))}
          </ToggleGroup>
        </div>
      </footer>
    </div>
  );
}

function ImportButton() {
  const t = useText();
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" className="button small" onClick={() => input.current?.click()}>
        <Upload size={14} aria-hidden="true" />
        {t.import}
      </button>
      <input
        ref={input}
        type="file"
        accept="application/json,.json"
        hidden
        data-testid="import"
        onChange={(event) => {
          const file = event.target.files?.[0];
          if (file) void importFile(file);
          event.target.value = "";
        }}
      />
    </>
  );
}

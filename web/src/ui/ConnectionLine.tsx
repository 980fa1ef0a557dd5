// What there is to say about the server, when it is not simply there.
import { connect } from "../state/connection";
import { usePage, useText } from "../state/store";

export function ConnectionLine() {
  const t = useText();
  const connection = usePage((page) => page.connection);
  if (connection === "ready" || connection === "connecting") return null;
  const down = connection === "down";
  const askForKey = () => usePage.setState({ connection: "connecting" }, false);
  return (
    <p className="notice" data-kind="problem" role="status">
      <span>{down ? t.down : t.problems.key}</span>
      <button
        type="button"
        className="button small"
        onClick={() => {
          if (!down) askForKey();
          void connect();
        }}
      >
        {down ? t.reconnect : t.keyAsk}
      </button>
    </p>
  );
}

// The page's beginning: what was kept is loaded, the server is asked what it has, and the page is drawn.
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { connect } from "./state/connection";
import { loadKept } from "./state/keeping";
import { watchOthers } from "./state/tabs";
import { App } from "./ui/App";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/layout.css";
import "./styles/conversation.css";
import "./styles/lens.css";

void loadKept().then(watchOthers);
void connect();
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);

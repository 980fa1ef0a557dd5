// What went wrong with an answer: in a line of our own, then in the server's words, and which picture it is about.
import { TriangleAlert } from "lucide-react";
import type { Conversation, Problem } from "../lib/conversation";
import { usePicture } from "../state/pictures";
import { useText } from "../state/store";

export function ProblemBox({ problem, conversation }: { problem: Problem; conversation: Conversation }) {
  const t = useText();
  const turn = conversation.turns.find(({ id }) => id === problem.turn);
  const picture = turn?.pictures[problem.picture ?? -1];
  return (
    <div className="problem">
      <TriangleAlert size={18} aria-hidden="true" />
      <div>
        <p>
          {t.problems[problem.kind]}
          {picture && <PictureName id={picture} />}
          {problem.wait && ` ${t.wait(problem.wait)}`}
        </p>
        {problem.message && (
          <p className="quiet small" lang="en">
            {problem.message}
          </p>
        )}
      </div>
    </div>
  );
}

function PictureName({ id }: { id: string }) {
  const t = useText();
  const picture = usePicture(id);
  return picture ? ` ${t.ofPicture(picture.name)}` : null;
}

"""What a visitor does on the chat page, what stands in for a slow line, picture or model, and what is found there."""

import base64
import json

CHAT = "**/v1/chat/completions"
STRONGEST = [250, 235, 110]  # the colour of a map's highest value
KEPT_STATES = """async () => {
  const wait = (request) => new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
  const base = await wait(indexedDB.open("sightline"));
  const all = await wait(base.transaction("kept").objectStore("kept").getAll());
  return all.find((one) => one.turns).turns.map(({ state }) => state);
}"""


def ask(page, text):
    """Ask, and wait until the answer is whole: what it says."""
    page.locator("#question").fill(text)
    page.locator("#question").press("Enter")
    return last_answer(page)


def last_answer(page):
    page.locator(".answer").last.locator("[data-testid=figures]").wait_for()
    return page.locator(".answer").last.locator(".answer-text").inner_text()


def try_example(page, number=0):
    page.locator(".example").nth(number).click()
    return last_answer(page)


def slow_down(page):
    """An answer takes no time with a model this small; a slow line makes it take some."""
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": 2000, "uploadThroughput": -1}
    line.send("Network.emulateNetworkConditions", slow)


def hold_reading(page):
    """No picture is read before `release()`, as if each were very large."""
    page.evaluate(
        """() => {
          const decode = Image.prototype.decode;
          const released = new Promise((resolve) => { window.release = resolve; });
          Image.prototype.decode = async function () { await released; return decode.call(this); };
        }"""
    )


def let_go(page, held):
    """Let the request through that a route has put into `held`, as soon as it is there."""
    while not held:
        page.wait_for_timeout(10)
    held.pop().continue_()


def answer_at_once(page):
    """Every question is answered with the same few words, for what is not about answers."""
    chunks = [
        {"choices": [{"delta": {"content": "A cat."}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"completion_tokens": 3}},
    ]
    body = "".join(f"data: {data}\n\n" for data in (*map(json.dumps, chunks), "[DONE]"))
    page.route(CHAT, lambda route: route.fulfill(body=body, content_type="text/event-stream"))


def sent_parts(request):
    """The kinds of the parts of each message that was sent; a text alone is one part."""
    contents = [message["content"] for message in request.value.post_data_json["messages"]]
    return [["text"] if isinstance(one, str) else [part["type"] for part in one] for one in contents]


def hand_over(page, event, data):
    """Drop or paste a file on the page."""
    page.evaluate(
        """([name, base64]) => {
          const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
          const held = new DataTransfer();
          held.items.add(new File([bytes], `${name}.png`, { type: "image/png" }));
          const options = { bubbles: true, cancelable: true, dataTransfer: held, clipboardData: held };
          const event = name === "drop" ? new DragEvent(name, options) : new ClipboardEvent(name, options);
          document.body.dispatchEvent(event);
        }""",
        [event, base64.b64encode(data).decode()],
    )


def exported(answer):
    """A file with one conversation, whose answer is `answer`."""
    common = {"pictures": [], "at": 1, "state": "done"}
    turns = [
        {"id": "question0", "parent": None, "role": "user", "text": "?", **common},
        {"id": "answer000", "parent": "question0", "role": "assistant", "text": answer, **common},
    ]
    one = {"id": "conversation0", "title": None, "created": 1, "changed": 1, "turns": turns, "chosen": {}}
    head = {"format": "sightline-conversations", "version": 1, "exported": "2026-01-01T00:00:00Z"}
    return {**head, "conversations": [one], "pictures": {}}


def largest(values):
    """Row and column of the largest value of a map [rows][cols]."""
    return list(max(((row, col) for row, line in enumerate(values) for col in range(len(line))), key=at_of(values)))


def at_of(values):
    return lambda place: values[place[0]][place[1]]


def strongest_cell(page):
    """Row and column of the cell that is drawn in the colour of a map's highest value."""
    return page.locator(".heat canvas").evaluate(
        """(canvas, strongest) => {
          const cell = 32, pen = canvas.getContext("2d");
          for (let row = 0; row < canvas.height / cell; row++)
            for (let col = 0; col < canvas.width / cell; col++) {
              const pixel = pen.getImageData(col * cell + cell / 2, row * cell + cell / 2, 1, 1).data;
              if (strongest.every((value, n) => Math.abs(value - pixel[n]) < 3)) return [row, col];
            }
          return null;
        }""",
        STRONGEST,
    )

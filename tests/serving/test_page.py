"""The chat page in a real browser, against a real server: asking, stopping, explaining, keeping, refusing."""

import base64
import json
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STRONGEST = [250, 235, 110]  # the colour of a map's highest value
SHORT = 3  # the example whose answer has the fewest words
QUESTION = "Describe the picture."


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium to test the page")
    api = pytest.importorskip("playwright.sync_api", reason="the page is tested through playwright: pip install it")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, served):
    """Opens the page in a browser that knows nothing yet, and at the end checks that nothing was asked of others."""
    contexts, complaints, asked = [], [], []

    def open(route=None, **options):
        context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        if route:
            page.route(*route)
        page.goto(served.url)
        return page

    yield open
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((served.url, "blob:", "data:"))] == []


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    from PIL import Image, ImageDraw

    path = tmp_path_factory.mktemp("pictures") / "circle.png"
    image = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(image).ellipse((10, 10, 60, 60), "red")
    image.save(path)
    return path


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


def test_pictures_are_picked_dropped_and_pasted_sent_as_they_are_and_stay_in_the_conversation(open_page, picture):
    page = open_page()
    page.get_by_test_id("pictures").set_input_files([picture])
    for number, event in enumerate(("drop", "paste"), start=2):
        hand_over(page, event, picture.read_bytes())
        page.locator(".dock .thumb img").nth(number - 1).wait_for()
    with page.expect_request("**/v1/chat/completions") as first:
        answer = ask(page, QUESTION)
    assert answer
    assert page.locator(".question .thumb img").count() == 3
    figures = page.get_by_test_id("figures").inner_text()
    assert "first token after" in figures
    assert "tokens" in figures

    with page.expect_request("**/v1/chat/completions") as second:
        ask(page, "What colour is it?")
    begun, gone_on = first.value.post_data_json["messages"], second.value.post_data_json["messages"]
    sent = [part["image_url"]["url"] for part in begun[0]["content"] if part["type"] == "image_url"]
    assert sent == [f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"] * 3
    assert gone_on[:2] == [*begun, {"role": "assistant", "content": answer}]


def test_what_is_streamed_can_be_stopped_and_stays(open_page):
    page = open_page()
    whole = try_example(page)
    # An answer takes no time with a model this small; a slow line makes it take some.
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": 2000, "uploadThroughput": -1}
    line.send("Network.emulateNetworkConditions", slow)
    page.get_by_label("Ask again", exact=True).click()
    page.locator(".answer-text[data-writing]").wait_for()
    page.get_by_label("Stop").click()
    page.get_by_text("Stopped.", exact=True).first.wait_for()
    begun = page.locator(".answer-text").inner_text()
    assert whole.startswith(begun)
    assert len(begun) < len(whole)
    # The answer that was there before is a version of it.
    page.get_by_label("Earlier version").click()
    assert page.locator(".answer-text").inner_text() == whole


def test_a_word_that_is_pointed_at_shows_where_the_model_looked(open_page):
    page = open_page()
    try_example(page)
    with page.expect_response("**/v1/explain") as response:
        page.locator(".word").last.hover()
    found = response.value.json()
    assert response.value.request.post_data_json["occlusion"] is False
    page.locator(".heat[data-lit]").wait_for()
    assert page.locator(".lens-word b").inner_text() == found["words"][-1]["text"]
    assert "probability" in page.locator(".lens-word").inner_text()
    assert strongest_cell(page) == largest(found["words"][-1]["attention"][0])


def test_the_keys_go_from_word_to_word_and_a_screen_reader_is_told_where_each_looked(open_page):
    page = open_page()
    try_example(page, SHORT)
    page.get_by_role("button", name="Go through the words").press("Enter")
    page.locator(".heat[data-lit]").wait_for()
    words = page.get_by_role("option")
    page.keyboard.press("ArrowRight")
    assert words.nth(1).evaluate("word => word === document.activeElement")
    told = page.get_by_test_id("announcer")
    told.get_by_text(f"{words.nth(1).inner_text()}: probability").wait_for()
    assert "looked most at the" in told.inner_text()
    with page.expect_response("**/v1/explain") as response:
        page.get_by_role("button", name="Lost when hidden").click()
    losses = response.value.json()["words"][1]["occlusion"]
    page.get_by_text("loses").first.wait_for()
    assert strongest_cell(page) == largest(losses[0])
    page.keyboard.press("Escape")  # back to the word, and from there to where it began
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Go through the words").evaluate("one => one === document.activeElement")


def test_a_file_that_is_no_picture_and_a_picture_that_is_refused_are_said(open_page, picture, tmp_path):
    page = open_page()
    notes, drawing = tmp_path / "notes.pdf", tmp_path / "drawing.svg"
    notes.write_text("%PDF-1.4")
    drawing.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    )
    page.get_by_test_id("pictures").set_input_files([notes])
    page.get_by_text("“notes.pdf” could not be read as a picture").wait_for()
    ask_at = page.locator("#question")
    page.get_by_test_id("pictures").set_input_files([picture, drawing])
    page.locator(".dock .thumb img").nth(1).wait_for()
    ask_at.fill(QUESTION)
    ask_at.press("Enter")
    page.get_by_text("It is about the picture “drawing.svg”.").wait_for()
    assert [one.get_attribute("data-wrong") for one in page.locator(".question .thumb").all()] == [None, "true"]

    # Swapped for one that can be read, it is answered.
    page.locator(".question .thumb").nth(1).hover()
    with page.expect_file_chooser() as chooser:
        page.get_by_label("Replace drawing.svg").click()
    chooser.value.set_files(picture)
    assert last_answer(page)
    page.get_by_label("Version 2 of 2").wait_for()


def test_it_speaks_chinese_to_those_who_do_and_fits_a_phone(open_page):
    page = open_page(locale="zh-CN", viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_text("给它看图，向它提问。").wait_for()
    answer = try_example(page)
    assert any("\u4e00" <= letter <= "\u9fff" for letter in answer)
    page.locator(".word").first.tap()
    page.locator(".heat[data-lit]").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_label("关闭").tap()
    page.get_by_label("显示对话列表").tap()
    page.get_by_role("button", name="English").tap()
    page.get_by_role("button", name="New conversation").first.wait_for()
    assert page.evaluate("document.documentElement.lang") == "en"


def test_a_conversation_outlives_the_page_its_deletion_can_be_undone_and_a_file_carries_it_elsewhere(
    open_page, tmp_path
):
    page = open_page()
    answer = try_example(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all").click()
    file = tmp_path / "conversations.json"
    download.value.save_as(file)
    page.locator(".item").hover()
    page.get_by_label("Delete").click()
    page.get_by_role("button", name="Undo").click()
    page.wait_for_timeout(600)  # it is kept a moment after it changed
    page.reload()
    assert last_answer(page) == answer

    elsewhere = open_page()
    elsewhere.get_by_test_id("import").set_input_files(file)
    assert last_answer(elsewhere) == answer
    assert elsewhere.locator(".question .thumb img").evaluate("image => image.decode().then(() => image.naturalWidth)")


def test_a_bad_file_is_refused_in_a_line_and_an_imported_answer_stays_text(open_page, tmp_path):
    page = open_page()
    bad, markup = tmp_path / "bad.json", tmp_path / "markup.json"
    bad.write_text("{")
    page.get_by_test_id("import").set_input_files(bad)
    page.get_by_text("This file is not JSON, so nothing was imported.").wait_for()
    evil = "<img src=x onerror=alert(1)><b>bold</b> ![](http://127.0.0.1:9/pixel.png)"
    markup.write_text(json.dumps(exported(evil)))
    page.get_by_test_id("import").set_input_files(markup)
    page.locator(".answer-text").wait_for()
    assert page.locator(".answer-text").inner_text() == evil
    assert page.locator(".answer-text :is(img, b)").count() == 0


def test_a_server_that_wants_a_key_is_asked_again_with_it(open_page):
    keys = []

    def guard(route):
        keys.append(route.request.headers.get("authorization"))
        if keys[-1] == "Bearer secret":
            route.continue_()
        else:
            error = {"message": "the API key is wrong", "type": "authentication_error", "param": None, "code": None}
            route.fulfill(status=401, json={"error": error})

    page = open_page(route=("**/v1/**", guard))
    field = page.get_by_label("API key")
    field.fill("wrong")
    field.press("Enter")
    page.get_by_text("The server does not know this key.").wait_for()
    field.fill("secret")
    field.press("Enter")
    field.wait_for(state="detached")
    assert try_example(page)
    assert keys[:2] == [None, "Bearer wrong"]
    assert set(keys[2:]) == {"Bearer secret"}


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

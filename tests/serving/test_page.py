"""The chat page in a real browser, against a real server: asking, stopping, explaining, keeping, refusing."""

import base64
import json
import shutil

import pytest

from .visitor import (
    CHAT,
    KEPT_STATES,
    answer_at_once,
    ask,
    exported,
    hand_over,
    hold_reading,
    largest,
    last_answer,
    let_go,
    sent_parts,
    slow_down,
    strongest_cell,
    try_example,
)

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
SHORT = 3  # the example whose answer has the fewest words
QUESTION = "Describe the picture."
FILE = {"name": "conversations.json", "mimeType": "application/json"}


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


def test_pictures_are_picked_dropped_and_pasted_sent_as_they_are_and_stay_in_the_conversation(open_page, picture):
    page = open_page()
    page.get_by_test_id("pictures").set_input_files([picture])
    for number, event in enumerate(("drop", "paste"), start=2):
        hand_over(page, event, picture.read_bytes())
        page.locator(".dock .thumb img").nth(number - 1).wait_for()
    with page.expect_request(CHAT) as first:
        answer = ask(page, QUESTION)
    assert answer
    assert page.locator(".question .thumb img").count() == 3
    figures = page.get_by_test_id("figures").inner_text()
    assert "first token after" in figures
    assert "tokens" in figures

    with page.expect_request(CHAT) as second:
        ask(page, "What colour is it?")
    begun, gone_on = first.value.post_data_json["messages"], second.value.post_data_json["messages"]
    sent = [part["image_url"]["url"] for part in begun[0]["content"] if part["type"] == "image_url"]
    assert sent == [f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"] * 3
    assert gone_on[:2] == [*begun, {"role": "assistant", "content": answer}]


def test_nothing_is_asked_before_the_server_has_said_which_model_it_has(open_page):
    held = []
    page = open_page(route=("**/v1/models", lambda route: held.append(route)))
    page.locator(".example").first.wait_for()
    assert page.locator(".example:enabled").count() == 0
    let_go(page, held)
    assert try_example(page)
    page.reload()
    swap = page.locator(".question .thumb-action")
    swap.wait_for(state="attached")
    assert swap.is_disabled()
    let_go(page, held)
    page.locator(".question .thumb-action:enabled").wait_for(state="attached")


def test_what_is_streamed_can_be_stopped_and_stays(open_page):
    page = open_page()
    whole = try_example(page)
    slow_down(page)
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
    notes, drawing = [tmp_path / f"notes-{number}.pdf" for number in range(6)], tmp_path / "drawing.svg"
    for file in notes:
        file.write_text("%PDF-1.4")
    drawing.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    )
    page.get_by_test_id("pictures").set_input_files(notes)
    said = page.get_by_role("alert").get_by_text("could not be read as pictures").inner_text()
    assert [file.name for file in notes if f"“{file.name}”" not in said] == []
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


def test_a_question_waits_for_a_picture_that_is_still_read_and_no_other_question_gets_it(open_page, picture):
    page = open_page()
    hold_reading(page)
    answer_at_once(page)
    field, files = page.locator("#question"), page.get_by_test_id("pictures")
    huge = picture.with_name("huge.png")
    huge.write_bytes(picture.read_bytes())
    files.set_input_files([picture, huge])
    page.get_by_role("img", name="Reading “circle.png”.").wait_for()
    page.get_by_label("Remove huge.png").press("Enter")  # nobody has to wait for one
    field.fill(QUESTION)
    field.press("Enter")
    # Nothing was sent, and why is said.
    page.get_by_test_id("announcer").get_by_text("Reading “circle.png”.", exact=True).wait_for()
    assert page.get_by_label("Send").is_disabled()
    assert field.input_value() == QUESTION

    page.get_by_test_id("import").set_input_files({**FILE, "buffer": json.dumps(exported("Text.")).encode()})
    page.get_by_text("Text.", exact=True).wait_for()
    with page.expect_request(CHAT) as elsewhere:
        ask(page, "And now?")
    page.evaluate("release()")
    page.get_by_role("button", name="New conversation").first.click()
    page.locator(".dock .thumb img").wait_for()
    assert field.input_value() == QUESTION
    with page.expect_request(CHAT) as request:
        field.press("Enter")
    assert sent_parts(elsewhere) == [["text"], ["text"], ["text"]]
    assert sent_parts(request) == [["image_url", "text"]]


def test_an_edited_question_stands_beside_the_old_one_and_a_branch_is_a_conversation_of_its_own(open_page):
    page = open_page()
    answer_at_once(page)
    assert try_example(page) == "A cat."
    asked = page.locator(".bubble").inner_text()
    page.get_by_label("Edit", exact=True).click()
    edited = page.get_by_label("Edit the question")
    assert edited.evaluate("field => field === document.activeElement")
    edited.press("Escape")
    page.locator("[aria-label=Edit]:focus").wait_for()
    page.keyboard.press("Enter")
    edited.fill("Where is it?")
    with page.expect_request(CHAT) as request:
        edited.press("Enter")
    page.get_by_label("Version 2 of 2").wait_for()
    assert sent_parts(request) == [["image_url", "text"]]
    assert page.locator(".bubble").inner_text() == "Where is it?"
    page.get_by_label("Earlier version").click()
    assert page.locator(".bubble").inner_text() == asked

    page.get_by_label("Go on in a new conversation").click()
    page.locator(".item").nth(1).wait_for()
    with page.expect_request(CHAT) as request:
        ask(page, "And now?")
    assert sent_parts(request) == [["image_url", "text"], ["text"], ["text"]]
    page.locator(".item-title").nth(1).click()  # where it came from is as it was
    page.get_by_label("Version 1 of 2").wait_for()
    assert page.locator(".bubble").all_inner_texts() == [asked]


def test_an_answer_is_stopped_where_it_is_written_and_in_every_tab_once_that_page_is_left(open_page):
    page = open_page()
    answer_at_once(page)
    try_example(page)
    page.unroute(CHAT)
    page.route(CHAT, lambda route: None)  # the answer does not come
    other = page.context.new_page()
    other.goto(page.url)
    other.locator(".item-title").click()
    page.get_by_label("Ask again", exact=True).click()
    other.get_by_text("It is being written in another tab").wait_for()
    assert [one.get_by_label("Stop").count() for one in (page, other)] == [1, 0]
    other.locator("#question").fill(QUESTION)
    assert other.get_by_label("Send").is_disabled()

    page.reload()
    page.get_by_text("Stopped.", exact=True).wait_for()
    assert page.evaluate(KEPT_STATES) == ["done", "done", "stopped"]
    other.get_by_text("Stopped.", exact=True).wait_for()
    assert other.get_by_label("Send").is_enabled()


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

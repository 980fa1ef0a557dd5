"""`POST /v1/decisions` and `POST /v1/score`: given answers are as probable as the engine says."""

import math

import pytest
from PIL import Image

from sightline.serving.deciding import spellings


@pytest.fixture(autouse=True)
def healthy(client):
    """Whatever a test sent, only that request may have failed."""
    yield
    assert client.get("/health").status_code == 200
    assert client.state.answering.taken == 0


def picture():
    image = Image.new("RGB", (40, 40), "white")
    image.paste("red", (10, 10, 30, 30))
    return {"type": "image", "image": image}


def decide(client, *questions, input="A red square.", **fields):
    return client.post("/v1/decisions", json={"model": "tiny", "input": input, "questions": questions, **fields})


def expected(client, content, *options):
    """How probable each of the options, all its spellings together, is to the engine."""
    texts = [[one for text in option for one in spellings(text)] for option in options]
    scores = client.state.engine.score(
        [{"role": "user", "content": content}], [one for group in texts for one in group]
    )
    found = {score.text: score.probability for score in scores}
    return [sum(found[one] for one in group) for group in texts]


def probabilities(answer):
    return [one["probability"] for one in answer["probabilities"]]


COLOURS = {"type": "choice", "instructions": "Which colour?", "choices": [{"value": "red"}, {"value": "blue"}]}
ROUND = {"type": "predicate", "instructions": "Is it round?"}
MANY = {"type": "score", "instructions": "How many?", "levels": [{"label": "none"}, {"label": "one"}, {"label": "two"}]}


def test_a_choice_has_the_probabilities_of_its_spellings(client):
    (answer,) = decide(client, {**COLOURS, "name": "colour"}).json()["answers"]
    wanted = expected(client, "A red square.\nWhich colour?", ["red"], ["blue"])
    assert probabilities(answer) == pytest.approx(wanted)
    assert [one["value"] for one in answer["probabilities"]] == ["red", "blue"]
    assert answer["choice"] == ("red" if wanted[0] >= wanted[1] else "blue")
    assert answer["confidence"] == max(probabilities(answer))
    assert answer["name"] == "colour"


def test_a_predicate_is_yes_against_no_in_the_language_of_the_question(client):
    english, chinese = decide(client, ROUND, {**ROUND, "instructions": "它是圆的吗？"}).json()["answers"]
    wanted, _ = expected(client, "A red square.\nIs it round?", ["yes"], ["no"])
    assert english == {"type": "predicate", "name": None, "probability": pytest.approx(wanted)}
    yes, no = ["是", "是的", "对", "有", "能"], ["不是", "不", "不对", "没有", "不能"]
    wanted, _ = expected(client, "A red square.\n它是圆的吗？", yes, no)
    assert chinese["probability"] == pytest.approx(wanted)


def test_true_and_false_are_chosen_as_yes_and_no(client):
    both = {**ROUND, "type": "choice", "choices": [{"value": False}, {"value": True}]}
    predicate, choice = decide(client, ROUND, both).json()["answers"]
    assert choice["probabilities"][1] == {"value": True, "probability": pytest.approx(predicate["probability"])}
    assert choice["choice"] is (predicate["probability"] > 0.5)


def test_a_score_is_the_mean_of_its_levels_counted_from_zero(client):
    (answer,) = decide(client, MANY).json()["answers"]
    wanted = expected(client, "A red square.\nHow many?", ["none"], ["one"], ["two"])
    assert probabilities(answer) == pytest.approx(wanted)
    assert [(one["label"], one["value"]) for one in answer["probabilities"]] == [("none", 0), ("one", 1), ("two", 2)]
    assert answer["score"] == pytest.approx(wanted[1] + 2 * wanted[2])
    assert answer["confidence"] == max(probabilities(answer))


def test_a_question_stands_in_the_last_user_turn_behind_its_pictures(client, red_square):
    items = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "A duck."},
        {"role": "user", "content": [{"type": "input_image", "image_url": red_square}]},
    ]
    (answer,) = decide(client, ROUND, input=items).json()["answers"]
    conversation = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "A duck."},
        {"role": "user", "content": [picture(), {"type": "text", "text": "Is it round?"}]},
    ]
    texts = [*spellings("yes"), *spellings("no")]
    scores = client.state.engine.score(conversation, texts)
    assert answer["probability"] == pytest.approx(sum(score.probability for score in scores[:4]))


def test_a_question_after_the_models_own_turn_is_a_turn_and_can_bring_a_picture(client, red_square):
    items = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "A duck."}]
    parts = [{"type": "input_image", "image_url": red_square}, {"type": "input_text", "text": "Is it round?"}]
    answer = decide(client, {**ROUND, "instructions": parts}, input=items).json()
    conversation = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "A duck."},
        {"role": "user", "content": [picture(), {"type": "text", "text": "Is it round?"}]},
    ]
    texts = [*spellings("yes"), *spellings("no")]
    scores = client.state.engine.score(conversation, texts)
    assert answer["answers"][0]["probability"] == pytest.approx(sum(score.probability for score in scores[:4]))
    assert answer["usage"]["input_tokens_details"]["image_tokens"] == 16


def test_json_is_text_and_descriptions_are_shown_below_the_question(client):
    items = [{"role": "user", "content": [{"type": "input_json", "data": {"色": [1, None]}}]}]
    choices = [{"value": "red", "description": "warm"}, {"value": True, "description": "cold"}, {"value": "one"}]
    (answer,) = decide(client, {**COLOURS, "choices": choices}, input=items).json()["answers"]
    content = '{"色": [1, null]}\nWhich colour?\nred: warm\nyes: cold\none'
    assert probabilities(answer) == pytest.approx(expected(client, content, ["red"], ["yes"], ["one"]))


def test_what_a_client_sends_is_read_back_strictly(client):
    from openai.types import Decision

    answer = decide(client, ROUND, COLOURS, MANY).json()
    decision = Decision.model_validate(answer, strict=True)
    assert [one.type for one in decision.answers] == ["predicate", "choice", "score"]
    assert decision.usage.total_tokens == decision.usage.input_tokens + decision.usage.output_tokens
    # Each question's prompt counts; what they share is computed once.
    assert decision.usage.input_tokens_details.cached_tokens > 0


@pytest.mark.parametrize(
    ("questions", "fields", "param"),
    [
        ([], {}, "questions"),
        ([{**ROUND, "type": "essay"}], {}, "questions[0]"),
        ([{"type": "predicate"}], {}, "questions[0].instructions"),
        ([{**ROUND, "instructions": []}], {}, "questions[0].instructions"),
        ([ROUND, {**ROUND, "why": 1}], {}, "questions[1].why"),
        ([{**COLOURS, "choices": [{"value": "red"}]}], {}, "questions[0].choices"),
        ([{**COLOURS, "choices": [{"value": "red"}, {"value": 1}]}], {}, "questions[0].choices[1].value"),
        ([{**COLOURS, "choices": [{"value": "red"}, {"value": None}]}], {}, "questions[0].choices[1].value"),
        ([{**COLOURS, "choices": [{"value": "red"}, {"value": ""}]}], {}, "questions[0].choices[1].value"),
        ([{**COLOURS, "choices": [{"value": "red"}, {"value": "Red"}]}], {}, "questions[0].choices[1].value"),
        ([{**COLOURS, "choices": [{"value": True}, {"value": "yes"}]}], {}, "questions[0].choices[1].value"),
        ([{**MANY, "levels": [{"label": "1"}, {"label": "1"}]}], {}, "questions[0].levels[1].label"),
        ([ROUND], {"input": []}, "input"),
        ([ROUND], {"input": [{"type": "function_call", "name": "f"}]}, "input[0]"),
        ([ROUND], {"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ([ROUND], {"temperature": 1}, "temperature"),
        ([{**ROUND, "instructions": [{"type": "input_image"}]}], {}, "questions[0].instructions[0].image_url"),
    ],
)
def test_what_is_wrong_is_a_400_that_names_the_field(client, questions, fields, param):
    answer = decide(client, *questions, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_questions_choices_and_their_text_are_bounded(make_client):
    with make_client(limits={"choices": 2, "prompt_chars": 100}) as client:
        three = [{"value": value} for value in ("red", "blue", "green")]
        long = [{"value": "a" * 40}, {"value": "b" * 40}]
        for questions, param in (
            ([ROUND] * 3, "questions"),
            ([{**COLOURS, "choices": three}], "questions[0].choices"),
            ([{**COLOURS, "choices": long}], "questions[0]"),
        ):
            answer = decide(client, *questions)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        for choices, param in ((["a", "b", "c"], "choices"), (["a" * 101], "choices")):
            answer = grade(client, choices)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert client.get("/health").status_code == 200


def test_the_answers_of_all_questions_are_bounded_together(make_client):
    with make_client(limits={"choices": 9, "prompt_chars": 1000}) as client:
        nine = {**COLOURS, "choices": [{"value": str(number)} for number in range(9)]}
        long = {**COLOURS, "choices": [{"value": 100 * "a"}, {"value": "b"}]}
        for questions, said in (([nine] * 5, "questions have 45 answers together"), ([long] * 4, "questions: ")):
            answer = decide(client, *questions)
            assert answer.status_code == 400
            assert answer.json()["error"]["message"].startswith(said)
            assert answer.json()["error"]["param"] == "questions"


def grade(client, choices, content="What is this?", **fields):
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}], "choices": choices, **fields}
    return client.post("/v1/score", json=body)


def test_choices_are_graded_exactly_as_they_are_written(client, red_square):
    parts = [{"type": "image_url", "image_url": {"url": red_square}}, {"type": "text", "text": "What is this?"}]
    result = grade(client, ["a duck", "A duck."], parts).json()
    content = [picture(), {"type": "text", "text": "What is this?"}]
    scores = client.state.engine.score([{"role": "user", "content": content}], ["a duck", "A duck."])
    assert [one["text"] for one in result["choices"]] == ["a duck", "A duck."]
    assert [one["index"] for one in result["choices"]] == [0, 1]
    assert [one["logprob"] for one in result["choices"]] == pytest.approx([score.logprob for score in scores])
    assert [one["probability"] for one in result["choices"]] == pytest.approx([one.probability for one in scores])
    assert result["usage"]["output_tokens"] == sum(len(score.tokens) for score in scores)
    assert all(math.exp(one["logprob"]) <= 1 for one in result["choices"])


@pytest.mark.parametrize(
    ("choices", "fields", "param"),
    [
        ([], {}, "choices"),
        ("yes", {}, "choices"),
        ([""], {}, "choices[0]"),
        (["yes", 1], {}, "choices[1]"),
        (["yes", "no", "yes"], {}, "choices[2]"),
        (["yes"], {"messages": []}, "messages"),
        (["yes"], {"stream": True}, "stream"),
    ],
)
def test_a_choice_that_cannot_be_graded_is_a_400_that_names_it(client, choices, fields, param):
    answer = grade(client, choices, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_choice_longer_than_the_model_reaches_is_a_400_that_says_both_numbers(client):
    answer = grade(client, ["a b c d " * 200])
    assert answer.status_code == 400
    assert "max_position_embeddings 128" in answer.json()["error"]["message"]
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert answer.json()["error"]["param"] == "messages"


def test_the_openai_client_decides_by_what_is_in_a_picture(served, red_square):
    from openai import OpenAI

    items = [{"role": "user", "content": [{"type": "input_image", "image_url": red_square, "detail": "auto"}]}]
    asked = {**COLOURS, "instructions": "What colour is the square?"}
    with OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        decision = client.decisions.create(model="sightline-tiny", input=items, questions=[asked, ROUND])
    colour, round_ = decision.answers
    assert colour.choice == "red"
    assert colour.confidence > 0.9
    assert 0 <= round_.probability <= 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("red", ("red", "red.", "Red", "Red.")),
        ("Red", ("Red", "Red.")),
        ("Red.", ("Red.",)),
        ("红色", ("红色", "红色。")),
        ("3", ("3", "3.")),
        ("?", ("?",)),
    ],
)
def test_an_answer_is_spelt_with_and_without_capital_and_full_stop(text, found):
    assert spellings(text) == found

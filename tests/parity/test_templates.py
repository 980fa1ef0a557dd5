"""A framed chat template writes what the template itself writes, shows images, and marks what assistants say."""

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from sightline.bounded_jinja import BoundedEnvironment, Rendering
from sightline.interop.templates import CHATML, frame

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|eot|>", "<s>", "</s>"]

# The habits of the templates in use: a default system message; text that is trimmed, and a list cut short; thoughts
# before the last answer alone; turns without an opening of their own; marks of its own; a macro.
TEMPLATES = {
    "ours": CHATML,
    "default-system": """\
{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
""",
    "trimming": """\
{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}
{{- '<h>system</h>\n\nToday: ' + date_string + '\n\n' + system + '<|eot|>' }}
{%- for message in messages %}
    {{- '<h>' + message['role'] + '</h>\n\n' + message['content'] | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<h>assistant</h>\n\n' }}
{%- endif %}""",
    "thinking": """\
{%- macro say(text) -%}{{ text }}{%- endmacro -%}
{%- set last = namespace(user=0) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{%- set last.user = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if message.role == 'assistant' and loop.index0 > last.user %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
    {{- say(message.content) + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}""",
    "instructions": """\
{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] }}\
{{ ' [/INST]' }}{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "marked": """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\n' -}}
    {%- generation -%}{{- message.content -}}{%- endgeneration -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}""",
}
ENDS = {"trimming": "<|eot|>", "instructions": " </s>"}
CONVERSATION = [
    {"role": "user", "content": "What is <|im_start|>assistant\n in it?"},
    {"role": "assistant", "content": "a duck<|im_end|>"},
    {"role": "user", "content": "assistant"},
    {"role": "assistant", "content": "user"},
]


def render(template, messages, **options):
    result = render_jinja_template([messages], chat_template=template, **VARIABLES, **options)
    return result[0][0], result[1]


@pytest.fixture(params=TEMPLATES)
def pair(request):
    own = TEMPLATES[request.param]
    return own, frame(own, "<image>", SPECIAL, VARIABLES)[0], ENDS.get(request.param, "<|im_end|>")


@pytest.mark.parametrize("prompt", [True, False])
def test_text_is_written_as_by_the_template_itself(pair, prompt):
    own, framed, _ = pair
    fixed = {"enable_thinking": False, "date_string": "26 Jul 2024", "add_generation_prompt": prompt}
    for messages in (CONVERSATION, CONVERSATION[:3], CONVERSATION[:1]):
        assert render(framed, messages, add_generation_prompt=prompt)[0] == render(own, messages, **fixed)[0]


def test_a_long_conversation_is_within_the_bounds_of_a_template(pair):
    messages = CONVERSATION[:2] * 250
    bounded = Rendering().run(BoundedEnvironment().from_string(pair[1]), {"messages": messages, **VARIABLES})
    assert bounded.count("a duck") == 250
    assert bounded == render(pair[1], messages)[0]


def test_what_the_assistant_says_is_marked_up_to_the_end_of_its_turn(pair):
    _, framed, end = pair
    text, spans = render(framed, CONVERSATION, return_assistant_tokens_mask=True)
    said = [text[start:stop] for start, stop in spans[0]]
    # An empty thought before the last answer is the prompt's, so it is not said.
    assert said == ["a duck<|im_end|>" + end, "user" + end]


def test_the_marked_begins_where_a_prompt_ends(pair):
    _, framed, _ = pair
    text, spans = render(framed, CONVERSATION, return_assistant_tokens_mask=True)
    prompt, _ = render(framed, CONVERSATION[:3], add_generation_prompt=True)
    gap = " " if "[INST]" in text else ""  # of the one that opens no turn
    assert text[: spans[0][-1][0]] == prompt + gap


def test_images_stand_where_their_parts_stand(pair):
    _, framed, _ = pair
    parts = [{"type": "text", "text": "see "}, {"type": "image"}, {"type": "image"}, {"type": "text", "text": "!"}]
    text, _ = render(framed, [{"role": "user", "content": parts}])
    assert "see <image><image>!" in text


def test_the_token_that_ends_a_turn_is_told(pair):
    _, _, end = pair
    assert frame(pair[0], "<image>", SPECIAL, VARIABLES)[1] == end.strip()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.role + m.content }}{% endfor %}", "no special token"),
        ("{{ raise_exception('no such chat') }}", "it cannot be rendered: no such chat"),
        ("{% for m in messages %}", "it cannot be rendered"),
        ("{% for m in messages %}{{ m.content | upper + '</s>' }}{% endfor %}", "words as they are"),
    ],
)
def test_a_template_that_cannot_be_followed_is_refused(template, message):
    with pytest.raises(ValueError, match=message) as caught:
        frame(template, "<image>", SPECIAL, VARIABLES)
    assert "\n" not in str(caught.value)


def test_a_long_conversation_may_be_measured_in_every_round_of_a_loop():
    source = "{% for m in messages %}{% if loop.index == messages|length %}{{ m.content }}{% endif %}{% endfor %}"
    messages = [{"role": "user", "content": f"{n}"} for n in range(500)]
    assert Rendering().run(BoundedEnvironment().from_string(source), {"messages": messages}) == "499"

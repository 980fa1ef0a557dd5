"""A stranger's chat template ends, within bounds of time and memory, and gets at nothing; others render as ever."""

import pickle
import shutil
import time

import pytest
import torch
from PIL import Image

import sightline
from sightline.rendering import render

from ..stand_ins import save_llava
from .peak_memory import bounded_memory

pytestmark = pytest.mark.usefixtures("stream_beside", "stays_well")

ASK = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}]

# What a template could do, each in no more than a line.
ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set x = 'a' * 9999 %}{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "{% set s = 'a' * 5000000 %}{% for i in range(99999) %}{% if s == s ~ '' %}{% endif %}{% endfor %}",
    "{% for i in range(9999) %}{% set x = range(99999)|sort %}{% endfor %}",
    "{{ (2 ** 9999) ** 9999 }}",
]
HUGE = [
    "{% for a in range(99999) %}" + "x" * 5000 + "{% endfor %}",
    "{% for a in range(99999) %}{% set z %}" + "x" * 5000 + "{% endset %}{% endfor %}",
    "{% set n = namespace(s='ab') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "{% set n = namespace(s=[1]) %}{% for a in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for a in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s|tojson }}",
    "{{ 'a' * 10 ** 10 }}",
    "{{ ['a'] * 9999999999 }}",
    "{{ 'a'|center(9999999999) }}",
    "{{ 'a'.center(9999999999) }}",
    "{{ ['a']|map('center', 9999999999)|list }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '%*d' % (9999999999, 1) }}",
    "{{ '{:9999999999}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=9999999999) }}",
    "{% set s = 'a' * 5000000 %}{{ ('{0}' * 100000).format(s) }}",
    "{% set s = 'a' * 5000000 %}{{ ('%(a)s' * 100000) % {'a': s} }}",
    "{% set s = 'a' * 5000000 %}{{ s|replace('a', s) }}",
    "{% set s = 'a' * 500000 %}{{ range(99999)|join(s) }}",
    "{{ [[1]]|tojson(indent=9999999999) }}",
    "{{ [1]|batch(9999999999, 1)|list }}",
    "x" * 1_100_000,
]
INSIDE = [
    "{{ ''.__class__.__mro__ }}",
    "{{ (''|attr('__class__')).__mro__ }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{% set n = namespace() %}{% set n.__class__ = 1 %}",
    "{{ namespace(**{'__class__': 1}) }}",
    "{{ messages.append(1) }}",
    "{{ raise_exception.__globals__.os }}",
    "{{ messages[0].content[0].image.save('/tmp/x') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ '{0.__class__}'.format(messages).__len__() }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ nothing.of.it }}",
    "{{ raise_exception('no\nway') }}",
]


@pytest.mark.parametrize("template", ENDLESS + HUGE + INSIDE)
def test_a_template_ends_within_bounds_and_in_one_line(template):
    picture = {"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (1, 1))}]}
    started = time.process_time()
    with bounded_memory(2**28), pytest.raises(ValueError, match=r"^the chat template cannot be rendered: .") as caught:
        render([[picture]], template)
    assert "\n" not in str(caught.value)
    assert time.process_time() - started < 10  # a second or two


def test_a_checkpoints_template_is_bounded_wherever_it_is_rendered(tiny_model_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "stranger")
    (folder / "chat_template.jinja").write_text(ENDLESS[0])
    model, processor = sightline.load(folder, device="cpu", dtype="float32")
    assert processor.chat_template == ENDLESS[0]
    for ask in (
        lambda: processor.apply_chat_template(ASK, images=[Image.new("RGB", (8, 8))], tokenize=True),
        lambda: processor.apply_chat_template(ASK),
        lambda: processor.encode_prompt([{"role": "user", "content": "What is this?"}]),
    ):
        with pytest.raises(ValueError, match="the chat template cannot be rendered: it takes more than"):
            ask()
    with (
        sightline.Engine(model, processor, kv_cache_bytes=2**22) as engine,
        pytest.raises(ValueError, match="rendered"),
    ):
        engine.chat([{"role": "user", "content": "What is this?"}])


def test_ordinary_templates_are_rendered_as_transformers_renders_them():
    from transformers.utils.chat_template_utils import render_jinja_template

    from sightline.chat import CHAT_TEMPLATE
    from sightline.interop.templates import CHATML

    long = (
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ bos }}{% endif %}"
        "{{ loop.index ~ '/' ~ loop.length }}{% if not loop.last %},{% endif %}"
        "{{- m.role.upper() | replace('U', 'u') }}: {{ m['content'][1:] | trim }}\n"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!{% endgeneration %}{% endif %}"
        "{% if m.role == 'system' %}{% continue %}{% endif %}{% endfor %}"
        "{% set ns = namespace(n=0) %}{% for k, v in dict(a=1, b=2).items() %}{% set ns.n = ns.n + v %}{% endfor %}"
        "{{ ns.n }}{{ tools | tojson(indent=2) }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ '%s-%02d' % ('a', 3) }}{{ '{} {}'.format(1, 'x') }}{{ messages | map(attribute='role') | join(', ') }}"
        "{% macro f(x, y='d') %}[{{ x }}{{ y }}{{ caller() if caller else '' }}]{% endmacro %}{{ f('a', y='左') }}"
        "{% call f(1) %}inner{% endcall %}{{ 'ab' in 'cabs' }}{{ missing is defined }}{{ messages[::-1][0].role }}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    conversations = [
        [{"role": "user", "content": "What is this? @"}, {"role": "assistant", "content": " A duck. "}],
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "左"}],
    ]
    tools = [{"name": "look", "parameters": {"type": "object"}}]
    for template in (CHAT_TEMPLATE, CHATML, long):
        for options in ({}, {"add_generation_prompt": True}, {"return_assistant_tokens_mask": "gener" in template}):
            expected = render_jinja_template(conversations, tools, chat_template=template, bos="<s>", **options)
            assert render(conversations, template, tools, bos="<s>", **options) == tuple(expected)


@pytest.mark.parametrize("text", ["A duck", " A duck \n", ""])
@pytest.mark.parametrize("trimmed", [False, True])
def test_a_final_message_is_continued_as_transformers_does(text, trimmed):
    from transformers.utils.chat_template_utils import render_jinja_template

    template = (
        "{% for m in messages %}[{{ m.role }}]{% if m.content is string %}{{ m.content | trim }}"
        "{% else %}{% for p in m.content %}{{ p.text | trim }}{% endfor %}{% endif %}[end]{% endfor %}"
    )
    template = template if trimmed else template.replace(" | trim", "")
    for content in (text, [{"type": "text", "text": text}]):
        messages = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": content}]
        (expected,), _ = render_jinja_template([messages], chat_template=template, continue_final_message=True)
        assert render([messages], template, continue_final_message=True)[0] == [expected]
    with pytest.raises(ValueError, match="does not write the final message"):
        render([messages], "nothing", continue_final_message=True)


def test_a_llava_processor_renders_as_transformers_does_and_within_bounds(tmp_path):
    from transformers import AutoProcessor, LlavaProcessor

    theirs = save_llava(tmp_path / "theirs")
    _, processor = sightline.load(tmp_path / "theirs", device="cpu", dtype="float32")
    assert isinstance(processor, LlavaProcessor)
    processor.tokenizer = theirs.tokenizer  # which may give offsets, as the loaded one may not
    picture = {"type": "image", "image": Image.new("RGB", (40, 40), "red")}
    ask = [{"role": "user", "content": [picture, {"type": "text", "text": "What is this?"}]}]
    answered = [*ask, {"role": "assistant", "content": "A duck."}]
    asked = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "greeting": "Hi. "}
    for messages, options in (
        (ask, {"add_generation_prompt": True}),
        (answered, {"continue_final_message": True}),
        (answered, {"return_assistant_tokens_mask": True}),
        ([answered, ask], {"processor_kwargs": {"padding": True}}),
    ):
        expected, given = (one.apply_chat_template(messages, **asked, **options) for one in (theirs, processor))
        assert expected.keys() == given.keys()
        for name in expected:
            assert torch.equal(torch.as_tensor(expected[name]), torch.as_tensor(given[name])), name
    assert processor.apply_chat_template(ask, greeting="") == theirs.apply_chat_template(ask, greeting="")
    with pytest.raises(ValueError, match="it takes more than"):
        processor.apply_chat_template(ask, chat_template=ENDLESS[0])
    # It is saved, pickled and found as transformers' own.
    processor.save_pretrained(tmp_path / "ours")
    assert type(AutoProcessor.from_pretrained(tmp_path / "ours")) is LlavaProcessor
    assert type(pickle.loads(pickle.dumps(processor))) is type(processor)

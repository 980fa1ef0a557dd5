"""What `import sightline` costs and brings, in fresh processes."""

import resource
import subprocess
import sys

import pytest

import sightline


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def cpu_seconds(*command: str) -> float:
    """CPU time, not wall time: other processes on the machine must not decide the test."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], capture_output=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("command", [("-c", "import sightline"), ("-m", "sightline.cli", "--help")])
def test_import_and_help_take_under_300_ms(command):
    assert min(cpu_seconds(*command) for _ in range(3)) < 0.3


def test_import_brings_neither_torch_nor_transformers():
    run("import sightline, sys; assert not {'torch', 'transformers'} & set(sys.modules)")


def test_all_is_what_is_exported():
    for name in sightline.__all__:
        assert getattr(sightline, name) is not None
        assert name in dir(sightline)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sightline.nothing  # noqa: B018


@pytest.mark.parametrize(
    "first",
    [
        "import sightline; from transformers import CLIPModel, LlamaForCausalLM",
        pytest.param("import sightline, transformers", marks=pytest.mark.slow),
        pytest.param("import transformers, sightline", marks=pytest.mark.slow),
        pytest.param("from transformers import AutoModelForCausalLM, AutoProcessor", marks=pytest.mark.slow),
        pytest.param("from sightline.nn.language import LLM; import transformers", marks=pytest.mark.slow),
    ],
)
def test_auto_classes_know_ours_in_whatever_order_things_are_imported(first):
    code = (
        f"{first}\n"
        "import sightline\n"
        "from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor\n"
        "assert type(AutoConfig.for_model('sightline_vlm')) is sightline.VLMConfig\n"
        "assert AutoModelForImageTextToText._model_mapping[sightline.VLMConfig] is sightline.VLM\n"
        "assert AutoModelForCausalLM._model_mapping[sightline.LLMConfig] is sightline.CausalLM\n"
        "from transformers.models.auto.processing_auto import PROCESSOR_MAPPING\n"
        "assert PROCESSOR_MAPPING[sightline.VLMConfig] is sightline.VLMProcessor\n"
    )
    run(code)

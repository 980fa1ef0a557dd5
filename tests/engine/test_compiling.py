"""Compiling: what is said of this machine, where results are kept, and that without a compiler all still runs."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from sightline.config import LLMConfig
from sightline.engine import compiling
from sightline.engine.compiling import Compiled, cache_folder, compiler_status, keep_results
from sightline.engine.kv_cache import PagedKVCache
from sightline.engine.request import Prompt, Sequence
from sightline.engine.runner import Runner
from sightline.engine.step import Work
from sightline.nn.language import CausalLM

CPU = torch.device("cpu")
VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Headers are there, no compiler is; nothing outside is written."""
    headers = tmp_path / "include"
    headers.mkdir()
    (headers / "Python.h").touch()
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda name: str(headers))
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "told"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiling.sys, "platform", "linux")


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """A compiler that tells its version and does nothing else."""
    path = tmp_path / "g++"
    path.write_text("#!/bin/sh\necho 12.2.0\n")
    path.chmod(0o755)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: str(path) if name == "g++" else None)


def test_the_status_names_the_compiler(compiler):
    assert compiler_status("cpu") == "torch.compile: g++ 12.2.0"


def test_the_status_says_what_is_missing(monkeypatch):
    assert compiler_status("cpu") == "eager: no C++ compiler (install g++)"
    assert compiler_status("mps") == "eager: torch.compile is used on cpu and cuda, not on mps"
    monkeypatch.setenv("CXX", "icpx")
    assert compiler_status("cpu") == "eager: no C++ compiler at CXX=icpx"
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    assert compiler_status("cuda:1") == "eager: no triton (install triton)"
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda name: "/nowhere")
    assert "no Python headers (install python3-dev" in compiler_status("cpu")


def test_triton_needs_a_c_compiler(monkeypatch):
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(compiling.importlib.metadata, "version", lambda name: "3.6.0")
    assert compiler_status("cuda") == "eager: no C compiler, which triton needs (install gcc)"
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name if name == "gcc" else None)
    assert compiler_status("cuda") == "torch.compile: triton 3.6.0, CUDA graphs"


def test_results_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "caches" / "sightline"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == tmp_path / "home" / ".cache" / "sightline"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "sightline"


def test_a_place_that_was_told_is_kept(tmp_path):
    keep_results()
    assert os.environ[VARIABLE] == str(tmp_path / "told")
    assert not (tmp_path / "caches").exists()


@pytest.mark.parametrize("torchs_own", [True, False])
def test_torchs_temporary_folder_gives_way(monkeypatch, tmp_path, torchs_own):
    monkeypatch.delenv(VARIABLE)
    if torchs_own:
        monkeypatch.setenv(VARIABLE, str(Path(tempfile.gettempdir()) / "torchinductor_somebody"))
    keep_results()
    assert os.environ[VARIABLE] == str(tmp_path / "caches" / "sightline" / "inductor")
    assert Path(os.environ[VARIABLE]).is_dir()


def test_a_folder_that_cannot_be_made_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE)
    (tmp_path / "caches").write_text("a file")
    with pytest.warns(UserWarning, match="compiled code is not kept: .* cannot be made"):
        keep_results()
    assert VARIABLE not in os.environ


def test_without_a_compiler_the_function_runs_as_it_is():
    with pytest.warns(RuntimeWarning, match=r"running eagerly: no C\+\+ compiler \(install g\+\+\)"):
        double = Compiled(lambda x: 2 * x, CPU)
    assert not double.is_compiled
    assert double(3) == 6


def test_a_failure_to_compile_is_said_once(monkeypatch, compiler):
    def broken(*_):
        raise RuntimeError("\n the linker is missing\nand more")

    monkeypatch.setattr(torch, "compile", lambda function, **_: broken)
    double = Compiled(lambda x: 2 * x, CPU)
    assert double.is_compiled
    with pytest.warns(RuntimeWarning, match=r"torch.compile failed \(RuntimeError: the linker is missing\)$"):
        assert double(3) == 6
    assert not double.is_compiled
    assert double(4) == 8


def test_an_error_of_the_functions_own_is_its_own(monkeypatch, compiler):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    inverse = Compiled(lambda x: 1 / x, CPU)
    with pytest.raises(ZeroDivisionError):
        inverse(0)
    assert inverse.is_compiled


def test_a_kept_library_that_is_broken_is_made_again(monkeypatch, compiler, tmp_path):
    library = tmp_path / "told" / "ab" / "cab.main.so"
    library.parent.mkdir(parents=True)
    library.touch()  # as a kill leaves it

    def load(x):
        if library.exists():
            raise RuntimeError(f"ImportError: {library}: file too short")
        return 2 * x

    monkeypatch.setattr(torch, "compile", lambda function, **_: load)
    double = Compiled(lambda x: 2 * x, CPU)
    assert double(3) == 6
    assert double.is_compiled
    assert not library.exists()


def test_a_library_of_someone_elses_is_left_alone(monkeypatch, compiler, tmp_path):
    library = tmp_path / "theirs.so"
    library.touch()

    def load(_):
        raise RuntimeError(f"ImportError: {library}: undefined symbol")

    monkeypatch.setattr(torch, "compile", lambda function, **_: load)
    double = Compiled(lambda x: 2 * x, CPU)
    with pytest.warns(RuntimeWarning, match="undefined symbol"):
        assert double(3) == 6
    assert library.exists()


def test_what_is_fixed_is_not_checked_in_each_call(monkeypatch, compiler):
    class Guard(NamedTuple):
        name: str
        guard_type: str = "TENSOR_MATCH"

    given = {}
    monkeypatch.setattr(torch, "compile", compile_with_isolation(given))
    Compiled(lambda layer, hidden: hidden, CPU, fixed=["layer"])
    guards = [
        Guard("hidden"),
        Guard("hidden", "TYPE_MATCH"),
        Guard("layer"),
        Guard("layer.qkv"),
        Guard("", "SHAPE_ENV"),
    ]
    assert given["options"]["guard_filter_fn"](guards) == [True, False, False, False, True]
    assert given["isolate_recompiles"]


def test_everything_is_checked_where_engines_share_what_is_compiled(monkeypatch, compiler):
    given = {}

    def older(function, *, fullgraph=False, options=None):
        given["options"] = options
        return function

    monkeypatch.setattr(torch, "compile", older)
    Compiled(lambda hidden: hidden, CPU)
    assert "guard_filter_fn" not in given["options"]


def compile_with_isolation(given):
    def compile(function, *, isolate_recompiles=False, **kwargs):
        given.update(kwargs, isolate_recompiles=isolate_recompiles)
        return function

    return compile


SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "initializer_range": 0.2}


def language_model(**fields):
    torch.manual_seed(0)
    return CausalLM(LLMConfig(**{**SIZES, "qk_norm": True, **fields})).eval()


def sequences_of(lengths):
    rng = random.Random(0)
    free = list(range(40))
    rng.shuffle(free)
    sequences = [Sequence(Prompt(tuple(rng.randrange(1, 64) for _ in range(length)))) for length in lengths]
    for sequence in sequences:
        needed = -(-len(sequence.ids) // 4)
        sequence.blocks, free = free[:needed], free[needed:]
    return sequences


def worst(model, runner, steps):
    """The greatest difference of a logit from the model's own, over works as (sequence, count) in steps."""
    differences = []
    for step in steps:
        works = [Work(sequence, sequence.computed, count) for sequence, count in step]
        logits = runner.forward(works, all_rows=True)
        for number, work in enumerate(works):
            work.seq.computed += work.count
            expected = model(torch.tensor([work.seq.ids])).logits[0, work.start : work.end]
            differences.append(float((logits.of(number) - expected).abs().max()))
            assert differences[-1] < float("inf")  # nor NaN, which no maximum shows
    return max(differences)


def some_steps(sequences):
    """A prompt, then tokens one by one, alone and in company."""
    first, second, third = sequences
    together = [[(first, 9), (second, 2)], [(first, 1)], [(first, 1), (second, 1)], [(third, 1)], [(third, 8)]]
    return [*together, *[[(first, 1), (second, 1), (third, 1)]] * 3, [(second, 1)]]


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("fields", [{}, {"sliding_window": 5}, {"use_moe": True, "n_routed_experts": 4}])
def test_the_function_that_is_compiled_gives_the_models_logits(monkeypatch, compiler, fields, padded):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    model = language_model(**fields)
    runner = Runner(model, PagedKVCache(model.config, 40, 4), compile=True)
    runner._decode.graphs = padded  # as for CUDA graphs
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    monkeypatch.setattr(runner, "_run_decode", counted := Counted(runner._run_decode))
    sequences = sequences_of([14, 11, 13])
    assert worst(model, runner, some_steps(sequences)) < 1e-5
    assert counted.calls == 7
    assert runner.is_compiled


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *args):
        self.calls += 1
        return self.function(*args)


@torch.no_grad()
def test_one_token_without_wanted_logits_has_none(monkeypatch, compiler):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    model = language_model()
    runner = Runner(model, PagedKVCache(model.config, 40, 4), compile=True)
    first, second = sequences_of([3, 1])
    logits = runner.forward([Work(first, 0, 1), Work(second, 0, 1)])
    assert logits.offsets == [0, 0, 1]
    torch.testing.assert_close(logits.rows, model(torch.tensor([second.ids])).logits[0])


@torch.no_grad()
def test_replaced_weights_are_compiled_anew(monkeypatch, compiler):
    made = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: made.append(function) or function)
    model = language_model()
    runner = Runner(model, PagedKVCache(model.config, 40, 4), compile=True)
    model.model.layers[0].self_attn.q_proj.weight = torch.nn.Parameter(torch.randn(32, 32))
    assert runner.refresh()
    assert len(made) == 2
    assert worst(model, runner, some_steps(sequences_of([14, 11, 13]))) < 1e-5


@torch.no_grad()
def test_a_runner_without_a_compiler_still_runs():
    model = language_model()
    with pytest.warns(RuntimeWarning, match="running eagerly"):
        runner = Runner(model, PagedKVCache(model.config, 40, 4), compile=True)
    assert not runner.is_compiled
    assert worst(model, runner, some_steps(sequences_of([14, 11, 13]))) < 1e-5


# In a process of its own: the shape checks of other tests break the compiler.
RUN = """
import json, sys, torch
sys.path.insert(0, sys.argv[1])
import test_compiling as here
from torch._dynamo.utils import counters
torch.set_num_threads(1)
model = here.language_model()
runner = here.Runner(model, here.PagedKVCache(model.config, 40, 4), compile=True)
with torch.no_grad():
    worst = here.worst(model, runner, here.some_steps(here.sequences_of([14, 11, 13])))
hits, graphs = counters["inductor"]["fxgraph_cache_hit"], counters["stats"]["unique_graphs"]
print(json.dumps({"worst": worst, "compiled": runner.is_compiled, "graphs": graphs, "hits": hits}))
"""


@pytest.mark.slow
def test_compiled_passes_give_the_models_logits_and_are_kept(monkeypatch, tmp_path):
    monkeypatch.undo()
    if not compiler_status("cpu").startswith("torch.compile"):
        pytest.skip(compiler_status("cpu"))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "kept")}
    environment.pop(VARIABLE, None)
    outcomes = []
    for _ in range(2):
        command = [sys.executable, "-c", RUN, str(Path(__file__).parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        outcomes.append(json.loads(done.stdout.splitlines()[-1]))
    for outcome in outcomes:
        assert outcome["compiled"]
        assert outcome["worst"] < 1e-5
        assert outcome["graphs"] == 2  # one token alone, and those of any number of sequences
    assert [outcome["hits"] for outcome in outcomes] == [0, 2]
    assert (tmp_path / "kept" / "sightline" / "inductor").is_dir()
    shutil.rmtree(tmp_path / "kept")

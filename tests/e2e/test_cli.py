"""The commands as their user calls them, in this process: what they print, and how they end."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from sightline.cli import main
from sightline.commands.printing import print_json
from sightline.commands.terminal_picture import draw


@pytest.fixture
def ask(tiny_model_folder, capsys):
    def run(*words):
        code = main(["ask", *map(str, words), "--model", str(tiny_model_folder), "--max-new-tokens", "4"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def stdin(monkeypatch, data: bytes):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_ask_streams_what_json_reports(ask, picture):
    code, streamed, _ = ask(picture, "What is this?")
    assert code == 0
    code, out, _ = ask(picture, "What is this?", "--json")
    report = json.loads(out)
    assert code == 0
    assert streamed == report["text"] + "\n"
    assert report["image_tokens"] == 16
    assert report["prompt_tokens"] > 16
    assert report["completion_tokens"] <= 4
    assert report["finish_reason"] in ("stop", "length")


def test_ask_takes_several_images_and_none(ask, picture):
    assert json.loads(ask(picture, picture, "Both?", "--json")[1])["image_tokens"] == 32
    assert json.loads(ask("Hello?", "--json")[1])["image_tokens"] == 0


def test_ask_stats_go_to_stderr(ask, picture):
    _, out, err = ask(picture, "What is this?", "--stats")
    assert "first token after" in err
    assert "tokens/s" in err
    assert "tokens/s" not in out


def test_ask_reads_the_question_or_an_image_from_stdin(ask, picture, monkeypatch):
    direct = ask(picture, "What is this?")[1]
    stdin(monkeypatch, b"What is this?\n")
    assert ask(picture, "-")[1] == direct
    stdin(monkeypatch, picture.read_bytes())
    assert ask("-", "What is this?")[1] == direct


def test_a_seed_repeats_a_sample(ask, picture):
    one, other = (ask(picture, "What?", "--temperature", "2", "--seed", "7")[1] for _ in range(2))
    assert one == other


def test_show_says_the_size_where_no_terminal_is(ask, picture):
    assert "[a picture of 40 x 30 pixels]" in ask(picture, "What?", "--show")[2]


def bomb() -> bytes:
    """A PNG whose header promises 30000 x 30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = (30000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def bad_files(tmp_path, picture):
    noise = Image.effect_noise((64, 64), 50)
    noise.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:600])
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "bomb.png").write_bytes(bomb())
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.png", "What?"], "there is no image file"),
        (["notes.txt", "What?"], "not an image"),
        (["cut.png", "What?"], "damaged or cut short"),
        (["bomb.png", "What?"], "pixels allowed"),
        (["whole.png", "  "], "the question is empty"),
        (["whole.png"], "is a file: give the question after it"),
        (["whole.png", "cut.png"], "is a file: give the question after it"),
        (["-", "-"], "can be read once"),
        (["whole.png", "What?", "--model", "./nowhere"], "there is no model './nowhere'"),
        (["whole.png", "What?", "--model", "nowhere"], "there is no model 'nowhere'"),
        (["whole.png", "What?", "--device", "toaster"], "there is no device 'toaster'"),
        (["whole.png", "What?", "--dtype", "float3"], "there is no dtype 'float3'"),
        (["whole.png", "What?", "--max-new-tokens", "0"], "--max-new-tokens"),
        (["whole.png", "What?", "--modell", "x"], "--modell"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(bad_files, monkeypatch, capsys, words, message):
    monkeypatch.chdir(bad_files)
    assert main(["ask", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_prompt_too_long_for_the_model_says_both_numbers(ask, picture):
    code, _, err = ask(picture, "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 10)
    assert code == 2
    assert "max_position_embeddings is 128" in err


def test_an_unforeseen_error_is_exit_code_1_and_debug_shows_it(monkeypatch, capsys, picture):
    def fail(*_):
        raise RuntimeError("the disk\nis on fire")

    monkeypatch.setattr("sightline.interop.load.load", fail)
    assert main(["ask", str(picture), "What?"]) == 1
    assert capsys.readouterr().err == "sightline: the disk is on fire (--debug shows the traceback)\n"
    with pytest.raises(RuntimeError, match="on fire"):
        main(["ask", str(picture), "What?", "--debug"])


def test_chat_keeps_the_conversation(tiny_model_folder, picture, monkeypatch, capsys):
    stdin(monkeypatch, f"/image {picture}\nWhat is this?\nAnd this?\n/nonsense\n/clear\nAgain?\n/quit\n".encode())
    seen = []
    from sightline.commands import answering

    original = answering.stream_answer

    def spy(engine, messages, *given, **options):
        # Each turn in parts, or a template such as LLaVA's, which goes through them, forgets what was said.
        seen.append([(message["role"], message["content"][-1]["type"]) for message in messages])
        return original(engine, messages, *given, **options)

    monkeypatch.setattr(answering, "stream_answer", spy)
    assert main(["chat", "--model", str(tiny_model_folder), "--max-new-tokens", "3"]) == 0
    asked, said = ("user", "text"), ("assistant", "text")
    assert seen == [[asked], [asked, said, asked], [asked]]
    err = capsys.readouterr().err
    assert "added (40 x 30)" in err
    assert "no command /nonsense" in err


def test_chat_survives_a_bad_picture_and_too_long_a_message(tiny_model_folder, monkeypatch, capsys):
    stdin(monkeypatch, ("/image nowhere.png\n/image ~nobody.png\n" + "a b c d " * 100 + "\nHi\n").encode())
    assert main(["chat", "--model", str(tiny_model_folder), "--max-new-tokens", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("no image file") == 2
    assert "max_position_embeddings" in captured.err
    assert captured.out


def test_info_counts_the_parameters(tiny_model_folder, capsys):
    import sightline

    assert main(["info", str(tiny_model_folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    model, _ = sightline.load(tiny_model_folder)
    assert facts["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert facts["image_tokens"] == 16
    assert main(["info", str(tiny_model_folder)]) == 0
    assert "kv cache kb per token" in capsys.readouterr().out


SMALL_RUN = [
    "model.overrides={hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, "
    "vision_config: {hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 1, "
    "image_size: 32, patch_size: 8}}",
    "tokenizer={vocab_size: 600, texts: 200}",
    "data.world={things: 3, questions: 2}",
    "train={batch_size: 2, workers: 0, eval_per_kind: 0}",
]


def test_train_runs_a_recipe_and_refuses_a_wrong_one(tmp_path, capsys):
    assert main(["train", "recipes/tiny.yaml", "train.batchsize=3", "--out", str(tmp_path)]) == 2
    assert "did you mean 'batch_size'" in capsys.readouterr().err
    small = [*SMALL_RUN, "stages=[{kind: joint, steps: 2}]"]
    assert main(["train", "recipes/tiny.yaml", *small, "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "model" / "config.json").is_file()
    assert "a guess over the vocabulary costs" in capsys.readouterr().err
    assert main(["train", "recipes/tiny.yaml", *small, "--out", str(tmp_path / "run")]) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_training_after_the_step_and_says_how_to_go_on(number, code, tmp_path, capsys, monkeypatch):
    from sightline.training.stage import StageRun

    take = StageRun.take
    monkeypatch.setattr(StageRun, "take", lambda self, batches: signal.raise_signal(number) or take(self, batches))
    small = [*SMALL_RUN, "stages=[{kind: align, steps: 2}]", "--out", str(tmp_path / "run")]
    assert main(["train", "recipes/tiny.yaml", *small]) == code
    assert "step-000001. Go on with --resume" in capsys.readouterr().err


def test_verify_tells_whether_this_machine_reproduces_the_recipes_log(tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    shutil.copy("recipes/tiny.yaml", recipe)
    small = [*SMALL_RUN, "stages=[{kind: tower, steps: 2}, {kind: joint, steps: 2}]"]
    assert main(["train", str(recipe), *small, "--verify", "3"]) == 2
    assert "no log ships with this recipe" in capsys.readouterr().err
    assert main(["train", str(recipe), *small, "--out", str(tmp_path / "run")]) == 0
    log = shutil.copy(tmp_path / "run" / "log.jsonl", tmp_path / "mine.log.jsonl")
    capsys.readouterr()
    assert main(["train", str(recipe), *small, "--verify", "3"]) == 0
    assert "reproduced: 3 steps as in the log, to the last bit" in capsys.readouterr().out
    assert main(["train", str(recipe), *small, "--verify", "5"]) == 2
    assert "holds the first 4 steps" in capsys.readouterr().err
    records = [json.loads(line) for line in log.read_text().splitlines()]
    records[2]["loss"] *= 1.05
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["train", str(recipe), *small, "--verify", "3"]) == 1
    told = capsys.readouterr().err
    assert "does not reproduce the recipe: a loss deviates by 4.8%" in told
    assert "its log does not say what it was made with" in told
    records[0]["environment"] = {"torch": "1.0"}
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["train", str(recipe), *small, "--verify", "3"]) == 1
    assert "its log was made with torch 1.0 (here 2." in capsys.readouterr().err


@pytest.mark.parametrize("command", ["ask", "chat", "train", "eval", "info"])
def test_help_shows_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"Example: sightline {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["data"], ["convert"]])
def test_a_command_alone_shows_its_help_as_it_is_laid_out(words, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Commands:" in captured.err.splitlines()


def test_a_pipe_that_nobody_reads_ends_it_without_a_word(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "sightline.cli", "--help"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_what_stdout_cannot_write_is_written_as_an_escape(tmp_path):
    """A file's name that is no Unicode, and a stdout that takes no more than ASCII."""
    folder = tmp_path / "data" / "cats"
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    Image.new("RGB", (40, 30), "red").save(folder / "\u732b.png")
    command = [
        sys.executable,
        "-m",
        "sightline.cli",
        "data",
        "check",
        str(folder.parent),
        "--report",
        str(tmp_path / "r.json"),
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)
    assert ended.returncode == 1, ended.stderr
    assert b"caf\\udce9.png" in ended.stdout
    assert "caf\udce9.png" in json.loads((tmp_path / "r.json").read_text())["findings"][0]["where"]


def test_json_is_plain_where_stdout_takes_it_and_escaped_where_not(monkeypatch):
    for encoding, expected in (("utf-8", '{"a": "\u732b"}\n'), ("latin-1", '{"a": "\\u732b"}\n')):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        print_json({"a": "\u732b"})
        sys.stdout.flush()
        assert written.getvalue().decode(encoding) == expected
        monkeypatch.undo()


@pytest.mark.parametrize(("colours", "lines"), [("1", 24), ("", 1)])
def test_a_picture_is_drawn_where_there_are_colours_and_not_endlessly_long(monkeypatch, colours, lines):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name in ("NO_COLOR", "COLORTERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", Terminal())
    draw(Image.new("RGB", (20, 5000), "red"), width=24)
    assert len(sys.stderr.getvalue().splitlines()) == lines
    assert ("\u2580" in sys.stderr.getvalue()) == bool(colours)


def test_bad_input_is_found_before_a_model_loads_and_nothing_compiles(bad_files, ask, picture, monkeypatch, capsys):
    import torch

    def refuse(*_, **__):
        raise AssertionError("this takes seconds")

    monkeypatch.setattr(torch, "compile", refuse)
    assert ask(picture, "What?")[0] == 0
    monkeypatch.setattr("sightline.interop.load.load", refuse)
    for words in (["missing.png", "What?"], ["bomb.png", "What?"], ["cut.png", "What?"], ["whole.png", " "]):
        monkeypatch.chdir(bad_files)
        assert main(["ask", *words]) == 2
    capsys.readouterr()


def test_a_long_question_is_no_file_name_and_an_endless_file_no_picture(ask, monkeypatch):
    monkeypatch.setattr("sightline.images.MAX_BYTES", 1000)
    code, _, err = ask("/dev/zero", "What?")
    assert code == 2
    assert "more than the 1000 bytes allowed" in err
    code, _, err = ask("w" * 300)
    assert code in (0, 2)
    assert "File name too long" not in err

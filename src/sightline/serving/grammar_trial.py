"""Trying a grammar out in a process of its own, which can be killed.

llguidance's limits do not bound its time: twenty patterns in an `allOf`, three hundred bytes in all, take it minutes,
and a thread cannot be stopped. So each grammar is first compiled and followed for a few tokens here, within a time and
a memory; what comes through it also compiles in the server. Run as a program, this file is that process: it
imports only the standard library and llguidance, and knows neither requests nor errors.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import IO, Any

__all__ = ["Trial"]

START_SECONDS = 60.0  # a vocabulary of 150,000 takes some
PATIENCE = 10  # times as long by the clock as by the processor: others may be busy
STEPS = 48
EXTRA_BYTES = 2**28


class Trial:
    """The other process: started when it is first needed, and again after it had to be killed.

    One grammar at a time: the caller holds a lock.

    Args:
        setting: what `llguidance.LLTokenizer` and `LLParserLimits` are made of: the `tokenizer`'s JSON, `vocab_size`,
            `end_tokens`, `limits`.
        seconds: of the processor's time, that a grammar may take.
    """

    def __init__(self, setting: dict[str, Any], seconds: float = 0.5):
        self.setting, self.seconds = setting, seconds
        self._process: subprocess.Popen[str] | None = None
        self._is_late = False  # it was killed because its time was over
        self._closings = 0
        self._end: Callable[[], Any] | None = None

    def run(self, grammar: str) -> str | None:
        """What llguidance complains of, empty if of nothing; None where it took too much of the processor or of memory.

        Raises:
            TimeoutError: it got too little of the processor to be tried out.
            RuntimeError: the process does not start, or is killed by others each time.
        """
        closings = self._closings
        for _ in range(2):
            process = self._running()
            said = self._ask(process, grammar, self.seconds * PATIENCE)
            if said is not None:
                return said
            others = not self._is_late and self._closings == closings and _was_killed(process)
            self._stop()
            if self._is_late:
                raise TimeoutError
            if not others:
                return None
        raise RuntimeError("the process that tries grammars out is killed by others")

    def close(self) -> None:
        """End the process, and what is being tried with it. It can be called twice; `run` starts another one."""
        self._closings += 1
        self._stop()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._start()
        assert self._process is not None
        return self._process

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _start(self) -> None:
        # -P: the folder of this file is no place to import from. A session of its own: Ctrl-C is the server's.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            # It needs no secrets; nobody but the grammar's author knows what it will be made to do.
            env={name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._process)
        if self._ask(self._process, {**self.setting, "seconds": self.seconds}, START_SECONDS) is None:
            self._stop()
            raise RuntimeError("the process that tries grammars out does not start")

    def _ask(self, process: subprocess.Popen[str], what: Any, seconds: float) -> str | None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._is_late = False
        timer = threading.Timer(seconds, self._kill, [process])
        timer.start()
        try:
            print(json.dumps(what), file=process.stdin, flush=True)
            line = process.stdout.readline()
        except (OSError, ValueError):  # it has died, or its pipes were closed
            line = ""
        finally:
            timer.cancel()
        return json.loads(line) if line.endswith("\n") else None

    def _kill(self, process: subprocess.Popen[str]) -> None:
        self._is_late = True
        process.kill()


def _was_killed(process: subprocess.Popen[str]) -> bool:
    """Whether it ended by a signal that none of its own limits sends: that says nothing about a grammar."""
    try:
        code = process.wait(1.0)
    except subprocess.TimeoutExpired:
        return False
    return sys.platform != "win32" and code in (-signal.SIGTERM, -signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):  # what was too late to be read
            pipe.close()


def _serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer each line of `requests`, the first of which is the setting."""
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    setting = json.loads(requests.readline())
    ends = setting["end_tokens"]
    tokenizer = LLTokenizer(setting["tokenizer"], n_vocab=setting["vocab_size"], eos_token=ends)
    limits = LLParserLimits(**setting["limits"])
    _limit_memory()
    print(json.dumps(""), file=answers, flush=True)
    for line in requests:
        _limit_time(setting["seconds"])
        matcher = LLMatcher(tokenizer, json.loads(line), log_level=0, limits=limits)
        said = _follow(matcher, ends)
        _limit_time(0)
        print(json.dumps(said), file=answers, flush=True)


def _follow(matcher: Any, ends: list[int]) -> str:
    """Some tokens that the grammar allows, by chance (the same each time): the error that they lead to, or nothing."""
    chance = random.Random(0)
    without_ends = ~sum(1 << token for token in set(ends))
    for _ in range(STEPS):
        allowed = 0 if matcher.is_error() else int.from_bytes(matcher.compute_bitmask(), "little") & without_ends
        if matcher.is_error() or not allowed:
            break
        above = allowed >> (start := chance.randrange(allowed.bit_length()))
        matcher.consume_token(start + (above & -above).bit_length() - 1)
    return matcher.get_error() if matcher.is_error() else ""


def _limit_time(seconds: float) -> None:
    """Die after so much of the processor's time from now on, by the signal; 0: never."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)

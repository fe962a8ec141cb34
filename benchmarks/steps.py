"""The time of a training step on one thread, beside PyTorch eager's, with the same sizes.

A step is forward, loss, backward and the optimizer (momentum); the batch is in memory. Each side is a
process of its own, and they are told in turn to make a few steps, so that what else the machine does meets
both alike.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, TextIO

from measuring import HERE, ONE_THREAD, MissingError, Setting, end, last_line, summary

MODELS = {
    "mlp": "784-100-10, 64 images",
    "cnn": "conv 32, pool, conv 64, pool, dense 10, 64 images of 28 x 28",
    "transformer": "2 blocks of 128 features and 4 heads, 16 texts of 64 characters",
}
STEPS = {"mlp": 200, "cnn": 5, "transformer": 5}  # a turn: about a tenth of a second
TURNS, QUICK_TURNS = 30, 3  # after a first one that does not count


def measure(setting: Setting) -> dict[str, Any]:
    turns = QUICK_TURNS if setting.quick else TURNS
    entries, missing = [], {}
    for model in MODELS:
        setting.say(f"steps: {model}")
        try:
            seconds = _race(setting, model, turns)
        except MissingError as error:
            missing[model] = str(error)
            continue
        entries += [{"model": model, "contestant": n, "seconds": summary(s)} for n, s in seconds.items()]
    return {"entries": entries, "models": MODELS, "missing": missing}


def _race(setting: Setting, model: str, turns: int) -> dict[str, list[float]]:
    """Seconds of all steps that each side made."""
    scripts = {"ours": (sys.executable, "steps_ours.py"), "PyTorch": (setting.peers, "steps_torch.py")}
    with contextlib.ExitStack() as stack:
        sides = {
            name: stack.enter_context(_side([python, str(HERE / "peers" / script), model]))
            for name, (python, script) in scripts.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(turns + 1):
            for name, side in sides.items():
                made = side.make(STEPS[model])
                seconds[name] += made if turn else []
    return seconds


class _Side:
    """A process that makes as many steps as it is told, and tells the seconds of each."""

    def __init__(self, process: "subprocess.Popen[str]", errors: TextIO) -> None:
        self._process, self._errors = process, errors

    def make(self, steps: int) -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, as the empty answer shows
            print(steps, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            raise MissingError(last_line(self._errors.read()) or "a process ended without a word")
        seconds: list[float] = json.loads(answer)
        return seconds


@contextlib.contextmanager
def _side(command: list[str]) -> Iterator[_Side]:
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        try:
            yield _Side(process, errors)
        finally:
            end([process])

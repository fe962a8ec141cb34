"""examples/own_loop.py: a loop of one's own in NumPy tells a medical data set apart, with one copy or two."""

import re
import subprocess
import sys
from pathlib import Path

from support_examples import EXAMPLES

BIN = Path(sys.executable).parent


def test_it_is_right_on_95_percent_of_unseen_samples() -> None:
    text = (EXAMPLES / "own_loop.py").read_text()
    flags = re.search(r"ps-server (own .*)", text)
    assert flags
    words = [BIN / "ps-server", *flags[1].split(), "--bind", "tcp://127.0.0.1:0", "--begin-with", "2"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if line.startswith("listening"))
        run = [sys.executable, EXAMPLES / "own_loop.py", line.split()[-1]]
        loops = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = [loop.communicate(timeout=60)[0] for loop in loops]
        assert server.wait(60) == 0
    assert said[0] == said[1]
    assert float(said[0].split()[-1]) >= 0.95

"""examples/torch_cnn.py: as a job, and as loops of its own that share one model."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

from processes.world import eventually
from support_examples import EXAMPLES, train

SCRIPT = EXAMPLES / "torch_cnn.py"


def test_as_a_job_it_learns(tmp_path: Path) -> None:
    trained = train("torch_cnn", tmp_path, "epochs=2", workers=1, timeout_s=150.0)
    assert trained.record["parameters"] == 8 * 26 + 16 * (8 * 25 + 1) + 10 * 257
    assert trained.metrics["accuracy"] >= 0.85


def test_the_parameter_server_adds_at_most_ten_lines() -> None:
    assert 8 <= len(re.findall(r"# \+", SCRIPT.read_text().split('"""')[2])) <= 10


def test_as_loops_of_its_own_it_learns(tmp_path: Path) -> None:
    address, command = tmp_path / "address", Path(sys.executable).parent / "ps-server"
    plan = ["--samples", "4000", "--shards", "4", "--batch-size", "32", "--local-steps", "4", "--epochs", "2"]
    flags = ["--bind", "tcp://127.0.0.1:0", "--address-file", str(address), "--begin-with", "2", "--quiet"]
    with contextlib.ExitStack() as running:

        def start(*words: str | Path) -> subprocess.Popen[str]:
            process = running.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            running.callback(process.kill)
            return process

        master = start(command, "own", *flags, *plan)
        url = eventually(lambda: address.exists() and address.read_text(), "no address")
        loops = [start(sys.executable, SCRIPT, url) for _ in range(2)]
        said = [loop.communicate(timeout=150)[0] for loop in loops]
        assert [loop.returncode for loop in loops] == [0, 0]
        assert master.wait(60) == 0
    assert said[0] == said[1]
    assert float(said[0].split()[-1]) >= 0.85

"""One project of docker/compose.yaml: what `docker compose` starts for a test, and what it leaves."""

import contextlib
import functools
import io
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from processes.world import eventually
from support_engine import IMAGE, docker, inspect, run, tool

_tool = functools.cache(tool)  # it stays as it is once there is an engine
GATED = Path(__file__).with_name("docker") / "gated.yaml"


class Project:
    """One project of docker/compose.yaml. Use it in a `with`: it removes everything at its end.

    gate: a folder with the gated job, for a run that is held at known moments; None: the demo as it is.
    """

    def __init__(self, context: Path, name: str, gate: Path | None = None, **environment: str) -> None:
        self._name = name
        self._gate = gate
        files = [context / "docker" / "compose.yaml"]
        self._environment = {"PS_IMAGE": IMAGE, "COMPOSE_PROJECT_NAME": name} | environment
        if gate is not None:
            files.append(GATED)
            shutil.copy(GATED.with_suffix(".py"), gate)
            gate.chmod(0o777)  # the containers' user is another than the test's
            self._environment |= {"GATE": str(gate), "JOB": "/gate/gated.py"}
        self._words = [*_tool(), *(word for file in files for word in ("-f", file))]

    def __enter__(self) -> "Project":
        return self

    def __exit__(self, *_: object) -> None:
        self.compose("--profile", "drill", "down", "--volumes", "--timeout", 0)

    def compose(self, *arguments: object, timeout_s: float = 120.0, **environment: str) -> str:
        return run(*self._words, *arguments, timeout_s=timeout_s, **self._environment, **environment)

    def up(self, *services: str, workers: int) -> str:
        """Start, in the background."""
        return self.compose("up", "-d", "--no-build", "--scale", f"worker={workers}", *services)

    def containers(self, service: str) -> list[str]:
        """Ids, in the order of their numbers; those that have ended, too."""
        labels = (f"project={self._name}", f"service={service}")
        filters = [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]
        row = '{{.Label "com.docker.compose.container-number"}} {{.ID}}'
        rows = docker("ps", "-a", *filters, "--format", row).splitlines()
        return [one.split()[1] for one in sorted(rows, key=lambda one: int(one.split()[0]))]

    def master(self) -> str:
        (one,) = self.containers("master")
        return one

    def address(self, container: str) -> str:
        return str(inspect(container)["NetworkSettings"]["Networks"][self.network]["IPAddress"])

    @contextlib.contextmanager
    def newcomer(self) -> Iterator[None]:
        """Somebody else on the network, who is given the address that has just become free: the lowest."""
        sleeper = docker("run", "-d", "--network", self.network, IMAGE, "sleep", 600)
        try:
            yield
        finally:
            docker("rm", "-f", sleeper)

    @property
    def network(self) -> str:
        return f"{self._name}_cluster"

    def log(self, container: str) -> str:
        return docker("logs", container)

    def wait_for(self, container: str, text: str, timeout_s: float = 120.0) -> None:
        """Wait until a container has said `text`."""
        words = ("docker", "logs", "--follow", container)
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as follower:
            limit = threading.Timer(timeout_s, follower.kill)
            limit.start()
            try:
                assert follower.stdout is not None
                has_come = any(text in line for line in follower.stdout)
            finally:
                limit.cancel()
                follower.kill()
        assert has_come, f"no {text!r} in the log of {container}:\n{self.log(container)}"

    def hold(self, *rounds: int) -> None:
        for number in rounds:
            (self._folder / f"hold-{number}").touch()

    def wait_until_held(self, number: int, containers: Sequence[str], timeout_s: float = 120.0) -> None:
        """Wait until all of these are at the gate, each with a unit of round `number` in hand."""
        expected = {f"held-{number}-{one}" for one in containers}
        eventually(
            lambda: expected <= {path.name for path in self._folder.iterdir()},
            f"not all of {containers} are held in round {number}",
            timeout_s,
        )

    def release(self, number: int) -> None:
        (self._folder / f"hold-{number}").unlink()

    @property
    def _folder(self) -> Path:
        assert self._gate is not None, "this project has no gate"
        return self._gate

    def finish(self, timeout_s: float = 180.0) -> dict[str, Any]:
        """Wait until the master has ended as it should; the record of the run."""
        assert docker("wait", self.master(), timeout_s=timeout_s) == "0", self.log(self.master())
        return self.record()

    def exit_codes(self, service: str, timeout_s: float = 120.0) -> list[int]:
        """Wait until all containers of a service have ended; their exit codes."""
        return [int(code) for code in docker("wait", *self.containers(service), timeout_s=timeout_s).split()]

    def record(self, folder: str = "/runs") -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.file(f"{folder}/record.json"))
        return record

    def file(self, path: str) -> bytes:
        """A file in the master's volumes; its container may have ended."""
        archive = subprocess.run(
            ["docker", "cp", f"{self.master()}:{path}", "-"], capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            (member,) = tar.getmembers()
            stream = tar.extractfile(member)
            assert stream is not None, f"{path} is no file"
            return stream.read()

"""What ps-kubernetes prints, by kind and name; and where in it something is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from paramserver.cli.kubernetes import cli
from ps_common import command

Object = dict[str, Any]


def run(capsys: Any, *words: object) -> tuple[int, str, str]:
    """Exit code, and what was said on both streams."""
    code = command.run(cli, "ps-kubernetes", ["render", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def rendered(
    *words: object, job: str = "team.jobs:digits", image: str = "team/paramserver:1"
) -> list[Object]:
    result = CliRunner().invoke(cli, ["render", job, "--image", image, *map(str, words)])
    if result.exception is not None:
        raise result.exception
    return list(yaml.safe_load_all(result.output))


def one(objects: list[Object], kind: str, end: str = "") -> Object:
    (found,) = (a for a in objects if a["kind"] == kind and a["metadata"]["name"].endswith(end))
    return found


def templates(objects: list[Object]) -> dict[str, Object]:
    """The templates of pods, by what they are for."""
    return {
        found["metadata"]["labels"]["app.kubernetes.io/component"]: found for found in _templates(objects)
    }


def _templates(objects: list[Object]) -> Iterator[Object]:
    for found in objects:
        if found["kind"] in ("StatefulSet", "Job"):
            yield found["spec"]["template"]
        elif found["kind"] == "JobSet":
            yield from (job["template"]["spec"]["template"] for job in found["spec"]["replicatedJobs"])


def jobs(objects: list[Object]) -> dict[str, Object]:
    """The specs of all Jobs, by the container in them."""
    specs = [found["spec"] for found in objects if found["kind"] == "Job"]
    for found in objects:
        if found["kind"] == "JobSet":
            specs += [job["template"]["spec"] for job in found["spec"]["replicatedJobs"]]
    return {spec["template"]["spec"]["containers"][0]["name"]: spec for spec in specs}


def job_file(folder: Path, text: str = "job = ...\n") -> str:
    path = folder / "My_Digits.py"
    path.write_text(text)
    return str(path)

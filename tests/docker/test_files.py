"""The files themselves: taken by compose of yesterday and of today, and as careful as they claim to be."""

import sys

import pytest

from support_compose import GATED
from support_engine import ROOT, run, tool

FOLDER = ROOT / "docker"
FILES = sorted([*FOLDER.glob("*.yaml"), GATED])
DOCKERFILES = sorted(FOLDER.glob("Dockerfile*"))
CLASSIC_LACKS = ("# syntax=", "RUN --mount", "COPY --link", "<<EOF")  # of the builder before BuildKit


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_todays_schema_takes_them(path):
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert "ok" in run(sys.executable, "-m", "check_jsonschema", *schema, path)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("added", [[], ["compose.gpu.yaml"]], ids=["CPU", "GPU"])
def test_the_tool_that_is_here_takes_them(context, added):
    words = [word for name in ("compose.yaml", *added) for word in ("-f", context / "docker" / name)]
    assert "worker" in run(*tool(), *words, "--profile", "drill", "config")


def test_nobody_gets_in_without_a_key():
    for path in FILES:
        text = path.read_text()
        assert "insecure" not in text
        assert "ports:" not in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_any_builder_takes_it_and_nothing_runs_as_root(path):
    text = path.read_text()
    assert not [word for word in CLASSIC_LACKS if word in text]
    lines = text.splitlines()
    assert lines.index("USER 10001:10001") > max(n for n, line in enumerate(lines) if line.startswith("RUN"))
    assert 'ENTRYPOINT ["' in text
    assert 'ARG PIP_ARGS=""' in text

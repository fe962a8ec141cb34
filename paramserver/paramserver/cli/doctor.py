"""ps-doctor: what a worker on this machine would meet at a master, in words."""

import json
import sys
from pathlib import Path

import click

from paramserver.diagnosis import Key, diagnosis, exit_code
from paramserver.examining import ask, examine
from ps_common import address, command, probing
from ps_common.errors import NotAuthorised, UsageError
from ps_common.keys import ROLES, read_bundle
from ps_common.loader import file_digest
from ps_common.reaching import WRONG, Finding, findings
from ps_common.saying import printable


@click.command(context_settings={"auto_envvar_prefix": "PS_DOCTOR", "show_default": True})
@click.argument("url", envvar="PS_MASTER")
@click.option(
    "--key",
    envvar="PS_KEY",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The worker's key, where the run has keys.",
)
@click.option("--job", envvar="PS_JOB", metavar="FILE", help="The job's file, to compare with the master's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def cli(url: str, key: Path | None, job: str | None, as_json: bool) -> int:
    """Say what is wrong on the way from here to the master at URL, tcp://host:5555, and what to do.

    It joins nothing. Ends with 0, or with the code that ps-worker would end with.
    """
    parts = address.split(url)
    if parts is None or parts[1] == 0:
        raise UsageError(f"a master's address looks like tcp://host:5555, not {url!r}")
    bundle = None if key is None else read_bundle(key)
    if bundle is not None and bundle.role not in ROLES:
        raise NotAuthorised(f"{key} is the key of the run's own servers: use one made with ps-keys new NAME")
    job_code = file_digest(job) if job else ""
    found = probing.probe(*parts)
    is_there = all(finding.verdict != WRONG for finding in findings(found))
    answer = ask(url, bundle, job_code) if is_there else None
    named = None if bundle is None else Key(bundle.name, bundle.role)
    told = diagnosis(found, answer, examine(found), named, bool(job_code))
    if as_json:
        checks = [
            {"check": finding.check, "verdict": finding.verdict, "text": finding.text} for finding in told
        ]
        click.echo(json.dumps({"url": url, "exit_code": exit_code(told), "checks": checks}))
    else:
        _show(told)
    return exit_code(told)


def _show(told: list[Finding]) -> None:
    """A line each. Some of it the other side has said."""
    for finding in told:
        click.echo(f"{finding.verdict:8}{finding.check:10}{printable(finding.text)}")


def main() -> None:
    sys.exit(command.run(cli, "ps-doctor"))


if __name__ == "__main__":
    main()

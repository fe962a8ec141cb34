"""ps-server: the master."""

import sys
from typing import Any

import click

from paramserver.cli import own, verify
from paramserver.cli.master import master_options, run_master
from ps_common import command
from ps_common.loader import load_job

COMMANDS = {"verify": verify.cli, "own": own.cli}  # a job of such a name is given as ./verify


@click.command(context_settings={"auto_envvar_prefix": "PS", "show_default": True})
@click.argument("job")
@master_options
def cli(job: str, **given: Any) -> int:
    """Serve JOB, a Python file with a variable `job` or package.module:name, to workers.

    ps-server own serves training loops of your own, and ps-server verify CHECKPOINT checks what was averaged
    in a run; each has its own --help.
    """
    return run_master(lambda overrides: load_job(job, overrides), given)


def main() -> None:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in COMMANDS:
        sys.exit(command.run(COMMANDS[word], f"ps-server {word}", sys.argv[2:]))
    sys.exit(command.run(cli, "ps-server"))


if __name__ == "__main__":
    main()

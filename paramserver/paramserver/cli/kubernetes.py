"""ps-kubernetes: prints what runs a job on Kubernetes."""

import sys
from pathlib import Path

import click

from paramserver.kubernetes.key_files import collect
from paramserver.kubernetes.objects import render as objects_of
from paramserver.kubernetes.spec import WORKERS_MAX, Resources, RunSpec, name_of_job
from paramserver.kubernetes.yaml_text import dump_all
from ps_common import command
from ps_common.errors import UsageError
from ps_common.key_folder import KeyFolder

_Folder = click.Path(file_okay=False, path_type=Path)


@click.group(cls=command.Group, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Runs jobs on Kubernetes: ps-kubernetes render JOB ... | kubectl apply -f -"""


@cli.command(context_settings={"show_default": True})
@click.argument("job")
@click.option(
    "-n", "--workers", default=2, type=click.IntRange(1, WORKERS_MAX), metavar="N", help="Worker pods."
)
@click.option("--image", required=True, metavar="IMAGE", help="The container image of all pods.")
@click.option("--gpus", default=0, type=click.IntRange(0, 1), help="Of each worker, which computes on one.")
@click.option("--name", metavar="NAME", help="Of the run; by default made of the job's.")
@click.option("--namespace", metavar="NAME", help="Where to run; by default as kubectl says.")
@click.option("--keys", type=_Folder, metavar="DIR", help="Folder of keys; those that lack are made.")
@click.option("--insecure", is_flag=True, help="No keys: whoever reaches the master may take part.")
@click.option("--storage", default="1Gi", metavar="SIZE", help="For checkpoints and the model.")
@click.option("--cpu", default="1", metavar="N", help="Processors of a worker.")
@click.option("--memory", default="2Gi", metavar="SIZE", help="Memory of a worker.")
@click.option("--master-cpu", default="1", metavar="N", help="Processors of the master.")
@click.option("--master-memory", default="2Gi", metavar="SIZE", help="Memory of the master.")
@click.option("--jobset", is_flag=True, help="One JobSet instead of a StatefulSet and a Job.")
@click.option("--queue", metavar="NAME", help="Of Kueue; with --scheduler volcano, of Volcano.")
@click.option("--scheduler", metavar="NAME", help="Who places the pods, if not the cluster's own.")
@click.option(
    "--shutdown-timeout",
    default=30,
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    help="For a unit or a checkpoint that is under way when a pod is to leave.",
)
@click.option("--user", default=10001, type=click.IntRange(1, 2**31 - 1), help="Number of the pods' user.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def render(
    job: str, workers: int, image: str, gpus: int, name: str | None, namespace: str | None, keys: Path | None,
    insecure: bool, storage: str, cpu: str, memory: str, master_cpu: str, master_memory: str, jobset: bool,
    queue: str | None, scheduler: str | None, shutdown_timeout: int, user: int, options: tuple[str, ...],
) -> None:  # fmt: skip
    """Print what runs JOB, with its secrets, for kubectl apply.

    JOB is a file here, which is taken along, or one in the image: /path/to/job.py or package.module:name.
    After -- come further options of ps-server.
    """
    if (keys is None) == (not insecure):
        raise UsageError("say either --keys DIR, or --insecure if the pods' network is yours alone")
    path = Path(job)
    spec = RunSpec(
        name=name if name is not None else name_of_job(job),
        image=image,
        workers=workers,
        job=job,
        job_text=_text(path) if path.is_file() else None,
        master=Resources(master_cpu, master_memory),
        worker=Resources(cpu, memory, gpus),
        namespace=namespace,
        storage=storage,
        queue=queue,
        scheduler=scheduler,
        shutdown_timeout_s=shutdown_timeout,
        user=user,
        is_jobset=jobset,
        server_options=options,
    )
    if keys is not None:  # only now: nothing is made for what is refused
        master, worker, authorised = collect(KeyFolder(keys), workers)
        spec = spec.with_keys(master, worker, authorised)
    click.echo(dump_all(objects_of(spec)), nl=False)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a job's file: {error}") from error


def main() -> None:
    sys.exit(command.run(cli, "ps-kubernetes"))


if __name__ == "__main__":
    main()

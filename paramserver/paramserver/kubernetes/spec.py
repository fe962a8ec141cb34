"""What a run on Kubernetes is to be like, checked before anything is made of it.

Names, quantities and the image come from people and end up in objects that a cluster acts on, so each has a
narrow form, and nothing else is taken.
"""

import dataclasses
import re
from pathlib import Path

from ps_common.errors import UsageError

PORT = 5555
NAME_MAX = 40  # NAME-workers-0-99999-abcde, the longest name made of it, has at most 63 characters
JOB_BYTES_MAX = 900_000  # what a ConfigMap holds is less than 1 MiB
WORKERS_MAX = 100_000  # completions of an Indexed Job
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # RFC 1035, which names of Services keep to
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")  # RFC 1123
_QUEUE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_QUANTITY = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_PATH = re.compile(r"/[\w./ -]+\.py", re.ASCII)
# What is set here, and would not fit if it were given a second time.
OWN_OPTIONS = frozenset({
    "--address-file", "--advertise", "--bind", "--checkpoint", "--insecure", "--interface", "--json",
    "--keys", "--leave-with", "--linger", "--out", "--preemptible", "--resume", "--shutdown-timeout",
    "--stay",
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Resources:
    """Of one container. gpus: of NVIDIA's kind; a worker computes on one."""

    cpu: str
    memory: str
    gpus: int = 0

    def __post_init__(self) -> None:
        for flag, text in (("--cpu", self.cpu), ("--memory", self.memory)):
            require_quantity(flag, text)


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """What to run, and how.

    job: its path in the image, or package.module:name. job_text: the file's own text, where it comes from
    here; it then counts instead. worker_keys, master_keys, authorised: files by name, as a key folder has
    them; none at all: anyone who reaches the master may take part. queue: of Kueue, or with the scheduler
    volcano, of Volcano. user: the number that all processes run as. server_options: further ones.

    Raises `UsageError`.
    """

    name: str
    image: str
    workers: int
    job: str
    master: Resources
    worker: Resources
    job_text: str | None = None
    namespace: str | None = None
    storage: str = "1Gi"
    master_keys: dict[str, bytes] = dataclasses.field(default_factory=dict, repr=False)
    worker_keys: dict[str, bytes] = dataclasses.field(default_factory=dict, repr=False)
    authorised: dict[str, bytes] = dataclasses.field(default_factory=dict, repr=False)
    queue: str | None = None
    scheduler: str | None = None
    shutdown_timeout_s: int = 30
    user: int = 10001
    is_jobset: bool = False
    server_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_name(self.name)
        _require(_NAMESPACE, "--namespace", self.namespace, 63, "a DNS label")
        _require(_NAMESPACE, "--scheduler", self.scheduler, 63, "a DNS label")
        _require(_QUEUE, "--queue", self.queue, 63, "the name of a queue")
        _require(_IMAGE, "--image", self.image, 500, "a container image, like team/image:tag")
        require_quantity("--storage", self.storage)
        if self.job_text is None:
            _require_job(self.job)
        elif len(self.job_text.encode()) > JOB_BYTES_MAX:
            raise UsageError(f"the job's file has more than {JOB_BYTES_MAX} bytes: put it into the image")
        for option in self.server_options:
            if option.partition("=")[0] in OWN_OPTIONS:
                raise UsageError(f"{option.partition('=')[0]} is set by ps-kubernetes itself; leave it out")
            if not option.isprintable():
                raise UsageError(f"an option of ps-server holds characters that cannot be shown: {option!r}")

    def with_keys(
        self, master: dict[str, bytes], worker: dict[str, bytes], authorised: dict[str, bytes]
    ) -> "RunSpec":
        return dataclasses.replace(self, master_keys=master, worker_keys=worker, authorised=authorised)

    @property
    def has_keys(self) -> bool:
        return bool(self.master_keys)

    @property
    def master_host(self) -> str:
        """Its name for pods of the same namespace, as a StatefulSet or a JobSet makes it."""
        pod = f"{self.name}-master-0-0" if self.is_jobset else f"{self.name}-master-0"
        return f"{pod}.{self.name}"

    @property
    def url(self) -> str:
        return f"tcp://{self.master_host}:{PORT}"


def require_name(name: str) -> None:
    _require(_LABEL, "--name", name, NAME_MAX, "a DNS label that begins with a letter")


def require_quantity(flag: str, text: str) -> None:
    _require(_QUANTITY, flag, text, 20, "a quantity, like 500m, 2, 512Mi or 1Gi")
    if not float(re.sub("[A-Za-z]+", "", text)):
        raise UsageError(f"{flag} {text}: it must be more than nothing")


def name_of_job(job: str) -> str:
    """A name for who gives none: the last word of the job's. Raises `UsageError` where none can be made."""
    last = job.partition(":")[0].rpartition(".")[2] if ":" in job else Path(job).stem
    name = re.sub("[^a-z0-9]+", "-", last.lower()).strip("-")[:NAME_MAX].strip("-")
    if not _LABEL.fullmatch(name):
        raise UsageError(f"no name can be made of {job!r:.80}: give one with --name")
    return name


def _require_job(job: str) -> None:
    is_path = _PATH.fullmatch(job) is not None and ".." not in job.split("/")
    if not (is_path or _MODULE.fullmatch(job)) or len(job) > 500:
        raise UsageError(
            f"{job!r:.80} is no file here; a job in the image is given as /path/to/job.py or "
            "package.module:name"
        )


def _require(form: re.Pattern[str], flag: str, text: str | None, length: int, what: str) -> None:
    if text is not None and (len(text) > length or not form.fullmatch(text)):
        raise UsageError(f"{flag} must be {what}, of at most {length} characters, not {text!r:.80}")

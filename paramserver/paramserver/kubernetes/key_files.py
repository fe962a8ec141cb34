"""Which files of a key folder go where, and how a pod makes of them what the commands take.

A mounted Secret cannot be used as it is. With fsGroup, which lets a user other than root read it at all,
Kubernetes gives its files 0440 whatever mode was asked for, and the folder it is mounted on is open to
everybody: keys that others can read, and folders that others can write to, are refused. So a first container
copies the keys, 0400, to a folder of their owner's own in memory, and the Secret is not mounted anywhere
else; a worker's pod takes its own key, and sees no other.

Who is let in is public and may change while a run goes on. That is a ConfigMap, and a link to what is mounted
now: `..data`, which the kubelet replaces as a whole and which nobody else may write to.
"""

import shlex
from pathlib import Path

from ps_common.errors import UsageError
from ps_common.key_folder import KeyFolder
from ps_common.keys import SERVER, read_bundle

PROBE = "probe"  # the key with which the master's own pod asks how it is
PROBE_ROLE = "status"
SERVER_FILE, PROBE_FILE, WORKER_FILE = f"{SERVER}.key", f"{PROBE}.key", "worker.key"
WORKERS_MAX = 2000  # of 350 bytes each, in a Secret of less than 1 MiB
INDEX = "JOB_COMPLETION_INDEX"  # as Indexed Jobs tell it


def worker_key_name(index: int) -> str:
    return f"worker-{index}"


def collect(folder: KeyFolder, workers: int) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]:
    """The files of the master, of the workers, and of who is let in; keys are made where there are none.

    Raises `UsageError` for files that are no keys, that others can read, or that are another's.
    """
    if workers > WORKERS_MAX:
        raise UsageError(f"a Secret has room for the keys of {WORKERS_MAX} workers, not of {workers}")
    folder.make()
    probe = folder.path / PROBE_FILE
    if not probe.is_file():
        folder.new(PROBE, PROBE_ROLE)
    master, worker = {SERVER_FILE: probe.with_name(SERVER_FILE)}, {}
    for index in range(workers):
        name = worker_key_name(index)
        path = folder.bundle_for(name)
        worker[path.name] = path
        _require_role(read_bundle(path).role, "worker", name)
    master[PROBE_FILE] = probe
    _require_role(read_bundle(probe).role, PROBE_ROLE, PROBE)
    folder.server()  # whether it can be used
    keys, complaints = folder.authorised()
    if complaints:
        raise UsageError(complaints[0])
    public = {f"{key.name}.pub": folder.authorised_path / f"{key.name}.pub" for key in keys}
    return _read(master), _read(worker), _read(public)


def for_master(secret: str, authorised: str, to: str) -> str:
    """A script that makes a folder of keys at `to`, of the files mounted at the two others."""
    files = " ".join(shlex.quote(f"{secret}/{name}") for name in (SERVER_FILE, PROBE_FILE))
    return f"{_begin(to)}; cp {files} {to}/; ln -s {authorised}/..data {to}/authorised"


def for_worker(secret: str, to: str) -> str:
    """A script that takes this worker's key, and no other."""
    return f'{_begin(to)}; cp "{secret}/worker-${INDEX}.key" {to}/{WORKER_FILE}'


def _begin(to: str) -> str:
    return f"umask 077; rm -rf {to}; mkdir {to}"  # a pod may begin again with what there was


def _read(paths: dict[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in sorted(paths.items())}


def _require_role(role: str, wanted: str, name: str) -> None:
    if role != wanted:
        raise UsageError(
            f"the key {name} is of role {role}, and must be of role {wanted}: ps-keys revoke {name}"
        )

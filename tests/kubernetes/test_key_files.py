"""Keys in a pod: out of what Kubernetes mounts, the scripts make what the commands take.

The folders are laid out and have the modes that the kubelet gives them where there is an fsGroup.
"""

import os
import subprocess

import pytest

from paramserver.kubernetes import key_files
from ps_common.errors import UsageError
from ps_common.key_folder import KeyFolder
from ps_common.keys import read_bundle


def mounted(folder, files, number=1):
    """What the kubelet makes of a Secret or ConfigMap: `..data` is a link, replaced as a whole."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o3777)
    real = folder / f"..2026_{number}"
    real.mkdir()
    for name, content in files.items():
        (real / name).write_bytes(content)
        (real / name).chmod(0o440)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    real.chmod(0o2755)
    (folder / "..data_tmp").symlink_to(real.name)
    (folder / "..data_tmp").rename(folder / "..data")


def run(script, **environment):
    subprocess.run(["sh", "-ec", script], check=True, env={"PATH": os.environ["PATH"], **environment})


@pytest.fixture
def pod(tmp_path):
    """A folder of keys, and what a master's and a worker's pod have mounted of it."""
    folder = KeyFolder(tmp_path / "keys")
    master, workers, authorised = key_files.collect(folder, 2)
    mounted(tmp_path / "secret", master)
    mounted(tmp_path / "workers", workers)
    mounted(tmp_path / "authorised", authorised)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory").chmod(0o2777)
    return folder


def made_for_master(tmp_path):
    to = tmp_path / "memory" / "own"
    run(key_files.for_master(str(tmp_path / "secret"), str(tmp_path / "authorised"), str(to)))
    return KeyFolder(to)


def test_a_mounted_secret_is_refused_as_it_is(pod, tmp_path):
    with pytest.raises(UsageError, match="others can read this secret"):
        read_bundle(tmp_path / "secret" / "server.key")


def test_the_master_gets_a_folder_of_keys_that_it_takes(pod, tmp_path):
    made = made_for_master(tmp_path)
    assert made.server() == pod.server()
    assert made.authorised() == pod.authorised()
    assert read_bundle(made.path / "probe.key").role == "status"
    assert {key.name for key in made.authorised()[0]} == {"probe", "worker-0", "worker-1"}
    assert made_for_master(tmp_path).server() == pod.server(), "a pod may begin again"


def test_who_is_let_in_no_more_is_seen_while_the_master_runs(pod, tmp_path):
    made = made_for_master(tmp_path)
    before = made.state()
    pod.revoke("worker-1")
    files = {path.name: path.read_bytes() for path in pod.authorised_path.iterdir()}
    mounted(tmp_path / "authorised", files, number=2)
    assert made.state() != before
    assert {key.name for key in made.authorised()[0]} == {"probe", "worker-0"}


def test_a_worker_gets_its_own_key_alone(pod, tmp_path):
    to = tmp_path / "memory" / "own"
    script = key_files.for_worker(str(tmp_path / "workers"), str(to))
    run(script, JOB_COMPLETION_INDEX="1")
    assert read_bundle(to / "worker.key") == read_bundle(pod.path / "worker-1.key")
    assert [path.name for path in to.iterdir()] == ["worker.key"]
    with pytest.raises(subprocess.CalledProcessError):
        run(script, JOB_COMPLETION_INDEX="2")


def test_a_key_of_another_role_is_refused(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    folder.new("worker-0", "admin")
    with pytest.raises(UsageError, match="worker-0 is of role admin, and must be of role worker"):
        key_files.collect(folder, 1)


def test_more_keys_than_a_secret_holds_are_refused_before_any_is_made(tmp_path):
    with pytest.raises(UsageError, match="of 2000 workers"):
        key_files.collect(KeyFolder(tmp_path / "keys"), 2001)
    assert not (tmp_path / "keys").exists()

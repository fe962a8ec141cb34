"""Environments as real launchers leave them, and what is made of them."""

import pytest

from paramserver.cli.launchers import Launched, detect
from paramserver.cli.run import device_of
from ps_common import arrays
from ps_common.errors import UsageError
from support_cuda import Cupy

# As `torchrun --nproc-per-node 3 --no-python env` prints it (torch 2.13), without what is of no interest.
TORCHRUN = {
    "RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3", "GROUP_RANK": "0",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0", "OMP_NUM_THREADS": "1",
}  # fmt: skip
# As `mpirun -n 3 env` does (Open MPI 4.1).
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "3", "OMPI_COMM_WORLD_NODE_RANK": "2", "PMIX_RANK": "2",
    "PMIX_NAMESPACE": "463667201", "OMPI_MCA_ess_base_jobid": "463667201",
}  # fmt: skip
# As `mpiexec -n 2 env` does (MPICH 4.0, Hydra).
MPICH = {
    "PMI_RANK": "1", "PMI_SIZE": "2", "PMI_FD": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2",
    "HYDI_CONTROL_FD": "7",
}  # fmt: skip
# As `srun -n 2 env` does (Slurm 22.05), and in a job of four nodes.
SLURM = {
    "SLURM_JOB_ID": "4711", "SLURM_JOBID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "1",
    "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_STEP_NODELIST": "node03", "SLURM_JOB_NODELIST": "node03",
}  # fmt: skip
SLURM_NODES = SLURM | {
    "SLURM_STEP_NUM_NODES": "4", "SLURM_NNODES": "4", "SLURM_JOB_NODELIST": "node[01-03,07]",
    "SLURM_STEP_NODELIST": "node[01-03,07]", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5",
    "SLURM_STEP_ID": "2", "SLURM_RESTART_COUNT": "1",
}  # fmt: skip
BATCH = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "2", "HOSTNAME": "train-2", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}


@pytest.mark.parametrize(
    ("environment", "launched"),
    [
        (TORCHRUN, Launched("torchrun", 1, 3, 1, 3, "127.0.0.1", 29501, "torchrun-none-127.0.0.1-29500-0")),
        (OPEN_MPI, Launched("Open MPI", 2, 3, 2, 3, None, 5555, "open-mpi-463667201")),
        (OPEN_MPI | {"MASTER_ADDR": "a"}, Launched("Open MPI", 2, 3, 2, 3, "a", 5555, "open-mpi-463667201")),
        (MPICH, Launched("MPICH", 1, 2, 1, 2, None, 5555, "")),
        (SLURM, Launched("Slurm", 1, 2, 1, 2, "node03", 24711, "slurm-4711.0.0")),
        (SLURM_NODES, Launched("Slurm", 5, 8, 1, None, "node01", 24713, "slurm-4711.2.1")),
        (
            SLURM_NODES | {"MASTER_ADDR": "node01-ib", "MASTER_PORT": "4000"},
            Launched("Slurm", 5, 8, 1, None, "node01-ib", 4001, "slurm-4711.2.1"),
        ),
    ],
)  # fmt: skip
def test_each_launcher_is_known_by_its_own_words(environment: dict[str, str], launched: Launched) -> None:
    assert detect(environment, {}) == launched


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        (SLURM_NODES | OPEN_MPI, "Open MPI"),  # mpirun in a Slurm job; Slurm's variables are of its daemons
        (SLURM_NODES | MPICH, "MPICH"),
        (SLURM | TORCHRUN, "torchrun"),  # srun torchrun
        (SLURM | {"PMI_RANK": "1", "PMI_SIZE": "2", "PMI_FD": "9"}, "Slurm"),  # srun --mpi=pmi2
        (OPEN_MPI | TORCHRUN, "torchrun"),
        (BATCH | OPEN_MPI, "Open MPI"),
    ],
)
def test_of_launchers_in_one_another_the_innermost_counts(environment: dict[str, str], kind: str) -> None:
    assert detect(environment, {}).kind == kind


def test_flags_and_their_variables_come_before_any_launcher() -> None:
    given = {"rank": 0, "size": 4, "master_host": "here", "local_rank": None}
    launched = detect(TORCHRUN, given, "PS_RANK")
    assert launched == Launched("PS_RANK", 0, 4, 0, None, "here", 29501, leaves_with_parent=False)


def test_what_a_flag_says_beside_a_launcher_replaces_that_alone() -> None:
    launched = detect(SLURM_NODES, {"port": 7000, "run": "mine"})
    assert launched == Launched("Slurm", 5, 8, 1, None, "node01", 7000, "mine")


def test_an_indexed_job_needs_to_be_told_how_many_and_has_pods_with_numbers() -> None:
    with pytest.raises(UsageError, match="does not say how many"):
        detect(KUBERNETES, {})
    launched = detect(KUBERNETES, {"size": 4})
    assert (launched.rank, launched.size, launched.master_host) == (2, 4, "train-0")
    assert not launched.leaves_with_parent  # it is process 1, or the child of a shell
    assert detect(KUBERNETES, {"size": 4, "master_host": "train-0.train"}).master_host == "train-0.train"


def test_the_port_that_kubernetes_makes_of_a_service_called_master_is_none() -> None:
    urls = {"MASTER_PORT": "tcp://10.96.14.2:29500", "MASTER_ADDR": "train-0"}
    assert detect(KUBERNETES | urls, {"size": 4}).port == 5555


def test_operators_that_only_use_the_names_of_torchrun_need_not_say_who_is_on_a_host() -> None:
    names = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "train-master-0", "MASTER_PORT": "23456"}
    launched = detect(names, {})
    assert (launched.local_rank, launched.local_size, launched.is_one_host) == (0, None, False)
    assert not launched.leaves_with_parent


@pytest.mark.parametrize(
    ("environment", "given", "told"),
    [
        ({}, {}, "no launcher"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, {}, "no launcher"),  # left over from something else
        (BATCH, {}, "no launcher"),  # the batch script itself, which is one process: srun is missing
        ({}, {"rank": 0}, "give --size"),
        ({}, {"rank": 3, "size": 3}, "process 3 of 3"),
        (OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "two"}, {}, "OMPI_COMM_WORLD_RANK is 'two'"),
        (TORCHRUN | {"MASTER_PORT": "65535"}, {}, "no port 65536"),
        (SLURM | {"SLURM_STEP_NODELIST": "n[1"}, {}, "node list"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(environment, given, told) -> None:
    with pytest.raises(UsageError, match=told.replace("[", r"\[")):
        detect(environment, given)


def test_two_steps_of_slurm_on_one_host_have_ports_of_their_own() -> None:
    ports = {detect(SLURM | {"SLURM_STEP_ID": str(i)}, {}).port for i in range(10)}
    assert len(ports) == 10
    assert all(20_000 <= port < 30_000 for port in ports)


def test_each_process_of_a_host_has_a_gpu_by_its_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Cupy()
    made.cuda.runtime.getDeviceCount = lambda: 2
    monkeypatch.setattr(arrays, "cupy", lambda: made)
    assert [device_of("auto", rank) for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert device_of("cuda:1", 0) == "cuda:1"
    assert device_of("cpu", 1) == "cpu"

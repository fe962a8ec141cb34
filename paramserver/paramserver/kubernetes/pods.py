"""The pods of a run: what each kind runs, what it is asked for, what it may do and where its files lie."""

from typing import Any

from paramserver.kubernetes import key_files
from paramserver.kubernetes.spec import PORT, Resources, RunSpec

Object = dict[str, Any]
JOB_FOLDER, KEYS, RUNS = "/job", "/keys", "/runs"
_SECRET, _AUTHORISED, _OWN_KEYS = "/secret", "/authorised", f"{KEYS}/own"
GRACE_S = 15  # beyond --shutdown-timeout, before the process is killed
WAIT_S = 86_400  # a master waits so long for workers: a queue may be long, and images large
MASTER_TIMEOUT_S = 600  # a worker waits so long for a master that moves to another node
LINGER_S = 30  # of a master that is not to stay: for workers that are just starting again
UNREACHABLE_S = 30  # a pod stays so long with a node that is not heard of; the default is 300


def labels(spec: RunSpec, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "paramserver",
        "app.kubernetes.io/instance": spec.name,
        "app.kubernetes.io/component": component,
    }


def master(spec: RunSpec) -> Object:
    """The template of the master's pod; its volume RUNS is to be added."""
    command = [
        "ps-server", _job(spec), f"--bind=tcp://0.0.0.0:{PORT}", f"--advertise={spec.url}",
        f"--checkpoint={RUNS}/checkpoints", "--resume=auto",
        f"--out={RUNS}/model.safetensors", f"--json={RUNS}/record.json",
        "--preemptible", f"--linger={LINGER_S}" if spec.is_jobset else "--stay",
        f"--shutdown-timeout={spec.shutdown_timeout_s}",
        f"--keys={_OWN_KEYS}" if spec.has_keys else "--insecure",
        f"--wait-timeout={WAIT_S}",
        *spec.server_options,
    ]  # fmt: skip
    container = _container(spec, "master", command, spec.master)
    container["ports"] = [{"name": "paramserver", "containerPort": PORT}]
    container |= _probes(spec)
    container["volumeMounts"].append({"name": "runs", "mountPath": RUNS})
    volumes: list[Object] = []
    if spec.has_keys:
        container["volumeMounts"].append({"name": "authorised", "mountPath": _AUTHORISED, "readOnly": True})
        volumes = [{"name": "authorised", "configMap": {"name": f"{spec.name}-authorised"}}]
    script = key_files.for_master(_SECRET, _AUTHORISED, _OWN_KEYS)
    return _template(spec, "master", container, script, volumes)


def worker(spec: RunSpec) -> Object:
    """The template of a worker's pod, of an Indexed Job."""
    command = [
        "ps-worker", f"--master={spec.url}", f"--job={_job(spec)}",
        f"--device={'cuda' if spec.worker.gpus else 'cpu'}", "--preemptible",
        f"--master-timeout={MASTER_TIMEOUT_S}", f"--shutdown-timeout={spec.shutdown_timeout_s}",
    ]  # fmt: skip
    command += [f"--key={_OWN_KEYS}/{key_files.WORKER_FILE}"] if spec.has_keys else []
    container = _container(spec, "worker", command, spec.worker)
    if not spec.has_keys:  # Kubernetes puts the number in; all else that looks like that is kept from it
        container["command"].append(f"--name=worker-$({key_files.INDEX})")
    return _template(spec, "workers", container, key_files.for_worker(_SECRET, _OWN_KEYS), [])


def _job(spec: RunSpec) -> str:
    return spec.job if spec.job_text is None else f"{JOB_FOLDER}/job.py"


def _container(spec: RunSpec, name: str, command: list[str], resources: Resources) -> Object:
    mounts: list[Object] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
    if spec.job_text is not None:
        mounts.append({"name": "job", "mountPath": JOB_FOLDER, "readOnly": True})
    if spec.has_keys:
        mounts.append({"name": "keys", "mountPath": KEYS, "readOnly": True})
    # No limit of processors: who has one is stopped again and again, and others need not wait for that.
    limits: Object = {"memory": resources.memory}
    if resources.gpus:
        limits["nvidia.com/gpu"] = resources.gpus
    return {
        "name": name,
        "image": spec.image,
        "command": [word.replace("$", "$$") for word in command],
        # CuPy keeps what it has compiled; the file system of the image is not to be written to.
        "env": [{"name": "CUPY_CACHE_DIR", "value": "/tmp/cupy"}],  # noqa: S108
        "resources": {"requests": {"cpu": resources.cpu, "memory": resources.memory}, "limits": limits},
        "securityContext": _confined(),
        "volumeMounts": mounts,
    }


def _probes(spec: RunSpec) -> Object:
    """Whether it listens, which is late for a large data set; and then, seldom, whether it answers.

    A process that listens may hang all the same, so that is asked with a key of its own. To ask takes half a
    second of a processor.
    """
    listens = {"tcpSocket": {"port": PORT}}
    ask = ["ps-status", f"--master=tcp://127.0.0.1:{PORT}", "--timeout=15"]
    ask += [f"--key={_OWN_KEYS}/{key_files.PROBE_FILE}"] if spec.has_keys else []
    return {
        "startupProbe": {**listens, "periodSeconds": 5, "failureThreshold": 360},
        "readinessProbe": {**listens, "periodSeconds": 10},
        "livenessProbe": {
            "exec": {"command": ask}, "periodSeconds": 60, "timeoutSeconds": 25, "failureThreshold": 3
        },
    }  # fmt: skip


def _template(spec: RunSpec, component: str, container: Object, script: str, volumes: list[Object]) -> Object:
    volumes = [{"name": "tmp", "emptyDir": {}}, *volumes]
    if spec.job_text is not None:
        volumes.append({"name": "job", "configMap": {"name": f"{spec.name}-job"}})
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # else a service called ps-... would set PS_... variables
        "terminationGracePeriodSeconds": spec.shutdown_timeout_s + GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": spec.user,
            "runAsGroup": spec.user,
            "fsGroup": spec.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [
            {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute",
             "tolerationSeconds": UNREACHABLE_S}
            for what in ("not-ready", "unreachable")
        ],
    }  # fmt: skip
    if spec.scheduler:
        pod["schedulerName"] = spec.scheduler
    if spec.has_keys:
        pod["initContainers"] = [_keys_container(spec, script)]
        volumes += [
            {"name": "keys", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "secret", "secret": {"secretName": f"{spec.name}-{component}", "defaultMode": 0o400}},
        ]
    metadata: Object = {"labels": labels(spec, component)}
    if spec.queue and spec.scheduler == "volcano":
        metadata["annotations"] = {"scheduling.volcano.sh/queue-name": spec.queue}
    return {"metadata": metadata, "spec": pod | {"containers": [container], "volumes": volumes}}


def _keys_container(spec: RunSpec, script: str) -> Object:
    return {
        "name": "keys",
        "image": spec.image,
        "command": ["sh", "-ec", script],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": _confined(),
        "volumeMounts": [
            {"name": "secret", "mountPath": _SECRET, "readOnly": True},
            {"name": "keys", "mountPath": KEYS},
        ],
    }


def _confined() -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }

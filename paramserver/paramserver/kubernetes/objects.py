"""The objects of a run: the master with its volume, the workers, their keys, and what guards them.

The master is a StatefulSet: one pod at most, with a name and a volume that it finds again on another node.
The workers are an Indexed Job, and both in one are a JobSet. A Job counts a pod that exits with 0 as done,
and a StatefulSet starts its own again for ever. Hence --preemptible, with which who is asked to leave neither
ends the run nor exits with 0, and --stay, with which the master of a finished run tells late workers.
"""

import base64

from paramserver.kubernetes import pods
from paramserver.kubernetes.pods import Object, labels
from paramserver.kubernetes.spec import PORT, RunSpec
from ps_common.errors import DataError, JobMismatch, NotAuthorised, ProtocolMismatch, UsageError
from ps_common.signals import PREEMPTED

# No other attempt ends otherwise. What is counted instead: a master that is not found (69) or was lost (75),
# code of the user's own (1), and whatever kills a process.
HOPELESS = sorted({
    error.exit_code for error in (UsageError, DataError, ProtocolMismatch, JobMismatch, NotAuthorised)
})  # fmt: skip
ATTEMPTS = 10  # of each worker, beside those that were no fault of its own


def render(spec: RunSpec) -> list[Object]:
    """All objects of the run, in an order in which they can be made."""
    objects = [*_keys(spec), *_job_file(spec)]
    if spec.is_jobset:
        objects += [_claim(spec), _job_set(spec)]
    else:
        objects += [_service(spec), _stateful_set(spec), _workers(spec)]
    return [*objects, _budget(spec)]


def _object(spec: RunSpec, api: str, kind: str, name: str, component: str = "master") -> Object:
    metadata: Object = {"name": name, "labels": labels(spec, component)}
    if spec.namespace:
        metadata["namespace"] = spec.namespace
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


# -- files ---------------------------------------------------------------------------------------------


def _keys(spec: RunSpec) -> list[Object]:
    if not spec.has_keys:
        return []
    found = []
    for component, files in (("master", spec.master_keys), ("workers", spec.worker_keys)):
        secret = _object(spec, "v1", "Secret", f"{spec.name}-{component}", component)
        # Not stringData: what is taken out of that, `kubectl apply` leaves in.
        coded = {name: base64.b64encode(content).decode() for name, content in files.items()}
        found.append(secret | {"type": "Opaque", "data": coded})
    who = _object(spec, "v1", "ConfigMap", f"{spec.name}-authorised")
    return [*found, who | {"data": {name: text.decode() for name, text in spec.authorised.items()}}]


def _job_file(spec: RunSpec) -> list[Object]:
    if spec.job_text is None:
        return []
    return [_object(spec, "v1", "ConfigMap", f"{spec.name}-job") | {"data": {"job.py": spec.job_text}}]


# -- the master ----------------------------------------------------------------------------------------


def _service(spec: RunSpec) -> Object:
    """Gives the master's pod a name, also while it loads its data."""
    return _object(spec, "v1", "Service", spec.name) | {
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels(spec, "master"),
            "ports": [{"name": "paramserver", "port": PORT}],
        }
    }


def _stateful_set(spec: RunSpec) -> Object:
    return _object(spec, "apps/v1", "StatefulSet", f"{spec.name}-master") | {
        "spec": {
            "replicas": 1,
            "serviceName": spec.name,
            "selector": {"matchLabels": labels(spec, "master")},
            "template": pods.master(spec),
            "volumeClaimTemplates": [{"metadata": {"name": "runs"}, "spec": _claimed(spec)}],
        }
    }


def _claimed(spec: RunSpec) -> Object:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": spec.storage}}}


def _claim(spec: RunSpec) -> Object:
    return _object(spec, "v1", "PersistentVolumeClaim", f"{spec.name}-runs") | {"spec": _claimed(spec)}


def _budget(spec: RunSpec) -> Object:
    """Who empties a node waits for the master's consent, unless it hangs."""
    return _object(spec, "policy/v1", "PodDisruptionBudget", f"{spec.name}-master") | {
        "spec": {
            "minAvailable": 1,
            "selector": {"matchLabels": labels(spec, "master")},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
    }


# -- jobs ----------------------------------------------------------------------------------------------


def _workers(spec: RunSpec) -> Object:
    job = _object(spec, "batch/v1", "Job", f"{spec.name}-workers", "workers")
    job["metadata"]["labels"] |= _queue(spec)
    return job | {"spec": _worker_job(spec)}


def _job_set(spec: RunSpec) -> Object:
    """Both, admitted by a queue together; it is done when the master is, and failed when either is."""
    job_set = _object(spec, "jobset.x-k8s.io/v1alpha2", "JobSet", spec.name)
    job_set["metadata"]["labels"] |= _queue(spec)
    return job_set | {
        "spec": {
            "network": {"enableDNSHostnames": True, "subdomain": spec.name, "publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": ["master"]},
            "replicatedJobs": [
                {"name": "master", "replicas": 1, "template": {"spec": _master_job(spec)}},
                {"name": "workers", "replicas": 1, "template": {"spec": _worker_job(spec)}},
            ],
        }
    }


def _master_job(spec: RunSpec) -> Object:
    template = pods.master(spec)
    claim = {"claimName": f"{spec.name}-runs"}
    template["spec"]["volumes"].append({"name": "runs", "persistentVolumeClaim": claim})
    return _indexed(template, 1) | {"backoffLimit": ATTEMPTS}


def _worker_job(spec: RunSpec) -> Object:
    return _indexed(pods.worker(spec), spec.workers) | {"backoffLimitPerIndex": ATTEMPTS}


def _indexed(template: Object, count: int) -> Object:
    """What all jobs have in common. A pod is replaced when it is gone, not before: its name must be free."""
    template["spec"]["restartPolicy"] = "Never"  # or exit codes would not be looked at
    container = template["spec"]["containers"][0]["name"]

    def on_codes(action: str, codes: list[int]) -> Object:
        rule = {"containerName": container, "operator": "In", "values": codes}
        return {"action": action, "onExitCodes": rule}

    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": count,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [disrupted]},
                on_codes("FailJob", HOPELESS),
                on_codes("Ignore", [PREEMPTED]),
            ]
        },
        "template": template,
    }


def _queue(spec: RunSpec) -> dict[str, str]:
    return {"kueue.x-k8s.io/queue-name": spec.queue} if spec.queue and spec.scheduler != "volcano" else {}

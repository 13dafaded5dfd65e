"""What deploys the server: files that are read and looked at; none of them is run here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from sightline.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STEPS = [line for line in CONTAINERFILE.splitlines() if line.strip() and not line.startswith("#")]


def manifests() -> dict[str, Any]:
    text = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def container() -> dict[str, Any]:
    (one,) = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(one)


def test_the_image_is_built_in_two_stages_and_runs_as_nobody() -> None:
    bases = [step.split()[1] for step in STEPS if step.startswith("FROM ")]
    assert bases == ["${BASE}", "${BASE}"]
    assert "ARG BASE=python:3.13-slim" in STEPS
    last = STEPS[[number for number, step in enumerate(STEPS) if step.startswith("FROM ")][-1] :]
    assert "USER 65532" in last
    assert not any(step.startswith(("RUN", "ADD")) for step in last)
    assert any(step.startswith("HEALTHCHECK ") and "/v2/health/ready" in step for step in last)


def test_what_is_copied_into_the_image_is_there_and_not_ignored() -> None:
    copied = [
        word for step in STEPS if step.startswith("COPY ") and "--from" not in step for word in step.split()[1:-1]
    ]
    allowed = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    assert allowed[0] == "*"
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name.partition('/')[0]}" in allowed, name


def test_what_is_taken_out_of_the_image_exists() -> None:
    for name in re.findall(r"(?<= )sightline/[a-z_/]+", next(step for step in STEPS if "rm -rf" in step)):
        assert (ROOT / "src" / name).is_dir(), name


@pytest.mark.parametrize("name", ["Containerfile", "compose.yaml", "kubernetes.yaml"])
def test_no_file_names_a_registry(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!127\.0\.0\.1)|[a-z0-9-]+\.(io|com|dev)/", text)


def test_arguments_are_those_of_the_command() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["serve"]
    entry = next(step for step in STEPS if step.startswith("ENTRYPOINT"))
    words = shlex.split(entry.partition("[")[2].rstrip("]").replace(",", " "))
    assert words[0] == "sightline"
    for given in (compose["command"], container()["args"]):
        parsed = build_parser().parse_args([*words[1:], *given])
        assert parsed.host == "0.0.0.0"
        assert parsed.bundles[0].startswith("net=/bundle")


def test_compose_gives_no_more_than_is_needed() -> None:
    serve = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["serve"]
    assert serve["read_only"]
    assert serve["cap_drop"] == ["ALL"]
    assert serve["user"] == "65532:65532"
    assert all(port.startswith("127.0.0.1:") for port in serve["ports"])
    assert {"mem_limit", "cpus", "pids_limit", "stop_grace_period"} <= set(serve)


def test_kubernetes_probes_limits_and_shuts_in() -> None:
    made, pod = container(), manifests()["Deployment"]["spec"]["template"]["spec"]
    assert made["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert made["livenessProbe"]["httpGet"]["path"] == made["startupProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert {"cpu", "memory"} == set(made["resources"]["limits"])
    assert made["securityContext"]["readOnlyRootFilesystem"]
    assert not made["securityContext"]["allowPrivilegeEscalation"]
    assert made["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsUser"] == 65532
    assert not pod["automountServiceAccountToken"]
    assert {mount["name"] for mount in made["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_service_finds_the_pods() -> None:
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == labels == found["Deployment"]["spec"]["selector"]["matchLabels"]
    ports = {port["name"] for port in container()["ports"]}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} <= ports

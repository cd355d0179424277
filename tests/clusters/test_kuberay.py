"""The Kubernetes files, by KubeRay's and Kubernetes' own schemas."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.clusters.crd import strict_schema

CLUSTERS = Path(__file__).parents[2] / "clusters"
FILES = {"kuberay-cluster.yaml": "rayclusters", "kuberay-job.yaml": "rayjobs"}


@pytest.fixture(scope="module", params=FILES)
def resource(request) -> tuple[dict[str, Any], Draft7Validator]:
    """The Ray resource of a file, and the validator of its kind."""
    first, *_ = yaml.safe_load_all((CLUSTERS / request.param).read_text())
    return first, Draft7Validator(strict_schema(FILES[request.param]))


def cluster_of(resource: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = resource["spec"]
    return spec.get("rayClusterSpec", spec)


def pod_specs(resource: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = cluster_of(resource)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_the_schema_of_the_resource_accepts_it(resource):
    content, validator = resource
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)] == []


def test_the_schema_would_notice_a_typing_error(resource):
    content, validator = resource
    for place, wrong in (("authOption", {"mode": "token"}), ("authOptions", {"mode": "tokens"})):
        broken = copy.deepcopy(content)
        cluster_of(broken)[place] = wrong
        assert not validator.is_valid(broken), place
    broken = copy.deepcopy(content)
    pod_specs(broken)[1]["containers"][0]["securityContext"]["runAsUsr"] = 0
    assert not validator.is_valid(broken)


@pytest.mark.parametrize("file", FILES)
def test_the_rest_of_the_file_is_valid_kubernetes(file, tmp_path):
    """`kubernetes-validate` has Kubernetes' schemas of everything but Ray's own kinds."""
    _, *others = yaml.safe_load_all((CLUSTERS / file).read_text())
    assert [other["kind"] for other in others] == ["NetworkPolicy"]
    (tmp_path / "others.yaml").write_text(yaml.safe_dump_all(others))
    command = [Path(sys.executable).with_name("kubernetes-validate"), "--strict", tmp_path / "others.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nobody_gets_in(resource):
    content, _ = resource
    cluster = cluster_of(content)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    for pod in pod_specs(content):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert not [port for port in container.get("ports", ()) if "hostPort" in port]

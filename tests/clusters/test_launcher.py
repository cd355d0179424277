"""The files for Ray's cluster launcher: by Ray's validator, and their machines by the clouds' own descriptions."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.environments import python_of

ROOT = Path(__file__).parents[2]
FILES = ("aws.yaml", "gcp.yaml", "on-premise.yaml")
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)


def read(file: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "clusters" / file).read_text())
    return content


@pytest.fixture(params=FILES)
def config(request) -> dict[str, Any]:
    return read(request.param)


def test_rays_validator_accepts_the_file(config):
    validate_config(prepare_config(config))


def test_rays_validator_would_notice_a_typing_error(config):
    for key, wrong in (("file_mount", {}), ("max_workers", "8"), ("idle_timeout", 5)):
        broken = prepare_config(copy.deepcopy(config)) | {key: wrong}
        with pytest.raises(jsonschema.ValidationError):
            validate_config(broken)


def test_every_ray_that_is_started_asks_for_the_token_and_shows_no_dashboard(config):
    starts = [
        command
        for command in config["head_start_ray_commands"] + config["worker_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    for command in starts:
        assert re.search(r"export .*\bRAY_AUTH_MODE=token\b.*ray start", command), command
    assert "--dashboard-host=127.0.0.1" in starts[0]
    token = [remote for remote, local in config["file_mounts"].items() if local == "~/.ray/auth_token"]
    assert len(token) == 1
    assert token[0].endswith("/.ray/auth_token")


@pytest.mark.parametrize("file", ["aws.yaml", "gcp.yaml"])
def test_the_image_has_the_ray_that_was_tested(file):
    assert read(file)["docker"]["image"].startswith(f"rayproject/ray:{PINS['ray']}-")


IN_BOTOCORE = """
import json, sys
import botocore.session
from botocore.validate import ParamValidator

model = botocore.session.get_session().get_service_model("ec2")
for operation, parameters in json.load(sys.stdin):
    report = ParamValidator().validate(parameters, model.operation_model(operation).input_shape)
    if report.has_errors():
        print(report.generate_report())
"""


def amazons_objections(config: dict[str, Any]) -> str:
    nodes = [kind["node_config"] for kind in config["available_node_types"].values()]
    rules = config["provider"]["security_group"]["IpPermissions"]
    requests = [("RunInstances", node | {"MinCount": 1, "MaxCount": 1}) for node in nodes]
    requests.append(("AuthorizeSecurityGroupIngress", {"GroupId": "sg-1", "IpPermissions": rules}))
    done = subprocess.run(
        [python_of("clouds"), "-c", IN_BOTOCORE],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_amazons_description_of_its_api_accepts_the_machines():
    assert amazons_objections(read("aws.yaml")) == ""
    broken = read("aws.yaml")
    broken["available_node_types"]["gpu"]["node_config"]["InstanceMarketOption"] = {"MarketType": "spot"}
    assert "InstanceMarketOption" in amazons_objections(broken)


IN_GOOGLE_API = """
from googleapiclient.discovery_cache import get_static_doc
print(get_static_doc("compute", "v1"))
"""


@pytest.mark.slow
def test_googles_description_of_its_api_accepts_the_machines():
    done = subprocess.run(
        [python_of("clouds"), "-c", IN_GOOGLE_API], capture_output=True, text=True, check=True
    )
    schemas = json.loads(done.stdout)["schemas"]
    nodes = [kind["node_config"] for kind in read("gcp.yaml")["available_node_types"].values()]
    assert [line for node in nodes for line in unknown_keys(node, schemas["Instance"], schemas)] == []
    broken = nodes[1] | {"scheduling": {"provisionModel": "SPOT"}}
    assert list(unknown_keys(broken, schemas["Instance"], schemas)) == ["scheduling.provisionModel: unknown"]
    wrong = nodes[1] | {"scheduling": {"provisioningModel": "CHEAP"}}
    assert "CHEAP" in "".join(unknown_keys(wrong, schemas["Instance"], schemas))


def unknown_keys(value: Any, schema: dict[str, Any], schemas: dict[str, Any], place: str = "") -> list[str]:
    """What a value has that its schema (Google's discovery format) doesn't."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    allowed: Any = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    expected = allowed[schema["type"]]
    if schema.get("format") in ("int64", "uint64"):
        expected = (str, int)
    if not isinstance(value, expected):
        return [f"{place}: {value!r} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place}: {value!r} is none of {', '.join(schema['enum'])}"]
    if isinstance(value, list):
        items = schema["items"]
        return [line for part in value for line in unknown_keys(part, items, schemas, f"{place}[]")]
    found: list[str] = []
    for key, part in value.items() if isinstance(value, dict) else ():
        where = f"{place}.{key}".lstrip(".")
        known = schema.get("properties", {})
        found += unknown_keys(part, known[key], schemas, where) if key in known else [f"{where}: unknown"]
    return found

"""Run in the environment `publishing`: validate a crate against its profile without a network.

`python validate_crate.py CRATE`; prints a JSON list of issues. The validator asks for the crate's JSON-LD context by
its address; the package rocrate carries it (in a later version, which adds terms), so it is answered from there.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import requests
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


def carried(self: HttpRequester, url: str, **options: Any) -> requests.Response:
    if url != CONTEXT:
        raise RuntimeError(f"asked for {url}, which is not here")
    spec = importlib.util.find_spec("rocrate")
    assert spec is not None
    assert spec.origin is not None
    response = requests.Response()
    response.status_code, response.url = 200, url
    response.headers["Content-Type"] = "application/ld+json"
    response._content = (Path(spec.origin).parent / "data" / "ro-crate.jsonld").read_bytes()
    return response


def main() -> None:
    HttpRequester.get = carried
    settings = services.ValidationSettings(
        rocrate_uri=sys.argv[1],
        profile_identifier="process-run-crate",
        requirement_severity=models.Severity.REQUIRED,
    )
    issues = services.validate(settings).get_issues()
    print(json.dumps([f"{issue.check.identifier}: {issue.message}" for issue in issues]))


if __name__ == "__main__":
    main()

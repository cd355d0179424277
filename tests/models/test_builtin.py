from __future__ import annotations

import pytest

from phantom_dist.core.errors import InputError
from phantom_dist.models import zoo
from phantom_dist.models.registry import resolve

from .conformance import ModelAdapterConformance


class TestZoo(ModelAdapterConformance):
    prompt = " the baby"
    word = " arrived"

    @pytest.fixture(params=["first", "last"])
    def reference(self, request: pytest.FixtureRequest) -> str:
        names = sorted(zoo.names())
        return f"zoo:{names[0] if request.param == 'first' else names[-1]}"


def test_an_unknown_name_names_near_misses() -> None:
    name = sorted(zoo.names())[0]
    with pytest.raises(InputError, match=f"the zoo has no model '{name}x'. Did you mean"):
        resolve(f"zoo:{name}x")

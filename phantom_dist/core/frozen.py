"""The base class of settings that enter content addresses."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Frozen(BaseModel):
    """Settings that can't be changed, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    LATER: ClassVar[tuple[str, ...]] = ()
    """Fields that came when ids were in use: at their defaults they are in no serialised form, and so in no id."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = serialise(self)
        for name in self.LATER:
            if getattr(self, name) == type(self).model_fields[name].default:
                values.pop(name, None)
        return dict(values)

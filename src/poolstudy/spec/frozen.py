"""Values that are validated when made, and cannot change."""

from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"

# A number is a fine name, though YAML reads `study.name=2026` as one.
Name = Annotated[
    str,
    BeforeValidator(lambda name: str(name) if isinstance(name, int) else name),
    Field(pattern=NAME),
]
"""A name that becomes part of paths and queries."""


class Frozen(BaseModel):
    """A value: it cannot change, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Extensible(Frozen):
    """A value that may get fields in later versions.

    Such a field is written only where it differs from its default. So the JSON of everything that was possible before
    is the same bytes, with the same digests, and a text without the field means its default.
    """

    always_written: ClassVar[frozenset[str]]
    """The fields that the first version had."""

    @model_serializer(mode="wrap")
    def _leave_out_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            key: value
            for key, value in write(self).items()
            if key in self.always_written or getattr(self, key) != fields[key].default
        }


def unknown_keys(error: ValidationError) -> str:
    """Return the dotted keys that only a later version can have written, if nothing else is wrong; else ""."""
    details = error.errors()
    if any(detail["type"] != "extra_forbidden" for detail in details):
        return ""
    return ", ".join(".".join(map(str, detail["loc"])) for detail in details)

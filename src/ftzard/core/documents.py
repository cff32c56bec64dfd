"""Records that travel as strict JSON: reports, verdicts, decisions."""

import json
from typing import Any, Self

from pydantic import TypeAdapter


class JsonDocument:
    """Base of frozen pydantic dataclasses that an asset stores as JSON and that hold no NaN."""

    def to_dict(self) -> dict[str, Any]:
        """Put the record in the types of JSON: objects, arrays, strings, finite numbers and null."""
        content: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json")
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: A key is missing or unknown, or a value is of another type, NaN or infinite.
        """
        # As JSON text, because only there does pydantic's strict mode take an array for a tuple.
        return TypeAdapter(cls).validate_json(json.dumps(content, allow_nan=False), strict=True)

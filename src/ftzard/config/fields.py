"""The kinds of value that keys of the configuration have."""

import re
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Names under which a URL takes a password behind its question mark.
PASSWORDS = frozenset({"password", "passwd", "sslpassword", "token", "access_token"})
# From which on a name is taken for another that was meant: `label` for `labels`, but not `tweet` for `text`.
_LIKENESS = 0.75

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
# What NumPy, scikit-learn and torch all take.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Name = Annotated[str, Field(min_length=1)]


def _stays_inside(path: str) -> str:
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        message = "must be a relative path inside the project folder, without '..'"
        raise ValueError(message)
    return path


def without_password(url: str, instead: str) -> str:
    """Refuse a URL with a password in it, and say where it is given instead."""
    parts = urlsplit(url)
    named = {name.lower() for name, _ in parse_qsl(parts.query)}
    if parts.password is not None or not named.isdisjoint(PASSWORDS):
        # The value would end up in logs, in MLflow parameters and in this very message.
        raise PydanticCustomError("password_in_url", "must not hold a password: {instead}", {"instead": instead})
    return url


def with_text_once(prompt_template: str, *others: str) -> str:
    """Refuse a prompt template that does not hold the text exactly once, or what looks like a slip of the pen.

    Args:
        prompt_template: The template.
        others: Names besides `text` for which something is put in.
    """
    if prompt_template.count("{text}") != 1:
        message = "must contain {text} exactly once"
        raise ValueError(message)
    known = ("text", *others)
    for name in _PLACEHOLDER.findall(prompt_template):
        nearest = get_close_matches(name.lower(), known, n=1, cutoff=_LIKENESS)
        if name not in known and nearest:
            message = f"contains {{{name}}}, for which nothing is put in; did you mean {{{nearest[0]}}}?"
            raise ValueError(message)
    return prompt_template


# A folder inside the project: configuration may come from a stranger and must not reach out of it.
ProjectPath = Annotated[str, AfterValidator(_stays_inside)]

# Ends up as a link: no other scheme, and nothing that Markdown would read.
PageUrl = Annotated[str, Field(pattern=r"^https?://[^\s()<>\[\]]+$")]

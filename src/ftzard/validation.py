"""From nested values to a configuration, or to what is wrong with them, each violation with its file or override.

Nothing is ever instantiated from a `_target_`.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from ftzard.config import FtzardConfig
from ftzard.config.fields import PASSWORDS
from ftzard.core.step_registry import find_step
from ftzard.errors import ConfigError

# The file that every configuration starts from, without its suffix.
PRIMARY = "config"
# The place of a value that neither a file nor an override sets.
_NOWHERE = "the configuration"
# What stands before the host in a URL: a name and perhaps a password.
_CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]*@")
# And what may stand behind its question mark.
_NAMED_PASSWORD = re.compile(rf"(?i)([?&](?:{'|'.join(sorted(PASSWORDS))})=)[^&\s'\"]+")


@dataclass(frozen=True)
class Origins:
    """Where a value came from: looked for in the order in which later sources win.

    Attributes:
        overrides: As they were given.
        choices: The chosen option by group.
        conf_dirs: Folders of files, the project's own first.
    """

    overrides: tuple[str, ...]
    choices: Mapping[str, str]
    conf_dirs: tuple[Path, ...]

    def of(self, key: str) -> str:
        """The file or override that sets `key`, or a key below it."""
        for given in reversed(self.overrides):
            set_key = given.lstrip("+~").partition("=")[0]
            is_below = not key or f"{set_key}.".startswith(f"{key}.")
            is_above = f"{key}.".startswith(f"{set_key}.")
            # A group's option is a file, and that is what is named.
            if (is_below or is_above) and set_key not in self.choices:
                return f"override {given!r}"
        # What a list or a mapping of one's own holds stands where that does.
        path = [part for part in key.split(".") if not part.isdigit()]
        experiment = self.choices.get("experiment")
        candidates = [(f"experiment/{experiment}.yaml", path)] if experiment else []
        if path[0] in self.choices:
            candidates.append((f"{path[0]}/{self.choices[path[0]]}.yaml", path[1:]))
        candidates.append((f"{PRIMARY}.yaml", path))
        for name, keys in candidates:
            for directory in self.conf_dirs:
                if (directory / name).is_file():
                    if _holds(yaml.safe_load((directory / name).read_text(encoding="utf-8")), keys):
                        return f"{directory.name}/{name}"
                    break
        return _NOWHERE


def validated(values: dict[str, Any], origins: Origins) -> FtzardConfig:
    """Validate.

    Args:
        values: By section and key.
        origins: Where they came from.

    Raises:
        ConfigError: Naming file or override, key, value and what is allowed, for each violation.
    """
    try:
        config = TypeAdapter(FtzardConfig).validate_python(values)
    except ValidationError as error:
        problems = [_Problem.of(detail, origins) for detail in error.errors(include_url=False)]
    else:
        _check_cleaning_steps(config, origins)
        return config
    lines = "\n".join(f"  {problem.line}" for problem in problems)
    count = "a value" if len(problems) == 1 else f"{len(problems)} values"
    fix = "; ".join(dict.fromkeys(problem.fix for problem in problems))
    raise ConfigError(f"The configuration has {count} that cannot be used:\n{lines}", fix=fix)


def _check_cleaning_steps(config: FtzardConfig, origins: Origins) -> None:
    """Which steps there are is known to the core alone: other code registers some."""
    for name in config.data.cleaning_steps:
        try:
            find_step(name)
        except ConfigError as error:
            raise ConfigError(f"{origins.of('data.cleaning_steps')}: {error.what}", fix=error.fix) from error


@dataclass(frozen=True)
class _Problem:
    """One violation: what and where, and the remedy."""

    line: str
    fix: str

    @classmethod
    def of(cls, detail: Any, origins: Origins) -> "_Problem":
        key = ".".join(str(part) for part in detail["loc"])
        if detail["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            line = f"{origins.of(key)}: unknown key {key} = {detail['input']!r}"
            return cls(without_credentials(line), advice_for_key(key))
        message = detail["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        # A rule over several keys reports the whole section as its input; the message names the keys.
        if isinstance(detail["input"], Mapping) and (named := _keys_named_in(message, key)):
            places = dict.fromkeys(place for one in named if (place := origins.of(one)) != _NOWHERE)
            line = f"{' and '.join(places) or origins.of(key)}: {key and f'{key}: '}{message}"
            return cls(without_credentials(line), f"change {' or '.join(named)}")
        if isinstance(detail["input"], bool) and detail["type"] == "string_type":
            message += "; YAML reads yes, no, on, off, true and false as true or false, unless they stand in quotes"
        # A password must not be shown, wherever the value came from.
        is_secret = detail["type"] == "password_in_url"
        shown = "" if is_secret or isinstance(detail["input"], Mapping) else f" = {detail['input']!r}"
        origin = _NOWHERE if is_secret else origins.of(key)
        line = f"{origin}: {key or 'all sections'}{shown}: {message}"
        return cls(without_credentials(line), f"change {key or 'one of them'}")


def _keys_named_in(message: str, section: str) -> list[str]:
    """The keys that a rule names, by their whole name, or by that within the section whose rule it is."""
    known = _known_keys(FtzardConfig)
    words = dict.fromkeys(re.findall(r"[a-z_][\w.]*\w", message))
    named = [f"{section}.{word}" if section else word for word in words]
    return [one for one in named if any(key == one or key.startswith(f"{one}.") for key in known)]


def without_credentials(text: str) -> str:
    """A text in which no URL has a name or password any more."""
    return _NAMED_PASSWORD.sub(r"\1***", _CREDENTIALS.sub("***@", text))


def advice_for_key(key: str) -> str:
    """What to do about a key that there is not."""
    known = _known_keys(FtzardConfig)
    similar = difflib.get_close_matches(key, known, n=3, cutoff=0.8)
    if similar:
        return f"did you mean {' or '.join(similar)}?"
    section = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == section]
    return f"use one of the known keys: {', '.join(siblings or known)}"


def _known_keys(cls: type, prefix: str = "") -> list[str]:
    keys = []
    for item in fields(cls):
        if isinstance(item.type, type) and is_dataclass(item.type):
            keys += _known_keys(item.type, f"{prefix}{item.name}.")
        else:
            keys.append(prefix + item.name)
    return keys


def _holds(document: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(document, Mapping) or key not in document:
            return False
        document = document[key]
    return document is not None

"""Cleaning steps by name: FTzard's own, and those that other code registers.

A step is registered where its module is imported. A code location imports it before it builds its definitions; for the
command line, an installed package names the module as an entry point of the group `ftzard.cleaning_steps`. No name in
a configuration is ever imported: a configuration may come from a stranger.
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Final, TypeVar

import polars as pl

from ftzard.core.cleaning_steps import CLEANING_STEPS, CleaningStep
from ftzard.errors import ConfigError

ENTRY_POINT_GROUP: Final = "ftzard.cleaning_steps"

_StepFunction = TypeVar("_StepFunction", bound=Callable[[pl.Expr], pl.Expr])

# Part of metric names.
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_NUM_VERSION_DIGITS: Final = 16
_registered: Final[dict[str, CleaningStep]] = {}


def cleaning_step(name: str, *, version: str | None = None) -> Callable[[_StepFunction], _StepFunction]:
    """Register a function as a cleaning step, to be named in `data.cleaning_steps`.

    The function takes a polars expression of text and returns one that makes one text of each text, each by itself.
    Steps are applied until nothing changes, so it has to leave what it has made as it is. Its docstring, which it must
    have, is the step's description.

    Args:
        name: Small letters, digits and underscores; not the name of another step.
        version: Changes when the function's meaning does, and the texts are then cleaned anew. None: the hash of the
            function's own source code, which knows nothing of what the function calls.

    Raises:
        ConfigError: The name cannot be used or is taken, the docstring is missing, or there is neither a version nor
            source code.
    """

    def register(function: _StepFunction) -> _StepFunction:
        _check_name(name, function)
        description = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
        if not description:
            raise ConfigError(
                f"the function of the cleaning step {name} has no docstring",
                fix="say in one sentence what it does",
            )
        _registered[name] = CleaningStep(name, description, function, version or _source_version(name, function))
        return function

    return register


def find_step(name: str) -> CleaningStep:
    """The step of a name.

    Raises:
        ConfigError: There is none, or a package that registers steps cannot be imported.
    """
    steps = {**CLEANING_STEPS, **_registered}
    if name not in steps:
        _load_entry_points()
        steps = {**CLEANING_STEPS, **_registered}
    if name not in steps:
        raise ConfigError(
            f"data.cleaning_steps names the unknown step {name!r}",
            fix=f"use names among {', '.join(steps)}; or import the module that registers it before the configuration "
            "is composed",
        )
    return steps[name]


def steps_version(names: Sequence[str]) -> str:
    """The versions of those of the named steps that others have registered; empty where there is none.

    Raises:
        ConfigError: As `find_step`.
    """
    return _joined([find_step(name) for name in names])


def registered_version() -> str:
    """The same of all registered steps, for where no configuration is known yet.

    Raises:
        ConfigError: A package that registers steps cannot be imported.
    """
    _load_entry_points()
    return _joined([_registered[name] for name in sorted(_registered)])


def _joined(steps: Sequence[CleaningStep]) -> str:
    return "+".join(f"{step.name}={step.version}" for step in steps if step.version)


def _check_name(name: str, function: Callable[[pl.Expr], pl.Expr]) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"a cleaning step cannot be named {name!r}",
            fix="use small letters, digits and underscores, and begin with a letter",
        )
    own = CLEANING_STEPS.get(name)
    other = _registered.get(name)
    # A module that is imported again registers the same function again.
    is_same = other is not None and _place(other.apply) == _place(function)
    if own is not None or (other is not None and not is_same):
        owner = "FTzard itself" if own is not None or other is None else ".".join(_place(other.apply))
        raise ConfigError(
            f"{'.'.join(_place(function))} cannot be registered as the cleaning step {name}: that name is taken by "
            f"{owner}",
            fix="choose another name",
        )


def _place(function: Callable[[pl.Expr], pl.Expr]) -> tuple[str, str]:
    return function.__module__, getattr(function, "__qualname__", type(function).__qualname__)


def _source_version(name: str, function: Callable[[pl.Expr], pl.Expr]) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise ConfigError(
            f"the source code of the cleaning step {name} cannot be read, so that a change of it would go unnoticed",
            fix="give a version: cleaning_step(name, version='1')",
        ) from error
    return hashlib.sha256(source.encode()).hexdigest()[:_NUM_VERSION_DIGITS]


@cache
def _load_entry_points() -> None:
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            point.load()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{point.value}, which registers cleaning steps as the entry point {point.name}, cannot be imported: "
                f"{type(error).__name__}: {error}",
                fix="correct or remove the installed package",
            ) from error

"""Hydra: `conf/` and overrides in, a validated configuration out.

The only module that knows Hydra, and the only place where a `DictConfig` exists. Hydra merges YAML and overrides over
the defaults of `ftzard.config`, pydantic validates the outcome, and this module says of each violation which file or
override it came from. Nothing is ever instantiated from a `_target_`.
"""

import difflib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from ftzard.config import FtzardConfig
from ftzard.errors import ConfigError

_PRIMARY = "config"
_GIVEN = "ftzard_given"
_DEFAULTS = "ftzard_defaults"
# Hydra keeps its state in process-wide singletons.
_HYDRA_LOCK = threading.Lock()
# Hydra's messages for a key that does not exist and for a group option that does not exist.
_UNKNOWN_KEY = re.compile(r"Could not override '(?P<key>[^']+)'")
_UNKNOWN_OPTION = re.compile(r"Could not find '(?P<option>[^']+)'")


def bundled_conf_dir() -> Path:
    """The `conf/` that comes with FTzard: inside the installed package, or beside `src/` in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def compose(overrides: Sequence[str] = (), *, project_dir: Path | None = None) -> FtzardConfig:
    """Compose the configuration of a project.

    Args:
        overrides: In Hydra's grammar, such as `experiment=tiny` or `training.learning_rate=1e-4`.
        project_dir: The project; its `conf/` comes first, FTzard's own fills in what it lacks. None: FTzard's alone.

    Raises:
        ConfigError: Naming file, key, value and what is allowed, for each violation.
    """
    sources = [directory for directory in _conf_dirs(project_dir) if directory.is_dir()]
    with _hydra(sources[0]):
        search_path = (
            [f"hydra.searchpath=[{','.join(f'file://{path}' for path in sources[1:])}]"] if sources[1:] else []
        )
        values, choices = _composed(_PRIMARY, [*overrides, *search_path])
    return _validated(values, _Origins(tuple(overrides), choices, tuple(sources)))


def override(config: FtzardConfig, overrides: Sequence[str]) -> FtzardConfig:
    """Apply overrides to a configuration made in Python; groups such as `experiment` do not exist there.

    Raises:
        ConfigError: As `compose` does.
    """
    if not overrides:
        return config
    with _hydra(bundled_conf_dir()):
        from hydra.core.config_store import ConfigStore

        ConfigStore.instance().store(name=_GIVEN, node=asdict(config), replace=True)
        values, _ = _composed(_GIVEN, overrides)
    return _validated(values, _Origins(tuple(overrides), {}, ()))


def validate(values: Mapping[str, Any]) -> FtzardConfig:
    """Turn nested mappings, as `to_dict` gives them, into a configuration.

    Raises:
        ConfigError: Naming key, value and what is allowed.
    """
    return _validated(dict(values), _Origins((), {}, ()))


def to_dict(config: FtzardConfig) -> dict[str, Any]:
    """The configuration as nested mappings of JSON types."""
    plain: dict[str, Any] = TypeAdapter(FtzardConfig).dump_python(config, mode="json")
    return plain


def to_yaml(config: FtzardConfig) -> str:
    """The configuration as YAML, in the order of the dataclasses."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def _conf_dirs(project_dir: Path | None) -> tuple[Path, ...]:
    bundled = bundled_conf_dir()
    if project_dir is None or (project_dir / "conf").resolve() == bundled:
        return (bundled,)
    return ((project_dir / "conf").resolve(), bundled)


@contextmanager
def _hydra(config_dir: Path) -> Iterator[None]:
    """Hydra's global state for one composition, leaving that of a host application as it was."""
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    with _HYDRA_LOCK:
        singleton = GlobalHydra.instance()
        host, singleton.hydra = singleton.hydra, None
        try:
            ConfigStore.instance().store(name=_DEFAULTS, node=asdict(FtzardConfig()), replace=True)
            with initialize_config_dir(config_dir=str(config_dir), job_name="ftzard"):
                yield
        finally:
            GlobalHydra.instance().hydra = host


def _composed(config_name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values by key and the chosen option by group."""
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        composed = hydra_compose(config_name, overrides=list(overrides), return_hydra_config=True)
        choices = {str(group): str(option) for group, option in composed.hydra.runtime.choices.items()}
        without_hydra = {key: value for key, value in composed.items_ex(resolve=False) if key != "hydra"}
        values = OmegaConf.to_container(OmegaConf.create(without_hydra), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explained(error, overrides) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{config_name}.yaml is not a mapping", fix="make it a mapping of groups to their keys")
    return {str(key): value for key, value in values.items()}, choices


def _explained(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Hydra's error in FTzard's words; Hydra's own advice (`+key=...`) would only lead to the next error."""
    text = str(error)
    if unknown := _UNKNOWN_KEY.search(text):
        key = unknown["key"]
        culprit = next((given for given in overrides if given.lstrip("+~").startswith(key)), key)
        return ConfigError(f"Unknown key {key!r} in the override {culprit!r}", fix=_advice_for_key(key))
    if unknown := _UNKNOWN_OPTION.search(text):
        # Hydra lists the options and then its search path, both indented by a tab.
        options = re.findall(r"^\t([\w./-]+)$", text, flags=re.MULTILINE)
        allowed = f"one of {', '.join(options)}" if options else "a file in that folder of conf/"
        return ConfigError(f"There is no {unknown['option']!r} in conf/", fix=f"choose {allowed}")
    return ConfigError(
        f"The configuration cannot be composed: {text}", fix="see `ftzard config --help` for the grammar"
    )


def _advice_for_key(key: str) -> str:
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


def _validated(values: dict[str, Any], origins: "_Origins") -> FtzardConfig:
    try:
        return TypeAdapter(FtzardConfig).validate_python(values)
    except ValidationError as error:
        problems = [_Problem.of(detail, origins) for detail in error.errors(include_url=False)]
    lines = "\n".join(f"  {problem.line}" for problem in problems)
    count = "a value" if len(problems) == 1 else f"{len(problems)} values"
    fix = "; ".join(dict.fromkeys(problem.fix for problem in problems))
    raise ConfigError(f"The configuration has {count} that cannot be used:\n{lines}", fix=fix)


@dataclass(frozen=True)
class _Problem:
    """One violation: what and where, and the remedy."""

    line: str
    fix: str

    @classmethod
    def of(cls, detail: Any, origins: "_Origins") -> "_Problem":
        key = ".".join(str(part) for part in detail["loc"])
        if detail["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            return cls(f"{origins.of(key)}: unknown key {key} = {detail['input']!r}", _advice_for_key(key))
        message = detail["msg"].removeprefix("Value error, ")
        # A rule over several keys reports the whole section as its input; the message names the keys. And a password
        # must not be shown, wherever the value came from.
        is_secret = detail["type"] == "password_in_url"
        shown = "" if is_secret or isinstance(detail["input"], Mapping) else f" = {detail['input']!r}"
        origin = "the configuration" if is_secret else origins.of(key)
        message = message[:1].lower() + message[1:]
        return cls(f"{origin}: {key or 'the configuration'}{shown}: {message}", f"change {key or 'one of them'}")


@dataclass(frozen=True)
class _Origins:
    """Where a value came from: looked for in the order in which later sources win."""

    overrides: tuple[str, ...]
    choices: Mapping[str, str]
    conf_dirs: tuple[Path, ...]

    def of(self, key: str) -> str:
        """The file or override that sets `key`, or a key below it."""
        for given in reversed(self.overrides):
            if given.lstrip("+~").partition("=")[0].startswith(key):
                return f"override {given!r}"
        path = key.split(".")
        experiment = self.choices.get("experiment")
        candidates = [(f"experiment/{experiment}.yaml", path)] if experiment else []
        if path[0] in self.choices:
            candidates.append((f"{path[0]}/{self.choices[path[0]]}.yaml", path[1:]))
        candidates.append((f"{_PRIMARY}.yaml", path))
        for name, keys in candidates:
            for directory in self.conf_dirs:
                if (directory / name).is_file():
                    if _holds(yaml.safe_load((directory / name).read_text(encoding="utf-8")), keys):
                        return f"{directory.name}/{name}"
                    break
        return "the configuration"


def _holds(document: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(document, Mapping) or key not in document:
            return False
        document = document[key]
    return document is not None

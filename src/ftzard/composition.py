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
from typing import Any, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError

from ftzard.config import FtzardConfig
from ftzard.core.step_registry import find_step
from ftzard.errors import ConfigError

_PRIMARY = "config"
_ENTRY = "ftzard_entry"
_GIVEN = "ftzard_given"
_DEFAULTS = "ftzard_defaults"
# Hydra keeps its state in process-wide singletons.
# The place of a value that neither a file nor an override sets.
_NOWHERE = "the configuration"

_HYDRA_LOCK = threading.Lock()
# Hydra's messages for a key that does not exist and for a group option that does not exist.
_UNKNOWN_KEY = re.compile(r"Could not override '(?P<key>[^']+)'")
_UNKNOWN_OPTION = re.compile(r"Could not find '(?P<option>[^']+)'")
# What stands before the host in a URL: a name and perhaps a password.
_CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]*@")


def bundled_conf_dir() -> Path:
    """The `conf/` that comes with FTzard: inside the installed package, or beside `src/` in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def compose(overrides: Sequence[str] = (), *, project_dir: Path | str | None = None) -> FtzardConfig:
    """Compose the configuration of a project.

    Args:
        overrides: In Hydra's grammar, such as `experiment=tiny` or `training.learning_rate=1e-4`.
        project_dir: The project; its `conf/` comes first, FTzard's own fills in what it lacks. None: FTzard's alone.

    Raises:
        ConfigError: Naming file, key, value and what is allowed, for each violation.
    """
    overrides = as_overrides(overrides)
    sources = [directory for directory in _conf_dirs(project_dir) if directory.is_dir()]
    with _hydra(sources[0]):
        from hydra.core.config_store import ConfigStore

        # Hydra looks for its primary config before it knows the search path, and a project need not have one.
        search_path = [f"file://{path}" for path in sources[1:]]
        entry = {"defaults": [_PRIMARY, "_self_"], "hydra": {"searchpath": search_path}}
        ConfigStore.instance().store(name=_ENTRY, node=entry, replace=True)
        try:
            values, choices = _composed(_ENTRY, overrides)
        except UnicodeDecodeError as error:
            raise _not_utf8(sources, error) from None
    return _validated(values, _Origins(tuple(overrides), choices, tuple(sources)))


def override(config: FtzardConfig, overrides: Sequence[str]) -> FtzardConfig:
    """Apply overrides to a configuration made in Python; groups such as `experiment` do not exist there.

    Raises:
        ConfigError: As `compose` does.
    """
    if not (overrides := as_overrides(overrides)):
        return config
    with _hydra(bundled_conf_dir()):
        from hydra.core.config_store import ConfigStore

        ConfigStore.instance().store(name=_GIVEN, node=asdict(config), replace=True)
        values, _ = _composed(_GIVEN, overrides)
    return _validated(values, _Origins(tuple(overrides), {}, ()))


def as_overrides(given: object) -> list[str]:
    """A list of overrides as it is.

    Raises:
        ConfigError: It is something else, such as one text, whose letters would each be taken for an override.
    """
    if isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(item, str) for item in given):
        return list(given)
    raise ConfigError(
        f"Overrides are a list of texts, and {given!r} is none", fix='give a list, such as ["experiment=tiny"]'
    )


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


def _conf_dirs(project_dir: Path | str | None) -> tuple[Path, ...]:
    bundled = bundled_conf_dir()
    own = bundled if project_dir is None else Path(project_dir, "conf").resolve()
    return (bundled,) if own == bundled else (own, bundled)


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
        composed = hydra_compose(
            config_name, overrides=[_opened(given) for given in overrides], return_hydra_config=True
        )
        choices = {str(group): str(option) for group, option in composed.hydra.runtime.choices.items()}
        without_hydra = {key: value for key, value in composed.items_ex(resolve=False) if key != "hydra"}
        values = OmegaConf.to_container(OmegaConf.create(without_hydra), resolve=True)
    except UnicodeDecodeError:
        raise
    # Hydra raises a bare ValueError for a group that is set to a number.
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        # Not chained: the text is in the message, and there without passwords.
        raise _explained(error, overrides) from None
    plain: dict[str, Any] = _with_text_keys(values)
    return plain, choices


def _opened(given: str) -> str:
    """An override as Hydra takes it: it refuses new keys in a mapping unless they are added by force."""
    key = given.partition("=")[0]
    is_open = any(key == mapping or key.startswith(f"{mapping}.") for mapping in _open_mappings(FtzardConfig))
    return f"++{given}" if is_open else given


def _open_mappings(cls: type, prefix: str = "") -> list[str]:
    """The keys whose value is a mapping with keys of the person's choice."""
    keys = []
    for item in fields(cls):
        if isinstance(item.type, type) and is_dataclass(item.type):
            keys += _open_mappings(item.type, f"{prefix}{item.name}.")
        elif get_origin(item.type) is dict:
            keys.append(prefix + item.name)
    return keys


def _with_text_keys(values: Any) -> Any:
    """YAML reads the key in `{0: negative}` as a number; in the configuration every key is a text.

    Raises:
        ConfigError: It read one as true or false, and nobody knows which of the words for those was written.
    """
    if isinstance(values, dict):
        if odd := [key for key in values if isinstance(key, bool)]:
            raise ConfigError(
                f"YAML reads a key of {values!r} as {odd[0]}: yes, no, on, off, true and false are no texts there",
                fix='write such a key in quotes, as in {"yes": positive, "no": negative}',
            )
        return {str(key): _with_text_keys(value) for key, value in values.items()}
    return values


def _explained(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Hydra's error in FTzard's words; Hydra's own advice (`+key=...`) would only lead to the next error."""
    text = _without_credentials(str(error))
    if unknown := _UNKNOWN_KEY.search(text):
        key = unknown["key"]
        culprit = next((given for given in overrides if given.lstrip("+~").startswith(key)), key)
        return ConfigError(
            f"Unknown key {key!r} in the override {_without_credentials(culprit)!r}", fix=_advice_for_key(key)
        )
    if unknown := _UNKNOWN_OPTION.search(text):
        # Hydra lists the options and then its search path, both indented by a tab.
        options = re.findall(r"^\t([\w./-]+)$", text, flags=re.MULTILINE)
        allowed = f"one of {', '.join(options)}" if options else "a file in that folder of conf/"
        return ConfigError(f"There is no {unknown['option']!r} in conf/", fix=f"choose {allowed}")
    cause = _without_credentials(str(error.__cause__ or "")).partition("\n")[0]
    return ConfigError(
        f"The configuration cannot be composed: {text}{cause and f': {cause}'}",
        fix="see `ftzard config --help` for the grammar",
    )


def _not_utf8(sources: Sequence[Path], error: UnicodeDecodeError) -> ConfigError:
    """What was read is one of the files; Hydra does not say which."""
    for path in sorted(path for source in sources for path in source.rglob("*.yaml")):
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError as found:
            line = found.object.count(b"\n", 0, found.start) + 1
            return ConfigError(
                f"{path}, line {line}: byte 0x{found.object[found.start]:02x} is not UTF-8",
                fix="write the file in UTF-8, or bring it back with git",
            )
    return ConfigError(f"A file of the configuration is not UTF-8: {error}", fix="write the files of conf/ in UTF-8")


def _without_credentials(text: str) -> str:
    return _CREDENTIALS.sub("***@", text)


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


def _check_cleaning_steps(config: FtzardConfig, origins: "_Origins") -> None:
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
    def of(cls, detail: Any, origins: "_Origins") -> "_Problem":
        key = ".".join(str(part) for part in detail["loc"])
        if detail["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            line = f"{origins.of(key)}: unknown key {key} = {detail['input']!r}"
            return cls(_without_credentials(line), _advice_for_key(key))
        message = detail["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        # A rule over several keys reports the whole section as its input; the message names the keys.
        if isinstance(detail["input"], Mapping) and (named := _keys_named_in(message, key)):
            places = dict.fromkeys(place for one in named if (place := origins.of(one)) != _NOWHERE)
            line = f"{' and '.join(places) or origins.of(key)}: {key and f'{key}: '}{message}"
            return cls(_without_credentials(line), f"change {' or '.join(named)}")
        if isinstance(detail["input"], bool) and detail["type"] == "string_type":
            message += "; YAML reads yes, no, on, off, true and false as true or false, unless they stand in quotes"
        # A password must not be shown, wherever the value came from.
        is_secret = detail["type"] == "password_in_url"
        shown = "" if is_secret or isinstance(detail["input"], Mapping) else f" = {detail['input']!r}"
        origin = _NOWHERE if is_secret else origins.of(key)
        line = f"{origin}: {key or 'all sections'}{shown}: {message}"
        return cls(_without_credentials(line), f"change {key or 'one of them'}")


def _keys_named_in(message: str, section: str) -> list[str]:
    """The keys that a rule names, by their whole name, or by that within the section whose rule it is."""
    known = _known_keys(FtzardConfig)
    words = dict.fromkeys(re.findall(r"[a-z_][\w.]*\w", message))
    named = [f"{section}.{word}" if section else word for word in words]
    return [one for one in named if any(key == one or key.startswith(f"{one}.") for key in known)]


@dataclass(frozen=True)
class _Origins:
    """Where a value came from: looked for in the order in which later sources win."""

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
        candidates.append((f"{_PRIMARY}.yaml", path))
        for name, keys in candidates:
            for directory in self.conf_dirs:
                if (directory / name).is_file():
                    if _holds(yaml.safe_load((directory / name).read_text(encoding="utf-8")), keys):
                        return f"{directory.name}/{name}"
                    break
        return _NOWHERE


def _holds(document: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(document, Mapping) or key not in document:
            return False
        document = document[key]
    return document is not None

"""Hydra: `conf/` and overrides in, a validated configuration out.

The only module that knows Hydra, and the only place where a `DictConfig` exists. Hydra merges YAML and overrides over
the defaults of `ftzard.config`, and `ftzard.validation` says of each violation which file or override it came from.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import TypeAdapter

from ftzard.config import FtzardConfig
from ftzard.errors import ConfigError
from ftzard.validation import PRIMARY, Origins, advice_for_key, validated, without_credentials

_ENTRY = "ftzard_entry"
_GIVEN = "ftzard_given"
_DEFAULTS = "ftzard_defaults"
# Hydra keeps its state in process-wide singletons.
_HYDRA_LOCK = threading.Lock()
# What Hydra and OmegaConf say of a key, a variable of the environment and a group option that do not exist.
_UNKNOWN_KEY = re.compile(r"Could not override '(?P<key>[^']+)'")
_UNSET_VARIABLE = re.compile(r"Environment variable '(?P<name>[^']+)' not found(?s:.*)full_key: (?P<key>\S+)")
_UNKNOWN_OPTION = re.compile(r"Could not find '(?P<option>[^']+)'")


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
        entry = {"defaults": [PRIMARY, "_self_"], "hydra": {"searchpath": search_path}}
        ConfigStore.instance().store(name=_ENTRY, node=entry, replace=True)
        try:
            values, choices = _composed(_ENTRY, overrides)
        except UnicodeDecodeError as error:
            raise _not_utf8(sources, error) from None
    return validated(values, Origins(tuple(overrides), choices, tuple(sources)))


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
    return validated(values, Origins(tuple(overrides), {}, ()))


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
    return validated(dict(values), Origins((), {}, ()))


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
    text = without_credentials(str(error))
    if unknown := _UNKNOWN_KEY.search(text):
        key = unknown["key"]
        culprit = next((given for given in overrides if given.lstrip("+~").startswith(key)), key)
        return ConfigError(
            f"Unknown key {key!r} in the override {without_credentials(culprit)!r}", fix=advice_for_key(key)
        )
    if unset := _UNSET_VARIABLE.search(text):
        name = unset["name"]
        return ConfigError(
            f"{unset['key']} is to be read from the environment variable {name}, which is not set",
            fix=f"set {name} where the configuration is composed (the code location, its runs, commands), or write a "
            f"value for where it is not set: ${{oc.env:{name},VALUE}}",
        )
    if unknown := _UNKNOWN_OPTION.search(text):
        # Hydra lists the options and then its search path, both indented by a tab.
        options = re.findall(r"^\t([\w./-]+)$", text, flags=re.MULTILINE)
        allowed = f"one of {', '.join(options)}" if options else "a file in that folder of conf/"
        return ConfigError(f"There is no {unknown['option']!r} in conf/", fix=f"choose {allowed}")
    cause = without_credentials(str(error.__cause__ or "")).partition("\n")[0]
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

"""What names and amounts Kubernetes takes, so that it has nothing to refuse later."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic.dataclasses import dataclass

from ftzard.config.fields import STRICT, without_password

# A variable that holds a secret, by its name. The hub's token is one that loading a gated model needs.
SECRET_NAME = re.compile(
    r"^(MLFLOW|DAGSTER|AWS|AZURE|GOOGLE|GIT_CONFIG)_|PASSWORD|PASSWD|PASSPHRASE|_PWD$|SECRET|CREDENTIAL"
    r"|(API|ACCESS|PRIVATE)_?KEY|(^|_)(TOKEN|PAT)(_|$)",
    re.IGNORECASE,
)

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"


def _matching(pattern: str, what: str, max_length: int) -> AfterValidator:
    known = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > max_length or not known.fullmatch(text):
            message = f"must be {what}, of at most {max_length} characters"
            raise ValueError(message)
        return text

    return AfterValidator(check)


def _number_as_text(value: Any) -> Any:
    """YAML and Hydra read `2` as a number, and Kubernetes takes it as an amount."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _more_than_none(amount: str) -> str:
    if not float(re.match(r"[\d.]+", amount)[0]):  # type: ignore[index]  # the pattern begins so
        message = "must be more than 0"
        raise ValueError(message)
    return amount


def _not_secret(name: str) -> str:
    if SECRET_NAME.search(name):
        message = "looks like a secret, and all that stands here is in the manifest for others to read"
        raise ValueError(message)
    return name


def _shows_no_password(value: str) -> str:
    return without_password(value, "all that stands here is in the manifest for others to read")


def _relative(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        message = "must be a path inside the volume, without '/' before it and without '..'"
        raise ValueError(message)
    return path.strip("/")


# RFC 1123, as Kubernetes checks it.
NamespaceName = Annotated[
    str, _matching(_LABEL, "lower-case letters, digits and '-', with a letter or digit at both ends", 63)
]
ObjectName = Annotated[
    str,
    _matching(
        rf"{_LABEL}(\.{_LABEL})*", "lower-case letters, digits, '-' and '.', with a letter or digit at both ends", 253
    ),
]
LabelKey = Annotated[
    str, _matching(rf"({_LABEL}(\.{_LABEL})*/)?{_QUALIFIED}", "a key of a label, such as `kubernetes.io/arch`", 317)
]
LabelValue = Annotated[
    str, _matching(rf"({_QUALIFIED})?", "letters, digits, '-', '_' and '.', with a letter or digit at both ends", 63)
]
SecretKey = Annotated[str, _matching(r"[-._A-Za-z0-9]+", "letters, digits, '-', '_' and '.'", 253)]
VariableName = Annotated[
    str, _matching(r"[A-Za-z_][A-Za-z0-9_]*", "letters, digits and '_'", 253), AfterValidator(_not_secret)
]
VariableValue = Annotated[str, AfterValidator(_shows_no_password)]
ImageName = Annotated[
    str,
    _matching(
        rf"([A-Za-z0-9.-]+(:\d+)?/)?{_COMPONENT}(/{_COMPONENT})*(:\w[\w.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?",
        "the name of an image, such as `host/team/ftzard:1.0`",
        512,
    ),
]
CpuAmount = Annotated[
    str,
    BeforeValidator(_number_as_text),
    _matching(r"\d+(\.\d{1,3})?|\d+m", "a number of cores, such as 4, 0.5 or 500m", 20),
    AfterValidator(_more_than_none),
]
# No `m`, which Kubernetes takes for thousandths of a byte, and nobody means.
MemoryAmount = Annotated[
    str,
    BeforeValidator(_number_as_text),
    _matching(r"\d+(\.\d{1,3})?([KMGTPE]i|[kMGTPE])?", "an amount of memory, such as 16Gi or 512Mi", 20),
    AfterValidator(_more_than_none),
]
VolumePath = Annotated[str, AfterValidator(_relative)]


def num_cores(amount: str) -> int:
    """How many whole cores an amount is, at least one."""
    cores = float(amount.removesuffix("m")) / (1000 if amount.endswith("m") else 1)
    return max(1, int(cores))


@dataclass(frozen=True, config=STRICT)
class Toleration:
    """A taint of nodes on which a pod may run all the same."""

    # None, with `operator` 'Exists': every key.
    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue = ""
    # None: every effect.
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    def __post_init__(self) -> None:
        """Refuse what Kubernetes would."""
        if self.operator == "Exists" and self.value:
            message = "operator 'Exists' takes no value"
            raise ValueError(message)
        if self.operator == "Equal" and self.key is None:
            message = "operator 'Equal' needs a key"
            raise ValueError(message)

"""Each input that cannot work: the error names the culprit and the remedy, and nothing that was there is lost."""

import ctypes
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.core.model_scenario import LABELS, save_tiny_model, train
from tests.project_scenario import NAMES, TINY, copy_of, data_versions, failure_of, file_bytes, git, load_asset, run

from ftzard.assets.evaluation import predictions
from ftzard.assets.step import Step
from ftzard.composition import compose
from ftzard.config import VersioningConfig
from ftzard.core.adapter_documents import read_labels
from ftzard.errors import (
    AdapterMismatchError,
    BatchEncodingError,
    EmptyBatchError,
    FtzardError,
    MissingColumnError,
    MissingPackageError,
    ModelNotFoundError,
    NoBatchesError,
    NoExamplesError,
    NotACausalLanguageModelError,
    NotADvcRepositoryError,
    NotAGitRepositoryError,
    SingleClassError,
    StorageError,
    TooFewExamplesError,
    TrackingUnavailableError,
    UnknownLabelError,
)
from ftzard.resources.versioning import DvcRepository

_BATCH = "data/raw/opinions.csv"
# Makes `metrics` alone stale: the shortest way into a run.
_STALE_METRICS = "evaluation.num_bootstrap_samples=300"
# <linux/capability.h>
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2


@dataclass(frozen=True)
class BadInput:
    """A project spoilt in one way.

    Attributes:
        name: For the list of tests.
        spoil: Changes the project, and gives the overrides to run it with.
        error: The class of the error.
        culprit: What the message must name.
        remedy: What the advice must name.
        committed_before: The assets that are made, and committed, before the one that fails.
    """

    name: str
    spoil: Callable[[Path], list[str]]
    error: type[FtzardError]
    culprit: tuple[str, ...]
    remedy: tuple[str, ...]
    committed_before: tuple[str, ...] = ()


def _batch(content: str, *overrides: str, name: str = _BATCH, encoding: str = "utf-8") -> Callable[[Path], list[str]]:
    """Write a batch: instead of the one that is there, or under another name."""

    def spoil(project: Path) -> list[str]:
        (project / name).write_text(content, encoding=encoding)
        return list(overrides)

    return spoil


def _overrides(*overrides: str) -> Callable[[Path], list[str]]:
    return lambda _: list(overrides)


def _without(name: str, *overrides: str) -> Callable[[Path], list[str]]:
    """Move something out of the project."""

    def spoil(project: Path) -> list[str]:
        (project / name).rename(project.parent / "taken-away")
        return list(overrides)

    return spoil


def _with_an_encoder(project: Path) -> list[str]:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    folder = project.parent / "encoder"
    BertForMaskedLM(config).save_pretrained(folder)
    return [f"model.base_model={folder}"]


_CASES = (
    BadInput("no files", _without(_BATCH), NoBatchesError, ("data/raw", "data/labelled"), (".csv", "data.raw_dir")),
    BadInput("an empty file", _batch("", name="data/raw/e.csv"), EmptyBatchError, ("data/raw/e.csv",), ("data",)),
    BadInput(
        "a file with a header only",
        _batch("text,label\n", name="data/raw/header.csv"),
        EmptyBatchError,
        ("data/raw/header.csv",),
        ("data",),
    ),
    BadInput(
        "a missing column",
        _batch("review,stars\ngood,5\n", name="data/raw/other.csv"),
        MissingColumnError,
        ("data/raw/other.csv", "'text'", "'review'"),
        ("data.text_column",),
    ),
    BadInput(
        "an unknown label",
        _batch("text,label\nso so,neutral\n", "data.labels=[negative,positive]", name="data/raw/third.csv"),
        UnknownLabelError,
        ("data/raw/third.csv, row 2", "'neutral'", "'negative', 'positive'"),
        ("data.label_mapping", "data.labels"),
        ("raw_data",),
    ),
    BadInput(
        "a single class",
        _batch("text,label\nfine,positive\ngreat,positive\n"),
        SingleClassError,
        ("'positive'",),
        ("one other label",),
        ("raw_data",),
    ),
    BadInput(
        "wrong encoding",
        _batch("text,label\ncaf\xe9,positive\n", "data.encoding=utf-8", name="data/raw/l1.csv", encoding="latin-1"),
        BatchEncodingError,
        ("data/raw/l1.csv", "utf-8"),
        ("data.encoding",),
    ),
    BadInput(
        "text empty after cleaning",
        _batch(
            "text,label\n\u2764\u2764,positive\n\u2639,negative\n",
            "data.cleaning_steps=[basic_characters,collapse_whitespace]",
        ),
        NoExamplesError,
        ("2 empty_after_cleaning",),
        ("data.cleaning_steps",),
        ("raw_data",),
    ),
    BadInput(
        "fewer rows than classes",
        _batch("text,label\none,a\ntwo,b\nthree,c\n", "data.labels=[a,b,c,d]"),
        TooFewExamplesError,
        ("'d'", "data.labels"),
        ("add examples", "data.labels"),
        ("raw_data",),
    ),
    BadInput(
        "a model folder that is not there",
        _overrides("model.base_model=./models/nothing"),
        ModelNotFoundError,
        ("./models/nothing", "model.base_model"),
        ("model.base_model",),
    ),
    BadInput(
        "a model package that is not installed",
        _overrides("model.base_model=package:no_such_model/model.gguf"),
        MissingPackageError,
        ("no_such_model",),
        ("pip install",),
    ),
    BadInput(
        "a hub model without the hub",
        _overrides("model.base_model=nobody/nothing", f"model.revision={'0' * 40}"),
        ModelNotFoundError,
        ("nobody/nothing", "hub"),
        ("network",),
    ),
    BadInput(
        "a model that is no causal language model",
        _with_an_encoder,
        NotACausalLanguageModelError,
        ("BertForMaskedLM", "encoder"),
        ("LlamaForCausalLM",),
    ),
    BadInput(
        "no git repository",
        _without(".git", _STALE_METRICS),
        NotAGitRepositoryError,
        ("copy",),
        ("git init",),
    ),
    BadInput("git without DVC", _without(".dvc", _STALE_METRICS), NotADvcRepositoryError, ("copy",), ("dvc init",)),
    BadInput(
        "MLflow not reachable",
        _overrides(_STALE_METRICS, "tracking.tracking_uri=http://127.0.0.1:9", "tracking.request_timeout_s=2"),
        TrackingUnavailableError,
        ("http://127.0.0.1:9", "tracking.tracking_uri"),
        ("start the server", "tracking.tracking_uri"),
    ),
)


@dataclass(frozen=True)
class _Snapshot:
    """What must survive: the commits, the data, and DVC's cache of all data that was ever committed."""

    commits: tuple[str, ...]
    data: dict[str, bytes]
    cache: dict[str, bytes]

    @classmethod
    def of(cls, project: Path) -> "_Snapshot":
        commits = git(project, "rev-list", "--reverse", "HEAD").splitlines() if (project / ".git").exists() else []
        return cls(tuple(commits), file_bytes(project / "data"), file_bytes(project / ".dvc" / "cache"))

    def assert_kept_in(self, project: Path, committed: tuple[str, ...]) -> None:
        after = _Snapshot.of(project)
        assert after.commits[: len(self.commits)] == self.commits
        assert len(after.commits) == len(self.commits) + len(committed)
        assert after.cache.items() >= self.cache.items()
        changed = {name for name in self.data.keys() | after.data.keys() if self.data.get(name) != after.data.get(name)}
        assert {Path(name.removeprefix("assets/")).parts[0].partition(".")[0] for name in changed} <= set(committed)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the library that asks the hub was imported before the environment said so."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_a_bad_input_names_culprit_and_remedy_and_nothing_is_lost(
    case: BadInput, materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    overrides = case.spoil(project)
    before = _Snapshot.of(project)
    error = failure_of(project, *overrides)
    assert type(error) is case.error, error
    assert [part for part in case.culprit if part not in error.what] == [], error
    assert [part for part in case.remedy if part not in error.fix] == [], error
    before.assert_kept_in(project, case.committed_before)


def test_once_the_bad_input_is_taken_away_everything_is_as_before(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    versions, batch = data_versions(project), (project / _BATCH).read_bytes()
    data = file_bytes(project / "data")
    (project / _BATCH).write_text("text,label\nfine,positive\n")
    assert isinstance(failure_of(project), SingleClassError)
    (project / _BATCH).write_bytes(batch)
    assert run(project).ran == NAMES
    # The gate's second verdict on the same adapter is that it knows it.
    assert {**data_versions(project), "champion": ""} == {**versions, "champion": ""}
    assert file_bytes(project / "data") == data


@pytest.fixture
def changeable_project(materialized_project: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy whose permissions a test may take away; they are given back, so that pytest can tidy up."""
    project = copy_of(materialized_project, tmp_path)
    yield project
    for path in (project, *project.rglob("*")):
        _change_mode(path, add=stat.S_IRWXU)


def _change_mode(path: Path, *, add: int = 0, remove: int = 0) -> None:
    if not path.is_symlink():
        path.chmod((stat.S_IMODE(path.stat().st_mode) | add) & ~remove)


@contextmanager
def _without_power_over_files() -> Iterator[None]:
    """Permissions do not bind root: within this, they bind this thread as they bind any owner of the files.

    Only the capability is given up, not the user: the files of the tests and of what is installed may lie in folders
    that nobody else can reach.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    # <linux/capability.h>: version 3, this thread; then effective, permitted and inheritable, low words and high words.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before, after = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0, os.strerror(ctypes.get_errno())
    after[:] = list(before)
    after[0] = before[0] & ~(1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH)
    assert libc.capset(header, after) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0, os.strerror(ctypes.get_errno())


def test_a_read_only_data_folder_names_the_file_and_nothing_is_lost(changeable_project: Path) -> None:
    project = changeable_project
    for path in (project / "data", *(project / "data").rglob("*")):
        _change_mode(path, remove=0o222)
    before = _Snapshot.of(project)
    with _without_power_over_files():
        with pytest.raises(PermissionError):
            (project / "data" / "assets" / "probe").touch()
        error = failure_of(project, _STALE_METRICS, "tracking.experiment=read_only")
    assert type(error) is StorageError, error
    assert str(project / "data" / "assets") in error.what
    assert "Permission denied" in error.what
    assert "permissions" in error.fix
    before.assert_kept_in(project, ())


def test_a_data_folder_that_cannot_be_read_names_it_and_nothing_is_lost(changeable_project: Path) -> None:
    project = changeable_project
    before = _Snapshot.of(project)
    _change_mode(project / _BATCH, remove=0o777)
    with _without_power_over_files():
        error = failure_of(project, "tracking.experiment=unreadable")
    assert type(error) is StorageError, error
    assert _BATCH in error.what
    assert "permission" in error.fix
    _change_mode(project / _BATCH, add=0o444)
    before.assert_kept_in(project, ())


def test_an_adapter_made_for_another_base_is_refused_where_it_is_read_and_then_trained_anew(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    model = save_tiny_model(tmp_path / "other-base")
    stored = project / "data" / "assets" / "lora_adapter"
    shutil.rmtree(stored)
    assert read_labels(train(stored, {"base_model": str(model)}).adapter.path).labels == LABELS
    # Files that are not what was committed are refused before anybody looks whose adapter they are.
    foreign = DvcRepository(project, VersioningConfig()).commit("data: an adapter of another base model")
    step = Step(compose(TINY, project_dir=project), project)
    with pytest.raises(AdapterMismatchError, match=r"other-base(?s:.*)random:tiny-llama") as caught:
        predictions(load_asset(project, "lora_adapter"), load_asset(project, "splits"), step)
    assert "base model" in caught.value.fix
    # No materialization stored that one; it stays in the history.
    assert "lora_adapter" in run(project).ran
    assert git(project, "merge-base", "--is-ancestor", foreign.commit_id, "HEAD") == ""
    assert data_versions(project)["lora_adapter"] == load_asset(project, "lora_adapter").checksum

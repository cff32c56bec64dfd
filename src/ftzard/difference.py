"""Two states of a project beside each other: their rows, their training's configuration and their test scores."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from ftzard.composition import compose
from ftzard.config import EvaluationConfig, FtzardConfig
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.gate import AnyComparison
from ftzard.core.records import ASSETS_DIR
from ftzard.core.row_difference import RowDifference, difference_lines, row_difference
from ftzard.core.task_judging import compare_any
from ftzard.data_checkout import checkout_data
from ftzard.errors import LabelSetChangedError, PredictionsMismatchError, TooFewExamplesError
from ftzard.references import find_data_commit, find_version
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import Tracking

_TABLES = {"cleaned": "cleaned/examples", **{name: f"splits/{name}" for name in ("train", "validation", "test")}}


@dataclass(frozen=True)
class ProjectState:
    """What one side of a comparison holds.

    Attributes:
        name: What the person called it.
        commit_id: Its data commit, in full.
        tables: The labelled rows that the commit holds, by name.
        config: Keys with dots, and values, of the configuration its adapter was trained with; empty without adapter.
        predictions: Its adapter's, on the test rows; None where it has none.
    """

    name: str
    commit_id: str
    tables: Mapping[str, pl.DataFrame]
    config: Mapping[str, Any]
    predictions: pl.DataFrame | None


@dataclass(frozen=True)
class ProjectDifference:
    """What differs between two states.

    Attributes:
        names: What the person called the two.
        commits: Their data commits.
        rows: By table; those that both have.
        config: Key -> the two values, where they differ; None for a key that one lacks.
        scores: The second adapter beside the first, on the same test rows; None where they cannot be compared.
        why_not: Why they cannot be compared; empty where they can.
        without_adapter: Which of the two have no adapter; `config` is then empty.
        only_in: Table -> which of the two has it, where the other has not.
    """

    names: tuple[str, str]
    commits: tuple[str, str]
    rows: Mapping[str, RowDifference]
    config: Mapping[str, tuple[Any, Any]]
    scores: AnyComparison | None
    why_not: str
    without_adapter: tuple[str, ...] = ()
    only_in: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self, num_examples: int) -> dict[str, Any]:
        """The difference as JSON types, with at most so many rows of each kind."""
        scores = self.scores
        return {
            "names": self.names,
            "commits": self.commits,
            "rows": {name: one.to_dict(num_examples) for name, one in self.rows.items()},
            "only_in": self.only_in,
            "config": self.config,
            "without_adapter": self.without_adapter,
            **_both_scores(scores),
            "difference": [scores.difference.value, scores.difference.low, scores.difference.high] if scores else None,
            "not_comparable": self.why_not or None,
        }


def diff_project(project_dir: Path, first: str, second: str, overrides: Sequence[str] = ()) -> ProjectDifference:
    """Compare two states of a project; nothing in it changes.

    Args:
        project_dir: The project folder.
        first: A registered version, `champion`, an MLflow run that made data, or a git commit.
        second: Likewise.
        overrides: In Hydra's grammar.

    Raises:
        RegistryVersionError: A name is none of these, or more than one.
        FtzardError: As `checkout_data` and `AdapterRegistry.evidence`.
    """
    config = compose(overrides, project_dir=project_dir)
    before, after = (_state(project_dir, config, which, overrides) for which in (first, second))
    scores, why_not = _scores(before, after, config.evaluation)
    both = [name for name in before.tables if name in after.tables]
    # Without an adapter there is no configuration that anything was trained with.
    keys = sorted({*before.config, *after.config}) if before.config and after.config else []
    values = {key: (before.config.get(key), after.config.get(key)) for key in keys}
    return ProjectDifference(
        (first, second),
        (before.commit_id, after.commit_id),
        {name: row_difference(before.tables[name], after.tables[name]) for name in both},
        {key: pair for key, pair in values.items() if pair[0] != pair[1]},
        scores,
        why_not,
        tuple(one.name for one in (before, after) if not one.config),
        {name: one.name for one in (before, after) for name in one.tables if name not in both},
    )


def diff_lines(difference: ProjectDifference, num_examples: int) -> Iterator[str]:
    """The difference for a person."""
    for name, commit in zip(difference.names, difference.commits, strict=True):
        yield f"{name}: data commit {commit[:12]}"
    for name, rows in difference.rows.items():
        yield from difference_lines(name, rows, num_examples)
    for holder in dict.fromkeys(difference.only_in.values()):
        yield f"only {holder} has {', '.join(name for name, one in difference.only_in.items() if one == holder)}"
    if difference.without_adapter:
        yield f"configuration: not comparable: {' and '.join(difference.without_adapter)} has no adapter"
    else:
        yield "configuration: the same" if not difference.config else "configuration:"
    for key, (before, after) in difference.config.items():
        yield f"  {key}: {json.dumps(before, ensure_ascii=False)} -> {json.dumps(after, ensure_ascii=False)}"
    scores = difference.scores
    if scores is None:
        yield f"test scores: not comparable: {difference.why_not}"
        return
    gain = scores.difference
    yield "test scores, on the same rows:"
    yield f"  {scores.metric_in_words}: {scores.other_score:.3f} -> {scores.score:.3f}"
    yield f"  paired difference: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _state(project_dir: Path, config: FtzardConfig, which: str, overrides: Sequence[str]) -> ProjectState:
    registry = AdapterRegistry(Tracking(config.tracking, project_dir))
    version = find_version(registry, which)
    manifest = read_manifest(registry.load(version).path) if version else None
    revision = (
        manifest.provenance.get("data_commit", "") if manifest else find_data_commit(project_dir, registry, which)
    )
    with TemporaryDirectory(prefix="ftzard-diff-") as folder:
        done = checkout_data(project_dir, revision, overrides, to=Path(folder) / "data")
        assets = done.folder / ASSETS_DIR
        if manifest is None and (assets / "lora_adapter").is_dir():
            manifest = read_manifest(assets / "lora_adapter")
        files = {name: assets / f"{file}.parquet" for name, file in _TABLES.items()}
        tables = {name: pl.read_parquet(file, memory_map=False) for name, file in files.items() if file.exists()}
        stored = assets / "predictions.parquet"
        predictions = pl.read_parquet(stored, memory_map=False) if stored.exists() and version is None else None
    judged = registry.evidence(version).predictions if version else predictions
    return ProjectState(which, done.commit_id, tables, dict(_flat(manifest.config)) if manifest else {}, judged)


def _both_scores(scores: AnyComparison | None) -> dict[str, Any]:
    """The metric by its name -> the two scores."""
    return {"macro_f1": None} if scores is None else {scores.metric: [scores.other_score, scores.score]}


def _scores(before: ProjectState, after: ProjectState, config: EvaluationConfig) -> tuple[AnyComparison | None, str]:
    if before.predictions is None or after.predictions is None:
        lacking = before if before.predictions is None else after
        return None, f"{lacking.name} has no test predictions"
    try:
        test = after.tables.get("test")
        return compare_any(after.predictions, before.predictions, before.name, config, test), ""
    except PredictionsMismatchError:
        return None, "they were scored on other test rows"
    except (LabelSetChangedError, TooFewExamplesError) as error:
        return None, error.what


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

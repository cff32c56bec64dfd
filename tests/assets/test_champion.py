"""The champion as an asset: every verdict is a materialization with its numbers, in Dagster as in MLflow."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from mlflow.entities import Run
from tests.core.model_scenario import examples
from tests.project_scenario import TINY, copy_of, load_asset, materializations, run, tracking

from ftzard.assets.champion import champion
from ftzard.assets.step import Step, StepResult
from ftzard.composition import compose
from ftzard.config import TrackingConfig
from ftzard.core.adapter import config_for
from ftzard.core.adapter_documents import SPLITS_KEY
from ftzard.core.comparison import Comparison, compare
from ftzard.core.gate import PromotionVerdict
from ftzard.core.inference import predict
from ftzard.core.seen_examples import seen_in
from ftzard.core.splitting import test_fingerprint as fingerprint_of
from ftzard.core.versions import content_version
from ftzard.errors import ConfigError
from ftzard.refreezing import refreeze
from ftzard.resources.committed_splits import fetch_splits
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import Tracking

_THINGS = ("ship", "bird", "lake", "road", "bell", "desk", "game", "hat", "bike", "park")


def _call(project: Path, registry: AdapterRegistry | None) -> StepResult[PromotionVerdict]:
    """The function, on what the project has stored."""
    adapter, predictions, splits, metrics = (
        load_asset(project, name) for name in ("lora_adapter", "predictions", "splits", "metrics")
    )
    run_id = registry.tracking.open_run("CHOOSE_BEST_MODEL", tags={}).run_id if registry else ""
    step = Step(compose(TINY, project_dir=project), project, registry=registry, run_id=run_id)
    return champion(adapter, predictions, splits, metrics, step)


@pytest.fixture
def registry(tmp_path: Path, empty_store: Path) -> AdapterRegistry:
    """An empty one, in a folder of its own."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return AdapterRegistry(Tracking(TrackingConfig(), tmp_path))


def _registry(project: Path) -> AdapterRegistry:
    return AdapterRegistry(tracking(project))


def _mlflow_run(project: Path) -> Run:
    run_id = str(materializations(project)["champion"].metadata["mlflow_run_id"].value)
    found: Run = tracking(project).run(run_id).client.get_run(run_id)
    return found


def _assert_told(project: Path, verdict: PromotionVerdict) -> None:
    """In Dagster the verdict with its numbers, in MLflow a tag, metrics and the whole of it as an artifact."""
    metadata = materializations(project)["champion"].metadata
    assert metadata["verdict"].value == verdict.verdict
    assert metadata["sentence"].value == verdict.sentence
    assert metadata["challenger_version"].value == verdict.challenger_version
    table = str(metadata["comparisons"].value)
    for found in verdict.comparisons:
        assert f"{found.difference.value:.4g}" in table
        assert isinstance(found, Comparison)
        assert f"{found.p_value:.4g}" in table
    mlflow_run = _mlflow_run(project)
    assert mlflow_run.info.status == "FINISHED"
    assert mlflow_run.data.tags["ftzard.verdict"] == verdict.verdict
    assert mlflow_run.data.tags["ftzard.sentence"] == verdict.sentence
    assert mlflow_run.data.metrics["num_rows"] == verdict.num_rows
    client = tracking(project).run(mlflow_run.info.run_id).client
    artifact = client.download_artifacts(mlflow_run.info.run_id, "verdict.json")
    assert PromotionVerdict.from_dict(json.loads(Path(artifact).read_text())) == verdict


def test_called_directly_it_says_what_is_materialized(materialized_project: Path, registry: AdapterRegistry) -> None:
    result = _call(materialized_project, registry)
    assert result.value == load_asset(materialized_project, "champion")
    assert result.tags["ftzard.verdict"] == "promote"
    found = registry.champion()
    assert found is not None
    assert (found.version, found.checksum) == (result.value.challenger_version, result.value.challenger)


def test_without_a_registry_it_cannot_be_called(materialized_project: Path) -> None:
    with pytest.raises(ConfigError, match="needs a registry"):
        _call(materialized_project, None)


def test_the_first_verdict_is_against_the_baseline_alone(materialized_project: Path) -> None:
    verdict = load_asset(materialized_project, "champion")
    assert (verdict.verdict, verdict.champion, verdict.against_champion) == ("promote", None, None)
    assert verdict.num_rows == load_asset(materialized_project, "splits").test.height
    _assert_told(materialized_project, verdict)
    assert "difference_to_baseline" in _mlflow_run(materialized_project).data.metrics
    registered = _registry(materialized_project).champion()
    assert registered is not None
    assert registered.run_id == _mlflow_run(materialized_project).info.run_id


def test_a_champion_that_is_kept_is_a_materialization_with_a_tag_and_an_artifact_too(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    before = _mlflow_run(project).info.run_id
    assert run(project, "evaluation.gate.power=0.9").ran == ("metrics", "champion")
    verdict = load_asset(project, "champion")
    assert (verdict.verdict, verdict.champion) == ("keep", "1")
    assert verdict.reasons == ("it is the champion already, version 1",)
    assert _mlflow_run(project).info.run_id != before
    _assert_told(project, verdict)
    assert len(_registry(project).versions()) == len(_registry(project).history()) == 1


def test_labels_that_came_while_an_adapter_was_trained_are_not_taken_for_those_that_it_has_seen(
    materialized_project: Path, registry: AdapterRegistry
) -> None:
    adapter, predictions, splits, metrics = (
        load_asset(materialized_project, name) for name in ("lora_adapter", "predictions", "splits", "metrics")
    )
    now = replace(splits, train=pl.concat([splits.train, examples(20, 1)]))
    step = Step(
        compose(TINY, project_dir=materialized_project),
        materialized_project,
        provenance={SPLITS_KEY: content_version(now)},
        registry=registry,
        run_id=registry.tracking.open_run("CHOOSE_BEST_MODEL", tags={}).run_id,
        committed_splits=partial(fetch_splits, materialized_project, materialized_project / "data" / "assets"),
    )
    verdict = champion(adapter, predictions, now, metrics, step).value
    assert verdict == load_asset(materialized_project, "champion")
    found = registry.champion()
    assert found is not None
    assert registry.evidence(found).seen.equals(seen_in(splits.train))


@pytest.mark.slow
def test_on_a_test_split_frozen_anew_the_champions_own_weights_answer_anew_and_the_verdict_tells_what_it_rests_on(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    first = load_asset(project, "champion")
    words = {"great": "positive", "dull": "negative", "a joy": "positive", "a bore": "negative"}
    rows = [f"The {thing} is {word},{label}" for thing in _THINGS for word, label in words.items()]
    (project / "data" / "raw" / "later.csv").write_text("\n".join(["text,label", *rows, ""]))
    refreeze(project, compose(TINY, project_dir=project), reason="more opinions")
    assert "champion" in run(project).ran
    splits, verdict = load_asset(project, "splits"), load_asset(project, "champion")
    assert verdict.test_fingerprint == fingerprint_of(splits.test) != first.test_fingerprint
    champion_before, challenger = _registry(project).versions()
    assert (verdict.champion, verdict.challenger_version) == (champion_before.version, challenger.version)
    assert (champion_before.test_fingerprint, challenger.test_fingerprint) == (
        first.test_fingerprint,
        verdict.test_fingerprint,
    )
    # What the gate has seen is what the two adapters say now, computed here once more from the registry's copies.
    config = compose(TINY, project_dir=project)
    adapters = [_registry(project).load(registered) for registered in (challenger, champion_before)]
    mine, theirs = (predict(adapter, splits.test, config_for(adapter, config)) for adapter in adapters)
    assert verdict.against_champion == compare(mine, theirs, "champion version 1", config.evaluation)
    assert (verdict.num_rows, verdict.num_rows_left_out) == (splits.test.height, 0)
    _assert_told(project, verdict)
    serving = _registry(project).champion()
    assert serving is not None
    assert serving.version == (challenger if verdict.verdict == "promote" else champion_before).version
    assert _mlflow_run(project).data.metrics.keys() >= {"difference_to_champion", "difference_to_baseline"}

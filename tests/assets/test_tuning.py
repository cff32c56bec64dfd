"""A study in a project: its runs in MLflow, its pictures, and an adapter trained with what it chose."""

from pathlib import Path
from typing import Any

import pytest
from tests.core.answer_scenario import splits
from tests.project_scenario import COMMITTED, copy_of, load_asset, materializations, run, tracking

from ftzard.assets.step import Step
from ftzard.assets.training import lora_adapter
from ftzard.assets.tuning import tuned_hyperparameters
from ftzard.composition import compose
from ftzard.core.adapter_documents import read_lora_config, read_manifest
from ftzard.core.hyperparameters import TunedHyperparameters
from ftzard.dagster_instance import project_instance
from ftzard.materialization import stale_assets

# The ancestor's search space, with two choices of its own for the tiny model.
_SPACE = "{training.lora.r: {choices: [2, 8]}, training.train_batch_size: {choices: [16]}}"
_STUDY = (
    "tuning=optuna",
    "tuning.num_trials=2",
    "tuning.pruner=none",
    "tuning.metric=loss",
    f"tuning.search_space={_SPACE}",
)


@pytest.fixture(scope="module")
def studied(materialized_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a study was run."""
    project = copy_of(materialized_project, tmp_path_factory.mktemp("studied"))
    run(project, *_STUDY)
    return project


def _client(project: Path) -> Any:
    return tracking(project).run(tracking(project).runs()[0].run_id).client


def test_without_a_study_the_asset_is_there_and_says_so(materialized_project: Path) -> None:
    value = load_asset(materialized_project, "tuned_hyperparameters")
    assert value == TunedHyperparameters({}, "macro_f1")
    told = materializations(materialized_project)["tuned_hyperparameters"].metadata["sentence"].value
    assert told == "no study: the hyperparameters are those of the configuration (tuning=none)"
    assert not (materialized_project / ".ftzard" / "tuning.db").exists()


@pytest.mark.slow
def test_each_trial_is_a_run_under_the_child_run_of_tuning(studied: Path) -> None:
    metadata = materializations(studied)["tuned_hyperparameters"].metadata
    value, parent = load_asset(studied, "tuned_hyperparameters"), str(metadata["mlflow_run_id"].value)
    client = _client(studied)
    experiment = client.get_run(parent).info.experiment_id
    trials = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", order_by=["start_time ASC"])
    assert [trial.info.run_name for trial in trials] == ["trial 0", "trial 1"]
    assert {trial.info.status for trial in trials} == {"FINISHED"}
    for found, trial in zip(trials, value.trials, strict=True):
        assert found.data.params == {key: str(chosen) for key, chosen in trial.values.items()}
        assert found.data.metrics["score"] == found.data.metrics["validation_loss"] == trial.score
        assert found.data.tags["ftzard.study"] == value.study == metadata["study"].value
        assert [point.step for point in client.get_metric_history(found.info.run_id, "loss")] == [1, 2, 3, 4]


@pytest.mark.slow
def test_the_adapter_is_trained_with_the_values_of_the_best_trial_and_says_so(studied: Path) -> None:
    value, adapter = load_asset(studied, "tuned_hyperparameters"), load_asset(studied, "lora_adapter")
    assert value.values == min(value.trials, key=lambda trial: trial.score).values
    assert read_lora_config(adapter.path).r == value.values["training.lora.r"]
    trained = read_manifest(adapter.path).config["training"]
    assert trained["learning_rate"] == value.values["training.learning_rate"]
    child = _client(studied).get_run(str(materializations(studied)["lora_adapter"].metadata["mlflow_run_id"].value))
    told = {key: child.data.params[f"tuned.{key}"] for key in value.values}
    assert told == {key: str(chosen) for key, chosen in value.values.items()}


@pytest.mark.slow
def test_a_study_has_pictures_and_a_table_and_makes_no_data_commit(studied: Path) -> None:
    metadata = materializations(studied)["tuned_hyperparameters"].metadata
    assert {"trials", "importances"} <= metadata.keys()
    assert "git_commit" not in metadata
    assert "git_commit" in materializations(studied, COMMITTED)["lora_adapter"].metadata


@pytest.mark.slow
def test_the_study_is_stale_when_what_it_searches_changes_and_only_with_a_study_when_training_does(
    studied: Path, materialized_project: Path
) -> None:
    def stale(project: Path, *overrides: str) -> tuple[str, ...]:
        with project_instance(project) as instance:
            return stale_assets(project, ["experiment=tiny", *overrides], instance)

    assert stale(studied, *_STUDY) == ()
    assert "tuned_hyperparameters" in stale(studied, *_STUDY, "tuning.num_trials=3")
    assert "tuned_hyperparameters" in stale(studied, *_STUDY, "training.warmup_fraction=0.2")
    assert "tuned_hyperparameters" not in stale(materialized_project, "training.warmup_fraction=0.2")
    assert "lora_adapter" in stale(materialized_project, "training.warmup_fraction=0.2")


def test_what_writes_answers_is_trained_with_what_its_own_study_chose(tmp_path: Path) -> None:
    space = "tuning.search_space={training.lora.r: {choices: [2, 4]}}"
    overrides = (
        "experiment=tiny_generation",
        "tuning=optuna",
        "tuning.num_trials=1",
        space,
        "training.num_train_epochs=1",
    )
    step = Step(compose(overrides), tmp_path)
    found = tuned_hyperparameters(splits(), step)
    assert found.value.metric == "loss"
    assert found.metrics["best_score"] == found.value.trials[0].score
    assert {"trials"} == found.figures.keys()
    adapter = lora_adapter(splits(), found.value, step).value
    assert read_lora_config(adapter.path).r == found.value.values["training.lora.r"]
    assert read_manifest(adapter.path).config["training"]["lora"]["r"] == found.value.values["training.lora.r"]

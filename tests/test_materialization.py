"""What is stale runs, what is fresh does not, and what was asked for is recorded."""

import errno
import gc
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from tests.project_scenario import NAMES, TINY, copy_of, data_versions, git, load_asset, run, tracking

from ftzard.config import DataConfig
from ftzard.core.reading import RawData, read_batches
from ftzard.core.records import Raw, Splits
from ftzard.core.splitting import split_first
from ftzard.dagster_instance import project_instance
from ftzard.definitions import build_definitions
from ftzard.errors import ConfigError, NoBatchesError, StorageError
from ftzard.materialization import materialize, stale_assets
from ftzard.resources import run_lease
from ftzard.resources.registry import AdapterRegistry

_FROM_ADAPTER = ("lora_adapter", "predictions", "metrics", "champion")
_BEFORE_ADAPTER = NAMES[: NAMES.index("lora_adapter")]
_RATE = "training.learning_rate=2e-3"


def _stale(project: Path, *overrides: str) -> tuple[str, ...]:
    with project_instance(project) as instance:
        return stale_assets(project, [*TINY, *overrides], instance)


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_fresh_project_has_everything_to_do(project: Path) -> None:
    assert _stale(project) == NAMES


def test_the_second_time_there_is_nothing_to_do(materialized_project: Path) -> None:
    num_runs = len(tracking(materialized_project).runs())
    head = git(materialized_project, "rev-parse", "HEAD")
    done = materialize(str(materialized_project), TINY)
    assert (done.ran, done.fresh, done.run_id) == ((), NAMES, None)
    assert len(tracking(materialized_project).runs()) == num_runs
    assert git(materialized_project, "rev-parse", "HEAD") == head


def test_a_project_is_materialized_until_an_asset_and_the_rest_waits(project: Path) -> None:
    done = materialize(project, TINY, until="splits")
    assert (done.ran, done.fresh) == (("raw_data", "cleaned", "splits"), ())
    assert _stale(project) == NAMES[3:]
    again = materialize(project, TINY, until="splits")
    assert (again.ran, again.fresh) == ((), ("raw_data", "cleaned", "splits"))
    assert materialize(project, TINY, until="cleaned", force=True).ran == ("raw_data", "cleaned")
    assert materialize(project, TINY, until="retrain_decision").ran == ("retrain_decision",)


def test_what_a_step_made_is_not_kept_in_memory_once_no_step_to_come_reads_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> set[int]:
        gc.collect()
        return {id(found) for found in gc.get_objects() if type(found) is Raw}

    # What other tests hold on to is none of its business.
    before = kept()
    meanwhile: list[set[int]] = []

    def watched(examples: pl.DataFrame, config: DataConfig) -> tuple[Splits, pl.DataFrame]:
        meanwhile.append(kept() - before)
        return split_first(examples, config)

    monkeypatch.setattr("ftzard.assets.data.split_first", watched)
    materialize(project, TINY, until="splits")
    assert meanwhile == [set()]


def test_only_an_asset_of_the_spine_can_be_the_last(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"no asset 'split'.*\n.*raw_data, cleaned, splits, retrain_decision"):
        materialize(project, TINY, until="split")


@pytest.mark.parametrize(
    ("override", "stale"),
    [
        ("data.train_fraction=0.7 data.test_fraction=0.2", NAMES),
        ("model.max_length=60", _FROM_ADAPTER),
        (_RATE, _FROM_ADAPTER),
        ("evaluation.num_bootstrap_samples=300", ("metrics", "champion")),
        ("automation.min_new_labels=10", ("retrain_decision",)),
        ("tracking.experiment=elsewhere", ("retrain_decision", "champion")),
        ("versioning.push_data=false", ()),
    ],
)
def test_a_change_of_the_configuration_makes_stale_what_it_decides_about(
    materialized_project: Path, override: str, stale: tuple[str, ...]
) -> None:
    assert _stale(materialized_project, *override.split()) == stale


@pytest.mark.parametrize(
    ("name", "stale"),
    [
        ("raw_data", NAMES),
        ("splits", NAMES[2:]),
        ("lora_adapter", _FROM_ADAPTER),
        ("metrics.json", ("metrics", "champion")),
    ],
)
def test_what_is_no_longer_stored_is_stale(
    materialized_project: Path, tmp_path: Path, name: str, stale: tuple[str, ...]
) -> None:
    project = copy_of(materialized_project, tmp_path)
    _delete(project / "data" / "assets" / name)
    assert _stale(project) == stale


def _append(batch: Path) -> None:
    batch.write_text(batch.read_text() + "The soup is wonderful,positive\n")


def _add(batch: Path) -> None:
    shutil.copy(batch, batch.with_name("more.csv"))


@pytest.mark.parametrize("change", [_append, _add, Path.unlink])
def test_a_change_in_the_data_folder_makes_everything_stale(
    materialized_project: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    project = copy_of(materialized_project, tmp_path)
    _add(project / "data" / "raw" / "opinions.csv")
    run_before = _stale(project)
    change(project / "data" / "raw" / "opinions.csv")
    assert run_before == _stale(project) == NAMES


def test_a_changed_training_runs_the_adapter_and_what_follows_and_is_recorded(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    before = data_versions(project)
    done = run(project, _RATE)
    assert (done.ran, done.fresh) == (_FROM_ADAPTER, _BEFORE_ADAPTER)
    after = data_versions(project)
    assert {name for name in NAMES if after[name] != before[name]} >= {"lora_adapter", "predictions"}
    assert {name: after[name] for name in _BEFORE_ADAPTER} == {name: before[name] for name in _BEFORE_ADAPTER}
    with project_instance(project) as instance:
        recorded = instance.get_run_by_id(done.run_id or "")
    assert recorded is not None
    assert _given_overrides(recorded) == [*TINY, _RATE]
    training = [child for child in tracking(project).runs() if child.step == "TRAINING"][-1]
    params = tracking(project).run(training.run_id).client.get_run(training.run_id).data.params
    assert params["training.learning_rate"] == "0.002"
    assert _stale(project, _RATE) == ()
    assert _stale(project) == _FROM_ADAPTER


def _given_overrides(recorded: dg.DagsterRun) -> object:
    resources: Any = recorded.run_config["resources"]
    return resources["ftzard_configuration"]["config"]["overrides"]


def test_a_new_batch_runs_everything_and_is_in_the_result(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    (project / "data" / "raw" / "second.jsonl").write_text('{"text": "The soup is wonderful", "label": "positive"}\n')
    assert run(project).ran == NAMES
    raw = load_asset(project, "raw_data")
    assert "data/raw/second.jsonl" in raw.examples["batch"].to_list()
    parts = load_asset(project, "splits")
    assert "The soup is wonderful" in parts.labelled["text"].to_list()


def test_data_that_dvc_keeps_as_links_to_its_cache_is_read_and_trained_on(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    (project / ".dvc" / "config.local").write_text("[cache]\n    type = symlink\n")
    assert materialize(project, [*TINY, _RATE]).ran == _FROM_ADAPTER
    stored = [project / "data/assets/predictions.parquet", project / "data/assets/lora_adapter/adapter_config.json"]
    assert all(path.is_symlink() for path in stored)
    # Once more over links, from the data on.
    (project / "data" / "raw" / "more.csv").write_text("text,label\nA new one that is good,positive\n")
    assert "champion" in materialize(project, [*TINY, _RATE]).ran
    assert load_asset(project, "predictions").height > 0
    assert _stale(project, _RATE) == ()


def test_a_deleted_report_is_made_again_and_nothing_else(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    report = (project / "data" / "assets" / "metrics.json").read_bytes()
    _delete(project / "data" / "assets" / "metrics.json")
    done = run(project)
    assert (done.ran, done.fresh) == (("metrics", "champion"), NAMES[:-2])
    assert (project / "data" / "assets" / "metrics.json").read_bytes() == report


def test_the_instance_is_the_projects_own_unless_dagster_home_names_another(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project_instance(project) as instance:
        assert Path(instance.root_directory) == project.resolve() / ".dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="DAGSTER_HOME names no directory"):
        project_instance(project)
    (tmp_path / "home").mkdir()
    with project_instance(project) as instance:
        assert isinstance(instance, dg.DagsterInstance)
        assert Path(instance.root_directory) == tmp_path / "home"


@pytest.mark.parametrize("content", [b"run_monitoring:\n  enabded: true\n", b"telemetry: [\n", b"\xf8"])
def test_settings_of_dagster_that_it_refuses_are_named(project: Path, content: bytes) -> None:
    project_instance(project).dispose()
    settings = project / ".dagster" / "dagster.yaml"
    settings.write_bytes(content)
    with pytest.raises(ConfigError, match=r"\.dagster/dagster\.yaml is not as Dagster wants it") as error:
        project_instance(project)
    assert "delete it" in error.value.fix
    settings.unlink()
    project_instance(project).dispose()


def test_a_disk_that_does_not_take_a_runs_lease_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(run_lease, "_locked", full)
    with pytest.raises(StorageError, match=r"\.ftzard/runs/.* cannot be written or read: No space left"):
        run(project)


def test_the_lease_of_a_run_is_held_before_dagster_knows_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, create = [], dg.DagsterInstance.create_run_for_job

    def watched(instance: dg.DagsterInstance, *given: Any, **named: Any) -> dg.DagsterRun:
        begun.append((named["run_id"], run_lease.leased_runs(project)))
        return create(instance, *given, **named)

    monkeypatch.setattr(dg.DagsterInstance, "create_run_for_job", watched)
    done = run(project)
    assert begun == [(done.run_id, (done.run_id,))]


def test_an_impossible_configuration_is_refused_before_anything_runs(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.learning_rate"):
        run(project, "training.learning_rate=-1")
    assert not (project / "mlflow.db").exists()


def test_without_batches_nothing_runs(project: Path) -> None:
    _delete(project / "data" / "raw")
    with pytest.raises(NoBatchesError, match="data/raw"):
        run(project)
    assert not (project / "mlflow.db").exists()


def test_a_batch_that_arrives_while_the_batches_are_read_is_not_taken_for_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_then_a_batch_arrives(project_dir: Path, config: DataConfig) -> RawData:
        raw = read_batches(project_dir, config)
        (project_dir / "data" / "raw" / "late.csv").write_text("text,label\na late and lovely thing,positive\n")
        return raw

    monkeypatch.setattr("ftzard.assets.data.read_batches", read_and_then_a_batch_arrives)
    run(project)
    with project_instance(project) as instance:
        assert "raw_data" in stale_assets(project, TINY, instance)


def test_a_registry_that_was_lost_is_filled_again_without_a_training(
    materialized_project: Path, tmp_path: Path
) -> None:
    project = copy_of(materialized_project, tmp_path)
    (project / "mlflow.db").unlink()
    assert run(project).ran == ("champion",)
    registry = AdapterRegistry(tracking(project))
    assert [version.checksum for version in registry.versions()] == [load_asset(project, "lora_adapter").checksum]
    assert _stale(project) == ()


# Data of another commit


@pytest.fixture
def back_at_the_first_adapter(materialized_project: Path, tmp_path: Path) -> Path:
    """A project whose latest training had another learning rate, and whose data is that of the one before again."""
    project = copy_of(materialized_project, tmp_path)
    first = git(project, "rev-parse", "HEAD")
    run(project, _RATE)
    git(project, "checkout", "--quiet", "-b", "earlier", first)
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "--quiet"], cwd=project, check=True)
    return project


def test_what_a_checkout_brought_back_is_fresh_for_what_made_it_and_stale_for_what_did_not(
    back_at_the_first_adapter: Path,
) -> None:
    assert set(_stale(back_at_the_first_adapter)) <= {"champion"}
    assert _stale(back_at_the_first_adapter, _RATE) == _FROM_ADAPTER


def test_a_step_says_which_of_several_adapters_it_read(back_at_the_first_adapter: Path) -> None:
    project = back_at_the_first_adapter
    stored = load_asset(project, "lora_adapter").checksum
    assert stored != data_versions(project)["lora_adapter"]
    with project_instance(project) as instance:
        definitions = build_definitions(TINY, project_dir=project)
        job = definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("predictions")])
    (event,) = result.asset_materializations_for_node("predictions")
    run_id = str(event.metadata["mlflow_run_id"].value)
    with tracking(project).connected() as client:
        assert client.get_run(run_id).data.tags["ftzard.read.lora_adapter"] == stored


def test_data_that_nobody_here_materialized_is_stale(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    report = project / "data" / "assets" / "metrics.json"
    report.write_text(report.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", "data"], cwd=project, check=True)
    assert _stale(project) == ("metrics", "champion")

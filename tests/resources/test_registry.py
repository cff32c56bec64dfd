"""The registry, with a real MLflow store on SQLite, and its alias under contention."""

import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.models import Model
from polars.testing import assert_frame_equal
from tests.registry_scenario import small_adapter

from ftzard.config import TrackingConfig
from ftzard.core.adapter import verify_adapter
from ftzard.core.champion_records import AdapterEvidence, RegisteredAdapter
from ftzard.core.predictions import predictions_frame
from ftzard.core.seen_examples import seen_in
from ftzard.errors import (
    AdapterCorruptError,
    PromotionConflictError,
    RegistryVersionError,
    StorageError,
    TrackingError,
)
from ftzard.resources.registry import CHECKSUM_TAG, AdapterRegistry
from ftzard.resources.tracking import Tracking

_BY_THE_GATE = {"by": "gate", "why": "better"}


@pytest.fixture
def registry(tmp_path: Path, empty_store: Path) -> AdapterRegistry:
    """The registry of a project folder with an empty store."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return AdapterRegistry(Tracking(TrackingConfig(registered_model="sentiment"), folder))


@pytest.fixture
def client(registry: AdapterRegistry) -> MlflowClient:
    """MLflow's own view of the store."""
    return MlflowClient(tracking_uri=registry.tracking.tracking_uri, registry_uri=registry.tracking.tracking_uri)


@pytest.fixture
def register(registry: AdapterRegistry, tmp_path: Path) -> Callable[[str], RegisteredAdapter]:
    """Registers an adapter whose weights are the given words."""

    def make(words: str) -> RegisteredAdapter:
        run = registry.tracking.open_run("CHOOSE_BEST_MODEL", tags={})
        adapter = small_adapter(tmp_path / "adapters" / words, words)
        return registry.register(adapter, _evidence(words), test_fingerprint=f"test of {words}", run_id=run.run_id)

    return make


def _evidence(words: str) -> AdapterEvidence:
    logits = np.array([[0.1, 0.9], [2.0, -1.0]])
    predictions = predictions_frame([f"{words} 1", f"{words} 2"], ["no", "yes"], logits, ["no", "yes"])
    return AdapterEvidence(predictions, _seen(f"{words} 3", f"{words} 4"))


def _seen(*hashes: str) -> pl.DataFrame:
    return seen_in(pl.DataFrame({"text_hash": hashes, "label": "yes"}))


# Versions


def test_a_fresh_registry_has_neither_champion_nor_versions_nor_a_history(registry: AdapterRegistry) -> None:
    assert registry.champion() is None
    assert registry.versions() == ()
    assert registry.history() == ()


def test_a_version_brings_back_the_adapter_and_what_it_was_judged_on(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], tmp_path: Path
) -> None:
    version = register("first")
    loaded, evidence = registry.load(version), registry.evidence(version)
    original = tmp_path / "adapters" / "first"
    assert loaded.checksum == version.checksum == verify_adapter(original).checksum
    assert loaded.path == registry.tracking.project_dir / ".ftzard" / "registry" / version.checksum
    assert {path.name: path.read_bytes() for path in loaded.path.iterdir()} == {
        path.name: path.read_bytes() for path in original.iterdir()
    }
    assert_frame_equal(evidence.predictions, _evidence("first").predictions)
    assert_frame_equal(evidence.seen, _seen("first 3", "first 4"))
    assert evidence.train_hashes.to_list() == ["first 3", "first 4"]
    assert version.test_fingerprint == "test of first"
    assert version.created_at.utcoffset() is not None
    # No half of a download is left.
    assert [path.name for path in loaded.path.parent.iterdir()] == [version.checksum]


def test_of_a_version_from_before_answers_were_kept_the_texts_are_known(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    before = AdapterEvidence(_evidence("old").predictions, _seen("a", "b").select("text_hash"))
    run = registry.tracking.open_run("CHOOSE_BEST_MODEL", tags={})
    adapter = small_adapter(tmp_path / "adapter", "old")
    version = registry.register(adapter, before, test_fingerprint="of old", run_id=run.run_id)
    found = registry.evidence(version)
    assert found.train_hashes.to_list() == ["a", "b"]
    assert found.seen["example_hash"].to_list() == [None, None]


def test_the_same_adapter_again_is_the_version_that_it_already_is(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    first, second = register("first"), register("second")
    assert register("first") == first
    assert registry.versions() == (first, second)


def test_a_version_holds_nothing_but_safetensors_json_and_parquet(
    register: Callable[[str], RegisteredAdapter], client: MlflowClient
) -> None:
    version = register("first")
    found = [one for folder in ("adapter", "evidence") for one in client.list_artifacts(version.run_id, folder)]
    assert {Path(one.path).suffix for one in found if Path(one.path).name != "MLmodel"} == {
        ".safetensors",
        ".json",
        ".parquet",
    }
    source = client.get_model_version("sentiment", version.version).source
    assert source is not None
    assert not source.startswith(("models:", "runs:"))
    assert source.endswith(f"{version.run_id}/artifacts/adapter")


def test_a_version_names_what_it_takes_and_answers_and_no_flavour_that_could_run_code(
    register: Callable[[str], RegisteredAdapter], client: MlflowClient, tmp_path: Path
) -> None:
    version = register("first")
    described = Model.load(client.download_artifacts(version.run_id, "adapter", str(tmp_path)))
    assert described.flavors == {}
    assert described.signature is not None
    assert described.signature.inputs.input_names() == ["text"]
    assert described.signature.outputs.input_names() == ["predicted_label", "probabilities"]
    assert "yes" in str(described.signature.outputs)


def test_an_adapter_that_is_not_what_its_reference_says_is_not_registered(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    adapter = replace(small_adapter(tmp_path / "adapter", "first"), checksum="0" * 64)
    with pytest.raises(AdapterCorruptError, match="0000 was expected"):
        registry.register(adapter, _evidence("first"), test_fingerprint="t", run_id="none")
    assert registry.versions() == ()


def test_an_adapter_is_downloaded_once(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], client: MlflowClient
) -> None:
    version = register("first")
    registry.load(version)
    shutil.rmtree(_artifacts(client, version))
    assert registry.load(version).checksum == version.checksum


def _artifacts(client: MlflowClient, version: RegisteredAdapter) -> Path:
    return Path(str(client.get_run(version.run_id).info.artifact_uri).removeprefix("file://"))


# Tampering


def test_a_tampered_artifact_is_never_put_into_place(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], client: MlflowClient
) -> None:
    version = register("first")
    (_artifacts(client, version) / "adapter" / "adapter_model.safetensors").write_text("other weights")
    with pytest.raises(AdapterCorruptError, match="adapter_model"):
        registry.load(version)
    assert not list((registry.tracking.project_dir / ".ftzard" / "registry").iterdir())


def test_an_artifact_replaced_by_another_sound_adapter_is_refused(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], client: MlflowClient
) -> None:
    version, other = register("first"), register("second")
    target = _artifacts(client, version) / "adapter"
    shutil.rmtree(target)
    shutil.copytree(_artifacts(client, other) / "adapter", target)
    with pytest.raises(AdapterCorruptError, match=f"{version.checksum} was expected"):
        registry.load(version)


def test_a_changed_copy_is_refused_with_the_folder_to_delete(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    version = register("first")
    copy = registry.load(version).path
    (copy / "labels.json").write_text('{"labels": []}')
    with pytest.raises(AdapterCorruptError, match=r"labels\.json") as caught:
        registry.load(version)
    assert str(copy) in caught.value.fix
    shutil.rmtree(copy)
    assert registry.load(version).checksum == version.checksum


@pytest.mark.parametrize("checksum", ["../../outside", "/etc", "A" * 64, ""])
def test_a_checksum_that_is_a_path_names_no_folder(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], client: MlflowClient, checksum: str
) -> None:
    version = register("first")
    client.set_model_version_tag("sentiment", version.version, CHECKSUM_TAG, checksum)
    with pytest.raises(AdapterCorruptError, match="no SHA-256"):
        registry.load(registry.versions()[0])


def test_changed_evidence_is_refused(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], client: MlflowClient
) -> None:
    version = register("first")
    _evidence("other").predictions.write_parquet(_artifacts(client, version) / "evidence" / "predictions.parquet")
    with pytest.raises(StorageError, match="its checksum is another one"):
        registry.evidence(version)


# The alias


def test_a_promoted_version_is_the_champion_and_the_history_says_who_and_why(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    first, second = register("first"), register("second")
    registry.promote(first, instead_of=None, by="gate", why="the first")
    registry.promote(second, instead_of=first, by="gate", why="3 points better")
    assert registry.champion() == second
    moves = registry.history()
    assert [(move.kind, move.from_version, move.to_version, move.by, move.why) for move in moves] == [
        ("promotion", None, first.version, "gate", "the first"),
        ("promotion", first.version, second.version, "gate", "3 points better"),
    ]
    assert moves[0].at <= moves[1].at


@pytest.mark.parametrize("kept", ["none", "the one before"])
def test_a_promotion_over_a_champion_of_before_is_told_and_changes_nothing(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], kept: str
) -> None:
    first, second, third = (register(words) for words in ("first", "second", "third"))
    registry.promote(first, instead_of=None, **_BY_THE_GATE)
    registry.promote(second, instead_of=first, **_BY_THE_GATE)
    with pytest.raises(PromotionConflictError, match="version 2 by now"):
        registry.promote(third, instead_of=None if kept == "none" else first, **_BY_THE_GATE)
    assert registry.champion() == second
    assert len(registry.history()) == 2


def test_a_move_that_the_store_refuses_is_not_in_the_history(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    missing = replace(register("first"), version="9")
    with pytest.raises(TrackingError):
        registry.promote(missing, instead_of=None, **_BY_THE_GATE)
    assert registry.champion() is None
    assert registry.history() == ()


def test_words_too_long_for_a_store_are_cut(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    registry.promote(register("first"), instead_of=None, by="x" * 50_000, why="y" * 50_000)
    move = registry.history()[0]
    assert len(move.by) == len(move.why) == 1000
    assert move.why.endswith("…")


def test_the_eleventh_move_comes_after_the_tenth_and_not_after_the_first(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    first, second = register("first"), register("second")
    registry.promote(first, instead_of=None, **_BY_THE_GATE)
    for number in range(10):
        registry.rollback(to=(second if number % 2 == 0 else first).version, by="me", why=str(number))
    assert [move.why for move in registry.history()] == ["better", *map(str, range(10))]


def test_a_rollback_goes_to_the_champion_that_this_one_replaced(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    first, second, third = (register(words) for words in ("first", "second", "third"))
    registry.promote(first, instead_of=None, **_BY_THE_GATE)
    registry.promote(second, instead_of=first, **_BY_THE_GATE)
    registry.promote(third, instead_of=second, **_BY_THE_GATE)
    assert registry.rollback(to=None, by="ada", why="it shouts") == second
    # Again, and it goes on back instead of forth.
    assert registry.rollback(to=None, by="ada", why="so does this") == first
    assert registry.champion() == first
    last = registry.history()[-1]
    assert (last.kind, last.from_version, last.to_version, last.by) == ("rollback", second.version, "1", "ada")
    with pytest.raises(RegistryVersionError, match="no champion before version 1"):
        registry.rollback(to=None, by="ada", why="all of them")
    assert registry.rollback(to=third.version, by="ada", why="I was wrong") == third


def test_a_rollback_from_what_a_person_made_champion_goes_to_who_served_until_then(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    first, second, refused = (register(words) for words in ("first", "second", "refused"))
    registry.promote(first, instead_of=None, **_BY_THE_GATE)
    registry.promote(second, instead_of=first, **_BY_THE_GATE)
    registry.rollback(to=refused.version, by="ada", why="it is kinder")
    assert registry.rollback(to=None, by="ada", why="it is not") == second
    # From there it goes on as ever.
    assert registry.rollback(to=None, by="ada", why="back to the start") == first


def test_a_rollback_without_a_champion_to_a_version_that_is_missing_or_to_itself_is_an_error(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    with pytest.raises(RegistryVersionError, match=r"sentiment has no champion\n"):
        registry.rollback(to=None, by="ada", why="")
    registry.promote(register("first"), instead_of=None, **_BY_THE_GATE)
    with pytest.raises(RegistryVersionError, match="'7' of the registered model sentiment does not exist"):
        registry.rollback(to="7", by="ada", why="")
    with pytest.raises(RegistryVersionError, match="version 1 of sentiment is the champion already"):
        registry.rollback(to="1", by="ada", why="")
    assert len(registry.history()) == 1


def test_a_version_that_somebody_else_registered_is_not_served(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], client: MlflowClient
) -> None:
    ours = register("first")
    theirs = client.create_model_version("sentiment", "file:///somewhere/else")
    client.set_registered_model_alias("sentiment", "champion", str(theirs.version))
    assert registry.versions() == (ours,)
    with pytest.raises(RegistryVersionError, match="none that FTzard registered"):
        registry.champion()
    assert registry.rollback(to=ours.version, by="ada", why="that was no adapter") == ours


def test_a_history_that_somebody_wrote_into_is_an_error_that_names_the_tag(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter], client: MlflowClient
) -> None:
    register("first")
    client.set_registered_model_tag("sentiment", "ftzard.move.1", "hello")
    with pytest.raises(TrackingError, match=r"ftzard\.move\."):
        registry.history()


# Contention


def test_of_eight_promotions_at_once_exactly_one_wins_and_seven_are_told(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    champion = register("champion")
    registry.promote(champion, instead_of=None, **_BY_THE_GATE)
    challengers = [register(f"challenger {number}") for number in range(8)]

    def promote(challenger: RegisteredAdapter) -> str | None:
        own = AdapterRegistry(Tracking(registry.tracking.config, registry.tracking.project_dir))
        return _promoted(own, challenger, champion)

    with ThreadPoolExecutor(8) as pool:
        winners = [version for version in pool.map(promote, challengers) if version is not None]
    assert len(winners) == 1
    now = registry.champion()
    assert now is not None
    assert winners == [now.version]
    moves = [(move.from_version, move.to_version) for move in registry.history()]
    assert moves == [(None, champion.version), (champion.version, now.version)]


@pytest.mark.slow
def test_of_eight_processes_that_promote_at_once_exactly_one_wins(
    registry: AdapterRegistry, register: Callable[[str], RegisteredAdapter]
) -> None:
    champion = register("champion")
    registry.promote(champion, instead_of=None, **_BY_THE_GATE)
    challengers = [register(f"challenger {number}") for number in range(8)]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(8) as pool:
        barrier = manager.Barrier(8)
        work = [(registry, challenger, champion, barrier) for challenger in challengers]
        winners = [version for version in pool.starmap(_promote_together, work, chunksize=1) if version is not None]
    now = registry.champion()
    assert now is not None
    assert winners == [now.version]
    assert len(registry.history()) == 2


def _promote_together(
    registry: AdapterRegistry, challenger: RegisteredAdapter, champion: RegisteredAdapter, barrier: Barrier
) -> str | None:
    registry.champion()
    barrier.wait(120)
    return _promoted(registry, challenger, champion)


def _promoted(registry: AdapterRegistry, challenger: RegisteredAdapter, champion: RegisteredAdapter) -> str | None:
    try:
        registry.promote(challenger, instead_of=champion, **_BY_THE_GATE)
    except PromotionConflictError:
        return None
    return challenger.version


def test_the_same_adapter_registered_by_many_at_once_is_one_version(registry: AdapterRegistry, tmp_path: Path) -> None:
    adapter = small_adapter(tmp_path / "adapter", "first")
    runs = [registry.tracking.open_run("CHOOSE_BEST_MODEL", tags={}) for _ in range(4)]

    def register(run_id: str) -> RegisteredAdapter:
        return registry.register(adapter, _evidence("first"), test_fingerprint="t", run_id=run_id)

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(register, [run.run_id for run in runs]))
    assert found == set(registry.versions())
    assert len(found) == 1


def test_projects_that_share_a_store_share_the_lock(tmp_path: Path, empty_store: Path) -> None:
    store = shutil.copy(empty_store, tmp_path / "shared.db")
    config = TrackingConfig(tracking_uri=f"sqlite:///{store}")
    first, second = (AdapterRegistry(Tracking(config, tmp_path / name)) for name in ("one", "two"))
    assert first._lock_path() == second._lock_path() == tmp_path / "shared.db.ftzard.lock"
    own = AdapterRegistry(Tracking(TrackingConfig(), tmp_path / "one"))
    assert own._lock_path() == tmp_path / "one" / ".ftzard" / "registry.lock"

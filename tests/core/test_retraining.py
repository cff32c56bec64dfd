"""What a retraining is trained on, which champion it follows, and that it goes on from that champion's weights."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.champion_scenario import Champions
from tests.core.model_scenario import LABELS, config, examples, file_bytes, splits, train

from ftzard.config import FtzardConfig, RetrainingConfig
from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.adapter_documents import read_labels, read_manifest
from ftzard.core.forgetting import Forgetting, ForgottenLabels
from ftzard.core.records import EXAMPLE_SCHEMA, AdapterDirectory
from ftzard.core.retraining import (
    FORGOTTEN_KEY,
    PREDECESSOR_KEY,
    estimated_minutes,
    find_predecessor,
    num_new_examples,
    predecessor_version,
    retraining_plan,
    seen_by,
    training_start,
)
from ftzard.core.seen_examples import seen_in
from ftzard.core.training import TrainingResult, train_adapter
from ftzard.errors import AdapterCorruptError, AdapterMismatchError, RegistryVersionError

_TRAIN = splits().train
_FROM_CHAMPION: dict[str, Any] = {"start_from": "champion"}


def _hashes(frame: pl.DataFrame) -> pl.Series:
    return frame["text_hash"].unique().sort()


# The plan

_SEEN_HASHES = _hashes(_TRAIN.sort("text_hash").head(72))
_SEEN = seen_in(_TRAIN.sort("text_hash").head(72))


def test_without_a_predecessor_everything_is_trained_on_from_the_base() -> None:
    plan = retraining_plan(_TRAIN, None, RetrainingConfig(new_example_factor=3), 0)
    assert plan.examples.equals(_TRAIN.sort("text_hash"))
    assert (plan.num_new, plan.num_old, plan.continues) == (0, 96, False)


def test_from_the_base_everything_is_trained_on_and_what_is_new_as_often_as_configured() -> None:
    once = retraining_plan(_TRAIN, _SEEN, RetrainingConfig(), 0)
    assert once.examples.equals(_TRAIN.sort("text_hash"))
    assert (once.num_new, once.num_old, once.continues) == (24, 72, False)
    thrice = retraining_plan(_TRAIN, _SEEN, RetrainingConfig(new_example_factor=3), 0)
    counts = thrice.examples.group_by("text_hash").len()
    is_old = counts["text_hash"].is_in(_SEEN_HASHES.implode())
    assert counts.filter(is_old)["len"].unique().to_list() == [1]
    assert counts.filter(~is_old)["len"].unique().to_list() == [3]
    assert thrice.sentence == "from the base model on 24 new example(s), each 3 times and 72 old one(s)"


def test_from_the_champion_what_is_new_is_trained_on_and_a_share_of_the_old_ones_of_each_label() -> None:
    settings = RetrainingConfig(**_FROM_CHAMPION, replay_fraction=0.25)
    plan = retraining_plan(_TRAIN, _SEEN, settings, 0)
    assert plan.continues
    assert set(_hashes(_TRAIN)) - set(_SEEN_HASHES) <= set(plan.examples["text_hash"])
    old = _TRAIN.filter(pl.col("text_hash").is_in(_SEEN_HASHES.implode()))
    replayed = plan.examples.filter(pl.col("text_hash").is_in(_SEEN_HASHES.implode()))
    for label, count in old.group_by("label").len().iter_rows():
        assert replayed.filter(label=label).height == -(-count // 4)
    assert plan.num_old == replayed.height
    assert plan.examples.schema == EXAMPLE_SCHEMA


@pytest.mark.parametrize("train", [_TRAIN, _TRAIN.sort("text_hash").head(70)], ids=["with new ones", "without"])
def test_weights_that_have_seen_what_was_taken_out_are_not_gone_on_from(train: pl.DataFrame) -> None:
    plan = retraining_plan(train, _SEEN, RetrainingConfig(**_FROM_CHAMPION, replay_fraction=0.0), 0, 3)
    assert not plan.continues
    assert plan.examples.equals(train.sort("text_hash"))
    assert plan.sentence.startswith(
        "from the base model (the champion's weights have seen 3 label(s) that were taken out since) on "
    )
    from_the_base = retraining_plan(train, _SEEN, RetrainingConfig(), 0, 3)
    assert from_the_base.examples.equals(plan.examples)
    assert from_the_base.sentence.startswith("from the base model on ")


@pytest.mark.parametrize(("fraction", "num_old"), [(0.0, 0), (1.0, 72)])
def test_nothing_or_everything_can_be_replayed(fraction: float, num_old: int) -> None:
    plan = retraining_plan(_TRAIN, _SEEN, RetrainingConfig(**_FROM_CHAMPION, replay_fraction=fraction), 0)
    assert (plan.num_new, plan.num_old) == (24, num_old)


def test_where_nothing_is_new_there_is_nothing_to_go_on_to() -> None:
    plan = retraining_plan(_TRAIN, seen_in(_TRAIN), RetrainingConfig(**_FROM_CHAMPION), 0)
    assert (plan.num_new, plan.num_old, plan.continues) == (0, 96, False)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 5), st.randoms())
def test_a_larger_replay_holds_the_smaller_one_and_the_order_of_the_rows_is_of_no_account(
    one: float, other: float, seed: int, rng: Any
) -> None:
    shuffled = _TRAIN[rng.sample(range(_TRAIN.height), _TRAIN.height)]
    smaller, larger = (
        retraining_plan(frame, _SEEN, RetrainingConfig(**_FROM_CHAMPION, replay_fraction=fraction), seed)
        for frame, fraction in ((_TRAIN, min(one, other)), (shuffled, max(one, other)))
    )
    assert set(smaller.examples["text_hash"]) <= set(larger.examples["text_hash"])
    again = RetrainingConfig(**_FROM_CHAMPION, replay_fraction=min(one, other))
    assert retraining_plan(shuffled, _SEEN, again, seed).examples.equals(smaller.examples)


def test_where_labels_are_answers_the_replay_is_of_all_examples_together() -> None:
    answers = _TRAIN.with_columns(label=pl.col("text_hash"))
    seen = seen_in(answers.sort("text_hash").head(72))
    settings = RetrainingConfig(**_FROM_CHAMPION, replay_fraction=0.25)
    plan = retraining_plan(answers, seen, settings, 0, task="generation")
    num_seen = answers.filter(pl.col("text_hash").is_in(_SEEN_HASHES.implode())).height
    assert plan.num_old == -(-num_seen // 4)
    # Within each label it would be all of them, because each has a label of its own.
    assert retraining_plan(answers, seen, settings, 0).num_old == num_seen


def _corrected(train: pl.DataFrame, num_rows: int) -> pl.DataFrame:
    """The first rows, by hash, have another label."""
    other = {LABELS[0]: LABELS[1], LABELS[1]: LABELS[0]}
    ordered = train.sort("text_hash")
    head = ordered.head(num_rows).with_columns(pl.col("label").replace(other))
    return pl.concat([head, ordered.tail(-num_rows)])


@pytest.mark.parametrize("start_from", ["base", "champion"])
def test_an_example_whose_label_was_corrected_is_new_to_weights_that_saw_the_wrong_one(start_from: Any) -> None:
    settings = RetrainingConfig(start_from=start_from, replay_fraction=0.0)
    corrected = _corrected(_TRAIN, 10)
    plan = retraining_plan(corrected, seen_in(_TRAIN), settings, 0)
    assert (plan.num_new, plan.continues) == (10, start_from == "champion")
    trained = plan.examples.join(corrected.head(10), on=["text_hash", "label"], how="semi")
    assert trained.height == 10
    assert plan.examples["text_hash"].is_duplicated().sum() == 0
    assert num_new_examples(corrected, seen_in(_TRAIN)) == 10


def test_another_seed_replays_others() -> None:
    settings = RetrainingConfig(**_FROM_CHAMPION, replay_fraction=0.5)
    drawn = [set(retraining_plan(_TRAIN, _SEEN, settings, seed).examples["text_hash"]) for seed in (0, 1)]
    assert drawn[0] != drawn[1]


def test_the_time_of_a_training_follows_from_that_of_the_last_one() -> None:
    assert estimated_minutes({"seconds": 120.0, "num_train_examples": 100.0}, 300) == 6.0
    assert estimated_minutes({}, 300) is None
    assert estimated_minutes({"seconds": 120.0}, 300) is None


# Which champion it follows


_SOME, _MORE = _TRAIN.head(60), _TRAIN


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> AdapterDirectory:
    folder = tmp_path_factory.mktemp("first") / "adapter"
    return train_adapter(
        replace(splits(), train=_SOME), _config(), LABELS, folder, provenance={"read.splits": "s1"}
    ).adapter


@pytest.fixture(scope="module")
def second(first: AdapterDirectory, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return _continue(first, tmp_path_factory.mktemp("second") / "adapter")


def _config(**training: Any) -> FtzardConfig:
    retraining = RetrainingConfig(**_FROM_CHAMPION)
    return config(num_train_epochs=1, retraining=retraining, **training)


def _continue(first: AdapterDirectory, folder: Path, settings: FtzardConfig | None = None) -> TrainingResult:
    settings = settings or _config()
    plan = retraining_plan(_MORE, seen_in(_SOME), settings.training.retraining, 0)
    provenance = {"read.splits": "s2", PREDECESSOR_KEY: first.checksum}
    parts = replace(splits(), train=plan.examples)
    return train_adapter(parts, settings, LABELS, folder, provenance=provenance, initial=first)


def test_it_follows_the_champion_as_long_as_something_is_new_to_it(first: AdapterDirectory) -> None:
    lineage = Champions()
    assert find_predecessor(_MORE, lineage) is None
    version = lineage.add(first, seen_in(_SOME))
    found = find_predecessor(_MORE, lineage)
    assert found is not None
    assert found.adapter == version
    assert found.seen.equals(seen_in(_SOME))
    assert find_predecessor(_SOME, lineage) is None


def test_the_same_examples_have_the_same_predecessor_also_after_what_they_gave_became_champion(
    first: AdapterDirectory, second: TrainingResult
) -> None:
    lineage = Champions()
    version = lineage.add(first, seen_in(_SOME))
    before = predecessor_version("s2", lineage)
    lineage.add(second.adapter, seen_in(_MORE))
    found = find_predecessor(_MORE, lineage)
    assert found is not None
    assert found.adapter == version
    assert predecessor_version("s2", lineage) == before == first.checksum
    newer = find_predecessor(pl.concat([_MORE, examples(5, 9)]), lineage)
    assert newer is not None
    assert newer.adapter.checksum == predecessor_version("s3", lineage) == second.adapter.checksum


def test_of_a_champion_whose_labels_were_taken_out_a_training_follows_but_does_not_go_on(
    first: AdapterDirectory, second: TrainingResult
) -> None:
    lineage, start_from = Champions(), _config().training
    lineage.add(first, seen_in(_SOME))
    version = lineage.add(second.adapter, seen_in(_MORE))
    now = datetime.now(UTC) + timedelta(hours=1)
    gone = tuple(sorted(_MORE["text_hash"].tail(5)))
    forgotten = ForgottenLabels(
        (Forgetting(now, "batch", "data/raw/a.csv", 5, gone, "Ada", ""),), _hashes(_MORE.head(91))
    )
    # Nothing is new to it, and yet it is not as if it had been trained on these examples.
    start = training_start(_MORE.head(91), start_from, lineage, forgotten)
    assert start.predecessor is not None
    assert (start.predecessor.adapter, start.initial) == (version, None)
    assert start.predecessor.provenance == {PREDECESSOR_KEY: version.checksum, FORGOTTEN_KEY: "5"}
    assert "have seen 5 label(s)" in start.plan.sentence
    unconcerned = training_start(_MORE, start_from, lineage, replace(forgotten, forgettings=()))
    assert unconcerned.initial == first
    assert unconcerned.predecessor is not None
    assert unconcerned.predecessor.provenance == {PREDECESSOR_KEY: first.checksum}


def test_one_that_did_not_go_on_has_seen_its_own_examples_alone(first: AdapterDirectory, tmp_path: Path) -> None:
    lineage = Champions()
    lineage.add(first, seen_in(examples(7, 8)))
    provenance = {PREDECESSOR_KEY: first.checksum, FORGOTTEN_KEY: "5"}
    parts = replace(splits(), train=_SOME)
    result = train_adapter(parts, _config(), LABELS, tmp_path / "adapter", provenance=provenance)
    assert seen_by(result.adapter, _SOME, lineage).equals(seen_in(_SOME))


def test_the_first_training_has_no_predecessor_also_after_what_it_gave_became_champion(first: AdapterDirectory) -> None:
    lineage = Champions()
    assert predecessor_version("s1", lineage) == ""
    lineage.add(first, seen_in(_SOME))
    assert predecessor_version("s1", lineage) == ""


def test_the_weights_of_one_that_went_on_have_seen_what_its_champion_was_trained_on(
    first: AdapterDirectory, second: TrainingResult
) -> None:
    lineage = Champions()
    assert seen_by(first, _SOME, lineage).equals(seen_in(_SOME))
    lineage.add(first, seen_in(examples(7, 8)))
    only_new = _MORE.tail(36)
    assert set(seen_by(second.adapter, only_new, lineage)["text_hash"]) == {
        *_hashes(only_new),
        *_hashes(examples(7, 8)),
    }
    with pytest.raises(RegistryVersionError, match="not registered any more"):
        seen_by(second.adapter, only_new, Champions())


# Going on from its weights


def test_a_training_that_changes_nothing_leaves_the_champions_weights(first: AdapterDirectory, tmp_path: Path) -> None:
    result = _continue(first, tmp_path / "adapter", _config(learning_rate=1e-30, seed=5))
    assert file_bytes(result.adapter)[WEIGHTS_NAME] == file_bytes(first)[WEIGHTS_NAME]


def test_a_training_that_goes_on_starts_where_the_champion_ended(
    first: AdapterDirectory, second: TrainingResult, tmp_path: Path
) -> None:
    fresh = train(tmp_path / "fresh", num_train_epochs=1)
    assert second.curve["loss"][0] < 0.8 * fresh.curve["loss"][0]
    assert file_bytes(second.adapter)[WEIGHTS_NAME] != file_bytes(first)[WEIGHTS_NAME]
    assert read_manifest(second.adapter.path).provenance[PREDECESSOR_KEY] == first.checksum


def test_going_on_is_repeatable_to_the_bit(first: AdapterDirectory, second: TrainingResult, tmp_path: Path) -> None:
    assert file_bytes(_continue(first, tmp_path / "again").adapter) == file_bytes(second.adapter)


def test_the_adapter_remembers_what_its_head_started_from(first: AdapterDirectory, tmp_path: Path) -> None:
    settings = _config()
    settings = replace(settings, model=replace(settings.model, head="random"))
    result = _continue(first, tmp_path / "adapter", settings)
    assert (result.head, read_labels(result.adapter.path).head) == ("label_words", "label_words")


@pytest.mark.parametrize(
    ("lora", "named"),
    [
        ({"r": 4}, "r=16, and training.lora.r is 4"),
        ({"lora_alpha": 8}, "lora_alpha=32"),
        ({"use_rslora": True}, "use_rslora=False"),
        ({"target_modules": ("q_proj",)}, "target_modules="),
    ],
)
def test_another_lora_configuration_is_refused_by_name(
    first: AdapterDirectory, tmp_path: Path, lora: dict[str, Any], named: str
) -> None:
    with pytest.raises(AdapterMismatchError, match=named):
        _continue(first, tmp_path / "adapter", _config(lora=lora))
    assert not (tmp_path / "adapter").exists()


def test_other_labels_are_refused(first: AdapterDirectory, tmp_path: Path) -> None:
    with pytest.raises(AdapterMismatchError, match="labels"):
        train_adapter(splits(), _config(), LABELS[::-1], tmp_path / "adapter", initial=first)


def test_an_adapter_that_is_not_the_one_that_is_meant_is_refused(first: AdapterDirectory, tmp_path: Path) -> None:
    with pytest.raises(AdapterCorruptError, match="was expected"):
        _continue(replace(first, checksum="0" * 64), tmp_path / "adapter")

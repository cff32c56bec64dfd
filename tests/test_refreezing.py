"""`ftzard splits`: the test split stays what it was, and grows on purpose, by one commit with a reason."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from tests.project_scenario import TINY, copy_of, git, load_asset, materializations

from ftzard.assets.data import cleaned, raw_data, splits
from ftzard.assets.step import Step, StepResult
from ftzard.cli import main
from ftzard.composition import compose
from ftzard.core.frozen_test import FrozenTest, frozen_path, read_frozen
from ftzard.core.records import Splits
from ftzard.core.splitting import HELD_FOR_TEST, IN_TEST_SPLIT
from ftzard.dagster_instance import project_instance
from ftzard.materialization import stale_assets


def _splits(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["splits", *arguments, "--project", str(project), *TINY])


def _must(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def _frozen(project: Path) -> FrozenTest:
    found = read_frozen(frozen_path(project, compose(TINY, project_dir=project).versioning))
    assert found is not None
    return found


def _made(project: Path, *overrides: str) -> StepResult[Splits]:
    """What `splits` would be now, as its materialization calls it."""
    config = compose([*TINY, *overrides], project_dir=project)
    step = Step(config, project, frozen_path=frozen_path(project, config.versioning))
    return splits(cleaned(raw_data(step=step).value, step).value, step)


def _add(project: Path, name: str, rows: list[tuple[str, str]]) -> None:
    lines = [f'"{text}",{label}' for text, label in rows]
    (project / "data" / "raw" / name).write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")


@pytest.fixture
def grown(materialized_project: Path, tmp_path: Path) -> Path:
    """A project whose test split is frozen; a batch that came later holds copies of it, and others."""
    project = copy_of(materialized_project, tmp_path)
    test = load_asset(project, "splits").test
    copies = [(f"{text.upper()} !!! https://t.co/{number}", label) for number, (text, label) in
              enumerate(test.select("text", "label").iter_rows())]  # fmt: skip
    others = [(f"Number {number}", ("positive", "negative")[number % 2]) for number in range(100)]
    _add(project, "later.csv", copies + others)
    return project


def test_the_first_materialization_freezes_the_test_split_in_its_own_data_commit(materialized_project: Path) -> None:
    frozen, test = _frozen(materialized_project), load_asset(materialized_project, "splits").test
    assert frozen.rows["text_hash"].to_list() == test["text_hash"].to_list()
    metadata = materializations(materialized_project, ["splits"])["splits"].metadata
    assert frozen.current.fingerprint[:12] in str(metadata["test_split"].value)
    commit = git(materialized_project, "log", "-1", "--format=%H", "--grep=materialize splits")
    done = materialized_project.parent / "then"
    told = CliRunner().invoke(main, ["checkout", commit, "--to", str(done), "--project", str(materialized_project)])
    assert told.exit_code == 0, told.output
    assert (done / "test_split" / "frozen.json").read_text() == frozen.to_json()


def test_later_copies_are_quarantined_listed_and_counted_and_the_test_split_stays(grown: Path) -> None:
    frozen = _frozen(grown)
    result = _made(grown)
    assert result.value.test["text_hash"].to_list() == frozen.rows["text_hash"].to_list()
    num_copies = frozen.rows.height
    assert result.metrics[f"num_quarantined_{IN_TEST_SPLIT}"] == num_copies
    held = result.metrics[f"num_quarantined_{HELD_FOR_TEST}"]
    assert 0 < held < 40
    shown = result.metadata["quarantined_examples"]
    assert isinstance(shown, pl.DataFrame)
    assert shown["batch"].unique().to_list() == ["data/raw/later.csv"]
    assert set(shown["test_text"]) <= set(frozen.rows["text"])
    status = _must(_splits(grown, "status"))
    assert f"frozen at its first use: {num_copies} row(s)" in status
    assert f"{num_copies} row(s) are quarantined" in status
    assert f"{held:.0f} row(s) are held for the test split: `ftzard splits refreeze" in status
    growing = _made(grown, "data.test_split=growing")
    assert growing.value.test.height > num_copies
    assert HELD_FOR_TEST not in set(growing.value.quarantined["reason"])


def test_a_refreeze_is_one_commit_with_the_reason_that_takes_in_what_was_held(grown: Path) -> None:
    git(grown, "config", "user.name", "Grace Hopper")
    before, first = _frozen(grown), _made(grown)
    held = first.value.quarantined.filter(reason=HELD_FOR_TEST)
    head = git(grown, "rev-parse", "HEAD")
    told = _must(_splits(grown, "refreeze", "--reason", "more\nlabels"))
    assert f"{before.rows.height + held.height} row(s) now: {held.height} new, 0 dropped" in told
    after = _frozen(grown)
    assert after.current.fingerprint in told
    assert after.current.fingerprint != before.current.fingerprint == after.freezes[0].fingerprint
    assert git(grown, "rev-parse", "HEAD~1") == head
    message = git(grown, "log", "-1", "--format=%B")
    assert message.startswith(f"data: freeze the test split anew with {after.rows.height} rows\n\nmore labels\n")
    assert f"Test-Fingerprint: {after.current.fingerprint}" in message
    assert git(grown, "status", "--short", "--untracked-files=no") == ""
    again = _made(grown)
    assert set(again.value.test["text_hash"]) == set(before.rows["text_hash"]) | set(held["text_hash"])
    assert again.value.train.equals(first.value.train)
    assert "Grace Hopper froze it anew" in _must(_splits(grown, "status"))
    refused = _splits(grown, "refreeze", "--reason", "once more")
    assert refused.exit_code == 1
    assert "would be the same" in refused.stderr


def test_a_refreeze_makes_the_splits_stale_and_nothing_before_them(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    path = frozen_path(project, compose(TINY, project_dir=project).versioning)
    with project_instance(project) as instance:
        assert stale_assets(project, TINY, instance) == ()
        content = json.loads(path.read_text())
        again = {**content["freezes"][0], "why": "more", "by": "anna", "at": "2026-01-01T00:00:00Z"}
        path.write_text(json.dumps({**content, "freezes": [*content["freezes"], again]}))
        assert stale_assets(project, TINY, instance)[0] == "splits"


def test_a_refreeze_needs_a_reason_a_frozen_test_split_and_labels_that_can_be_split(
    project: Path, materialized_project: Path, tmp_path: Path
) -> None:
    assert _splits(project, "refreeze", "--reason", " ").exit_code == 2
    refused = _splits(project, "refreeze", "--reason", "why not")
    assert "there is no frozen test split" in refused.stderr
    assert "not frozen yet" in _must(_splits(project, "status"))
    full = copy_of(materialized_project, tmp_path)
    growing = _splits(full, "refreeze", "--reason", "why not", "data.test_split=growing")
    assert "data.test_split=growing" in growing.stderr
    head = git(full, "rev-parse", "HEAD")
    test = load_asset(full, "splits").test
    rows = pl.read_csv(full / "data" / "raw" / "opinions.csv").filter(~pl.col("text").is_in(test["text"].to_list()))
    rows.write_csv(full / "data" / "raw" / "opinions.csv")
    assert "There can be no splits: of the" in _must(_splits(full, "status"))
    assert git(full, "rev-parse", "HEAD") == head


def test_called_directly_without_a_place_nothing_is_frozen(materialized_project: Path, tmp_path: Path) -> None:
    config = compose(TINY, project_dir=materialized_project)
    clean = load_asset(materialized_project, "cleaned")
    splits(clean, Step(config, tmp_path))
    assert list(tmp_path.iterdir()) == []

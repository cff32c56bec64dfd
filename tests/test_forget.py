"""`ftzard labels forget`: labels go by one data commit, what reads labels follows, and the retrain decision knows."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from tests.core.test_label_queue import file_of
from tests.project_scenario import TINY, copy_of, file_bytes, git, load_asset, materializations, run, tracking

from ftzard.assets.decision import retrain_decision
from ftzard.assets.step import Step, StepResult
from ftzard.cli import main
from ftzard.composition import compose
from ftzard.config import FtzardConfig, LabellingConfig
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.cleaning import clean
from ftzard.core.label_files import label_csv, write_label_queue
from ftzard.core.label_queue import make_label_queue
from ftzard.core.reading import read_batches
from ftzard.core.records import Splits
from ftzard.core.retrain_decision import RetrainDecision
from ftzard.core.retraining import FORGOTTEN_KEY, seen_by
from ftzard.core.splitting import split
from ftzard.errors import DataCommitError
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.versioning import DvcRepository

_FROM_CHAMPION = "training.retraining.start_from=champion"


def _labels(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["labels", *arguments, "--project", str(project), *TINY])


def _must(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def _say(project: Path, annotator: str, label: str, rows: slice) -> None:
    """One person gives some rows of the queue one label."""
    queue = pl.read_parquet(project / "data" / "assets" / "label_queue" / "aa" / "rows.parquet").sort("text_hash")
    path = project.parent / f"{annotator}.csv"
    path.write_bytes(label_csv(queue[rows].with_columns(label=pl.lit(label))))
    _must(_labels(project, "import", str(path), "--annotator", annotator))


def _raw(project: Path) -> pl.DataFrame:
    return read_batches(project, compose(TINY, project_dir=project).data).examples


def _annotated(project: Path) -> list[str]:
    rows = _raw(project).filter(pl.col("batch") == "data/labelled/annotations.csv")
    return rows.sort("text")["label"].to_list()


def _state(project: Path) -> tuple[str, dict[str, bytes]]:
    return git(project, "rev-parse", "HEAD"), file_bytes(project / "data")


@pytest.fixture
def labelled(materialized_project: Path, tmp_path: Path) -> Path:
    """A project with a champion; anna and cem say negative of the queue's first rows, ben says positive of more."""
    project = copy_of(materialized_project, tmp_path)
    folder = project / "data" / "assets" / "label_queue"
    folder.mkdir()
    queue = make_label_queue(*file_of(60, 1), "1", LabellingConfig(max_rows_per_file=20, uncertainty_quantile=0.0))
    write_label_queue(queue, folder / "aa")
    _say(project, "anna", "negative", slice(0, 6))
    _say(project, "cem", "negative", slice(0, 3))
    _say(project, "ben", "positive", slice(0, 12))
    DvcRepository(project, compose(TINY, project_dir=project).versioning).commit("data: labels")
    return project


def test_what_one_person_said_goes_and_the_others_decide(labelled: Path) -> None:
    # Of the first three rows two of three say negative, the next three are ties, six are ben's alone.
    assert sorted(_annotated(labelled)) == ["negative"] * 3 + ["positive"] * 6
    told = _must(_labels(labelled, "forget", "--annotator", "anna", "--why", "she\nguessed"))
    assert "Took out 6 label(s) of the annotator anna" in told
    # Three are ties now, and three are ben's.
    assert _annotated(labelled) == ["positive"] * 9
    assert {path.name.partition("-")[2] for path in (labelled / "data" / "annotations").iterdir()} == {
        "ben.csv",
        "cem.csv",
    }
    status = _must(_labels(labelled, "status"))
    assert "20 queued, 9 labelled, 11 open" in status
    assert status.count("tie, stays open") == 3
    assert "anna" not in status.replace("labels of the annotator anna", "").partition("took out")[0]
    assert "took out 6 label(s) of the annotator anna: she guessed" in status
    _say(labelled, "anna", "negative", slice(0, 3))
    assert sorted(_annotated(labelled)) == ["negative"] * 3 + ["positive"] * 9


def test_it_is_one_commit_that_says_who_and_why_and_earlier_ones_still_hold_the_labels(labelled: Path) -> None:
    git(labelled, "config", "user.name", "Grace Hopper")
    before = git(labelled, "rev-parse", "HEAD")
    (labelled / "notes.txt").write_text("mine")
    told = _must(_labels(labelled, "forget", "--annotator", "anna", "--why", "she guessed"))
    assert git(labelled, "rev-parse", "HEAD~1") == before
    message = git(labelled, "log", "-1", "--format=%B")
    assert message.startswith("data: forget 6 label(s) of the annotator anna\n\nshe guessed\n")
    assert "Forgotten-By: Grace Hopper" in message
    assert git(labelled, "rev-parse", "HEAD") in told
    assert "Not erased: earlier data commits" in told
    assert git(labelled, "status", "--short", "--untracked-files=no") == ""
    old = labelled.parent / "old"
    done = CliRunner().invoke(main, ["checkout", before, "--to", str(old), "--project", str(labelled)])
    assert done.exit_code == 0, done.output
    assert any(path.name.endswith("-anna.csv") for path in (old / "annotations").iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--annotator", "zoe"], "anna, ben, cem"),
        (["--batch", "missing.csv"], "data/labelled/annotations.csv, data/raw/opinions.csv"),
        (["--batch", "annotations.csv"], "--annotator NAME"),
    ],
)
def test_who_or_what_gave_no_labels_is_refused_with_those_that_did(
    labelled: Path, arguments: list[str], told: str
) -> None:
    before = _state(labelled)
    done = _labels(labelled, "forget", *arguments)
    assert done.exit_code == 1, done.output
    assert told in done.stderr
    assert _state(labelled) == before


def test_neither_and_both_are_refused(labelled: Path) -> None:
    assert _labels(labelled, "forget").exit_code == 2
    assert _labels(labelled, "forget", "--annotator", "anna", "--batch", "opinions.csv").exit_code == 2


def test_everything_is_refused_before_anything_changes(labelled: Path) -> None:
    for name in ("anna", "cem"):
        _must(_labels(labelled, "forget", "--annotator", name))
    before = _state(labelled)
    # What ben said is all one label.
    done = _labels(labelled, "forget", "--batch", "opinions.csv")
    assert done.exit_code == 1, done.output
    assert "nothing left to train on" in done.stderr
    assert _state(labelled) == before


def test_of_two_files_with_one_name_the_path_is_asked_for(labelled: Path) -> None:
    other = labelled / "data" / "labelled" / "opinions.csv"
    shutil.copy(labelled / "data" / "raw" / "opinions.csv", other)
    done = _labels(labelled, "forget", "--batch", "opinions.csv")
    assert done.exit_code == 1, done.output
    assert "name one of data/labelled/opinions.csv, data/raw/opinions.csv" in done.stderr
    told = _must(_labels(labelled, "forget", "--batch", str(other)))
    # The same rows are in the other file.
    assert "0 example(s) have no label now" in told
    assert not other.exists()


def test_a_commit_that_is_refused_leaves_every_file_as_it_was(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise DataCommitError("no", fix="wait")

    before = _state(labelled)
    with monkeypatch.context() as patch:
        patch.setattr(DvcRepository, "commit", refuse)
        for arguments in (["--annotator", "anna"], ["--annotator", "ben"], ["--batch", "opinions.csv"]):
            assert _labels(labelled, "forget", *arguments).exit_code == 1
            assert _state(labelled) == before
    _must(_labels(labelled, "forget", "--annotator", "anna"))
    assert not list((labelled / ".ftzard").glob("file-changes*"))


_KILLED = """\
import os, signal, sys
from ftzard.cli import main
from ftzard.resources.versioning import DvcRepository
DvcRepository.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(["labels", "forget", "--annotator", "anna", "--project", sys.argv[1], "experiment=tiny"])
"""


def test_one_that_was_killed_half_way_is_finished_by_the_next_command(labelled: Path) -> None:
    before = git(labelled, "rev-parse", "HEAD")
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(labelled)], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert git(labelled, "rev-parse", "HEAD") == before
    _must(_labels(labelled, "forget", "--annotator", "cem"))
    assert "of the annotator anna" in git(labelled, "log", "-1", "--skip=1", "--format=%s")
    assert git(labelled, "rev-parse", "HEAD~2") == before
    assert _annotated(labelled) == ["positive"] * 12
    assert len(list((labelled / "data" / "forgotten").iterdir())) == 2


# The retrain decision


@pytest.fixture
def without_some(materialized_project: Path, tmp_path: Path) -> Path:
    """A project whose champion was trained on a file that was taken out; most of its rows are in another one too."""
    project = copy_of(materialized_project, tmp_path)
    before = load_asset(project, "splits")
    kept = pl.concat([before.train.head(40), before.validation, before.test]).select("text", "label")
    new = pl.DataFrame({"text": ["The ship is great"], "label": ["positive"]})
    pl.concat([kept, new]).write_csv(project / "data" / "raw" / "most.csv")
    _must(_labels(project, "forget", "--batch", "data/raw/opinions.csv"))
    return project


def _now(project: Path) -> tuple[Splits, FtzardConfig]:
    config = compose(TINY, project_dir=project)
    return split(clean(_raw(project), config.data).examples, config.data), config


def _decision(project: Path) -> StepResult[RetrainDecision]:
    splits, config = _now(project)
    return retrain_decision(splits, Step(config, project, registry=AdapterRegistry(tracking(project))))


def test_labels_that_the_champion_was_trained_on_are_a_reason_to_train_again(without_some: Path) -> None:
    seen = set(load_asset(without_some, "splits").train["text_hash"])
    num_gone = len(seen - set(clean(_raw(without_some), compose(TINY).data).examples["text_hash"]))
    assert 0 < num_gone < len(seen)
    result = _decision(without_some)
    assert result.value.verdict == "retrain"
    assert result.value.evidence.num_forgotten == num_gone
    told = f"{num_gone} label(s) that the champion was trained on were taken out since"
    assert told in str(result.metadata["sentence"])
    assert told in " ".join(result.metadata["reasons"]["reason"])  # type: ignore[index]
    assert result.metrics["num_forgotten"] == num_gone


def test_a_file_that_somebody_deleted_by_hand_is_none(materialized_project: Path, tmp_path: Path) -> None:
    project = copy_of(materialized_project, tmp_path)
    before = load_asset(project, "splits")
    (project / "data" / "raw" / "opinions.csv").unlink()
    pl.concat([before.train.head(40), before.test]).write_csv(project / "data" / "raw" / "most.csv")
    before.validation.write_csv(project / "data" / "raw" / "rest.csv")
    decision = _decision(project).value
    assert (decision.verdict, decision.evidence.num_forgotten) == ("wait", 0)


@pytest.mark.slow
def test_the_next_training_starts_from_the_base_and_says_why_and_has_seen_none_of_it(without_some: Path) -> None:
    run(without_some, _FROM_CHAMPION)
    adapter, splits = load_asset(without_some, "lora_adapter"), load_asset(without_some, "splits")
    told = str(materializations(without_some)["lora_adapter"].metadata["trained"].value)
    assert told.startswith("from the base model (the champion's weights have seen ")
    assert materializations(without_some)["lora_adapter"].metadata["num_train_examples"].value == splits.train.height
    assert int(read_manifest(adapter.path).provenance[FORGOTTEN_KEY]) > 0
    registry = AdapterRegistry(tracking(without_some))
    assert set(seen_by(adapter, splits.train, registry)["text_hash"]) == set(splits.train["text_hash"])
    shown = CliRunner().invoke(main, ["show", registry.versions()[-1].version, "--project", str(without_some), *TINY])
    assert "champion before version 1: " in shown.output
    assert "training started from the base model, labels of it that were taken out " in shown.output
    # It was trained without: the champion that was not is no reason to do so again and again.
    decision = _decision(without_some).value
    if decision.evidence.num_forgotten:
        assert decision.verdict == "wait"
        assert decision.reasons_to_retrain
    assert decision.evidence.num_forgotten_since_last_training == 0
    assert run(without_some, _FROM_CHAMPION).ran == ()
    challenger, before = registry.versions()[-1], registry.champion()
    if challenger != before:
        registry.promote(challenger, instead_of=before, by="a test", why="to see what follows")
    assert _decision(without_some).value.evidence.num_forgotten == 0
    assert run(without_some, _FROM_CHAMPION).ran == ()
    again = CliRunner().invoke(main, ["reproduce", challenger.version, "--project", str(without_some), *TINY])
    assert "reproduced, bit for bit" in again.output


def test_a_record_makes_the_decision_stale(without_some: Path) -> None:
    _, config = _now(without_some)
    step = Step(config, without_some)
    with_record = retrain_decision.fingerprint(step, {})
    shutil.rmtree(without_some / "data" / "forgotten")
    assert retrain_decision.fingerprint(replace(step), {}) != with_record

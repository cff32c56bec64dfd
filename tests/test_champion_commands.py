"""`ftzard champion` and `ftzard champion rollback`, on a store that holds two versions."""

import getpass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from tests.project_scenario import TINY, git, tracking
from tests.registry_scenario import small_adapter

from ftzard.cli import main
from ftzard.core.champion_records import AdapterEvidence, RegisteredAdapter
from ftzard.core.predictions import predictions_frame
from ftzard.core.records import AdapterDirectory
from ftzard.core.seen_examples import seen_in
from ftzard.resources.registry import AdapterRegistry


def _call(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["champion", *arguments, "--project", str(project), *TINY])


def _promote(registry: AdapterRegistry, adapter: AdapterDirectory, why: str) -> RegisteredAdapter:
    logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    predictions = predictions_frame(list("abcd"), ["no", "no", "no", "yes"], logits, ["no", "yes"])
    evidence = AdapterEvidence(predictions, seen_in(pl.DataFrame({"text_hash": ["e"], "label": ["yes"]})))
    run = registry.tracking.open_run("CHOOSE_BEST_MODEL", tags={})
    version = registry.register(adapter, evidence, test_fingerprint="a" * 64, run_id=run.run_id)
    registry.promote(version, instead_of=registry.champion(), by="the gate", why=why)
    return version


@pytest.fixture
def two_champions(tracked_project: Path, tmp_path: Path) -> tuple[Path, RegisteredAdapter, RegisteredAdapter]:
    """A project whose store holds a champion and the one that it replaced."""
    registry = AdapterRegistry(tracking(tracked_project))
    before = _promote(registry, small_adapter(tmp_path / "before", "before"), "there was none")
    return tracked_project, before, _promote(registry, small_adapter(tmp_path / "now", "now"), "3 points better")


def test_without_a_champion_it_says_how_to_get_one_and_makes_no_store(project: Path) -> None:
    result = _call(project)
    assert result.exit_code == 0, result.output
    assert "no champion yet" in result.stdout
    assert "Materialize `champion`" in result.stdout
    assert not (project / "mlflow.db").exists()


def test_where_the_gate_refused_the_only_adapter_its_verdict_is_told(tracked_project: Path) -> None:
    run = tracking(tracked_project).open_run("CHOOSE_BEST_MODEL", tags={})
    run.set_tags({"ftzard.sentence": "keep: its macro-F1 is shown to be below TF-IDF's"})
    run.finish("FINISHED")
    told = _call(tracked_project).stdout
    assert "no champion yet" in told
    assert "keep: its macro-F1 is shown to be below TF-IDF's" in told
    # It was done, and does not help.
    assert "Materialize `champion`" not in told


def test_the_champion_is_shown_with_scores_and_who_promoted_it_and_why(
    two_champions: tuple[Path, RegisteredAdapter, RegisteredAdapter],
) -> None:
    project, before, now = two_champions
    result = _call(project)
    assert result.exit_code == 0, result.output
    assert result.stdout == _call(project, "show").stdout
    assert f"version {now.version}" in result.stdout.splitlines()[0]
    for told in (now.checksum, now.run_id, "by the gate", "3 points better", "a" * 64, "there was none"):
        assert told in result.stdout
    # Three of four right: F1 0.8 of "no" (two of two predicted, of three) and 2/3 of "yes".
    assert "macro-F1 0.733, accuracy 0.750 on 4 test rows" in result.stdout
    assert before.checksum not in result.stdout


def test_a_rollback_keeps_who_and_why(two_champions: tuple[Path, RegisteredAdapter, RegisteredAdapter]) -> None:
    project, before, now = two_champions
    done = _call(project, "rollback", "--why", "it fails on questions", "--by", "Ada")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"The champion of {before.name} is now version {before.version}.\n"
    shown = _call(project).stdout
    assert f"version {before.version}" in shown.splitlines()[0]
    assert "UTC by Ada" in shown
    assert "it fails on questions" in shown
    assert _call(project, "rollback", "--to", now.version, "--why", "it was the data").exit_code == 0
    assert AdapterRegistry(tracking(project)).champion() == now


def test_without_a_name_it_is_gits_user_and_else_the_login(
    two_champions: tuple[Path, RegisteredAdapter, RegisteredAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, before, now = two_champions
    monkeypatch.setattr(getpass, "getuser", lambda: "login-name")
    _call(project, "rollback", "--why", "one")
    git(project, "config", "user.name", "Grace Hopper")
    _call(project, "rollback", "--why", "two", "--to", now.version)
    moves = AdapterRegistry(tracking(project)).history()
    assert [(move.to_version, move.by) for move in moves[-2:]] == [
        (before.version, "login-name"),
        (now.version, "Grace Hopper"),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["rollback"], 2, "--why"),
        (["rollback", "--why", " "], 1, "needs a reason"),
        (["rollback", "--why", "x", "--to", "9"], 1, "'9'"),
        (["rollback", "--why", "x", "--to", "2"], 1, "is the champion already"),
    ],
)
def test_a_rollback_that_cannot_be_is_told_and_moves_nothing(
    two_champions: tuple[Path, RegisteredAdapter, RegisteredAdapter], arguments: list[str], code: int, told: str
) -> None:
    project, _, now = two_champions
    result = _call(project, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert AdapterRegistry(tracking(project)).champion() == now


def test_an_alias_that_was_moved_in_mlflow_itself_is_not_ascribed_to_anybody(
    two_champions: tuple[Path, RegisteredAdapter, RegisteredAdapter],
) -> None:
    project, before, _ = two_champions
    registry = AdapterRegistry(tracking(project))
    with registry.tracking.connected() as client:
        client.set_registered_model_alias(registry.name, "champion", before.version)
    shown = _call(project).stdout
    assert "somebody moved the alias" in shown
    assert "because" not in shown


def test_words_in_the_store_do_not_command_the_terminal(
    two_champions: tuple[Path, RegisteredAdapter, RegisteredAdapter],
) -> None:
    project, _, _ = two_champions
    AdapterRegistry(tracking(project)).rollback(to=None, by="me\x1b[2J", why="one\ntwo\x07")
    shown = _call(project).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "one two" in shown


def test_credentials_in_the_address_of_the_store_are_not_shown(
    two_champions: tuple[Path, RegisteredAdapter, RegisteredAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftzard.resources.tracking import Tracking

    project, _, _ = two_champions
    monkeypatch.setattr(Tracking, "tracking_uri", "https://token-of-mine@example.org/mlflow")
    monkeypatch.setattr(Tracking, "store_file", None)
    monkeypatch.setattr(AdapterRegistry, "champion", lambda _: None)
    shown = _call(project).stdout
    assert "https://***@example.org/mlflow" in shown
    assert "token-of-mine" not in shown

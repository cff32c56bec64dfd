"""Training when there is a champion: what it is called, where it starts, and that it is done once."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.project_scenario import TINY, copy_of, data_versions, load_asset, materializations, run, tracking

from ftzard.cli import main
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.retraining import PREDECESSOR_KEY
from ftzard.resources.registry import AdapterRegistry

_FROM_CHAMPION = "training.retraining.start_from=champion"


@pytest.fixture
def grown(materialized_project: Path, tmp_path: Path) -> Path:
    """A project with a champion and a batch that came later."""
    project = copy_of(materialized_project, tmp_path)
    rows = [f"The {thing} is {word},{label}" for thing in ("ship", "bird", "lake", "road", "bell", "desk", "game")
            for word, label in (("great", "positive"), ("dull", "negative"))]  # fmt: skip
    (project / "data" / "raw" / "later.csv").write_text("\n".join(["text,label", *rows, ""]))
    return project


def _last_training(project: Path) -> tuple[str, dict[str, str]]:
    summary = [one for one in tracking(project).runs() if one.step in {"TRAINING", "RETRAINING"}][-1]
    tags = tracking(project).run(summary.run_id).client.get_run(summary.run_id).data.tags
    return summary.step, dict(tags)


def test_the_first_training_is_a_training_on_everything(materialized_project: Path) -> None:
    step, tags = _last_training(materialized_project)
    assert (step, tags["ftzard.num_new_labels"]) == ("TRAINING", "0")
    num_train = load_asset(materialized_project, "splits").train.height
    told = materializations(materialized_project)["lora_adapter"].metadata["trained"].value
    assert told == f"from the base model on 0 new example(s) and {num_train} old one(s)"


@pytest.mark.slow
def test_a_training_after_new_labels_is_a_retraining_and_counts_them(grown: Path) -> None:
    seen = load_asset(grown, "splits").train["text_hash"]
    run(grown)
    train = load_asset(grown, "splits").train
    num_new = int((~train["text_hash"].is_in(seen.implode())).sum())
    step, tags = _last_training(grown)
    assert (step, tags["ftzard.num_new_labels"]) == ("RETRAINING", str(num_new))
    assert materializations(grown)["lora_adapter"].metadata["num_train_examples"].value == train.height


@pytest.mark.slow
def test_it_goes_on_from_the_champion_is_reproduced_and_has_nothing_to_do_the_second_time(grown: Path) -> None:
    registry = AdapterRegistry(tracking(grown))
    before = registry.champion()
    assert before is not None
    run(grown, _FROM_CHAMPION)
    adapter, train = load_asset(grown, "lora_adapter"), load_asset(grown, "splits").train
    assert read_manifest(adapter.path).provenance[PREDECESSOR_KEY] == before.checksum
    told = str(materializations(grown)["lora_adapter"].metadata["trained"].value)
    assert told.startswith("from the champion's weights on ")
    assert materializations(grown)["lora_adapter"].metadata["num_train_examples"].value < train.height
    challenger = registry.versions()[-1]
    assert challenger.checksum == adapter.checksum
    assert set(registry.evidence(challenger).train_hashes) == set(train["text_hash"])
    for _ in ("kept", "promoted"):
        assert run(grown, _FROM_CHAMPION).ran == ()
        # What the gate says of so few rows is its business.
        if registry.champion() != challenger:
            registry.promote(challenger, instead_of=before, by="a test", why="to see what follows")
    # Reproduced from the champion of then, whoever is it now.
    done = CliRunner().invoke(main, ["reproduce", challenger.version, "--project", str(grown), *TINY])
    assert done.exit_code == 0, done.output
    assert "reproduced, bit for bit" in done.output
    versions = data_versions(grown)
    shutil.rmtree(grown / "data" / "assets" / "lora_adapter")
    assert "lora_adapter" in run(grown, _FROM_CHAMPION).ran
    assert data_versions(grown)["lora_adapter"] == versions["lora_adapter"]

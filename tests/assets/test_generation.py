"""The whole graph for models that write answers: called as functions, and materialized."""

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from PIL import Image
from polars.testing import assert_frame_equal
from tests.core.answer_scenario import examples
from tests.project_scenario import file_bytes, load_asset, materializations, project_with

from ftzard.assets.champion import champion
from ftzard.assets.checks import adapter_beats_baseline, examples_fit_the_schema, splits_are_disjoint
from ftzard.assets.data import cleaned, raw_data, splits
from ftzard.assets.evaluation import metrics, predictions
from ftzard.assets.labelling import label_queue
from ftzard.assets.step import Step
from ftzard.assets.training import lora_adapter
from ftzard.assets.tuning import tuned_hyperparameters
from ftzard.champion import describe_champion
from ftzard.cli import main
from ftzard.composition import compose
from ftzard.config import SearchDimension, TuningConfig
from ftzard.core.answer_comparison import AnswerComparison
from ftzard.core.answer_predictions import answer_schema, check_answers, incoming_schema
from ftzard.core.cleaning import hash_texts
from ftzard.core.cleaning_answers import clean_for_task
from ftzard.core.conversations import write_messages
from ftzard.core.figures import length_histogram, loss_curve
from ftzard.core.generation_report import GenerationReport
from ftzard.core.reading import read_batch, read_batches
from ftzard.core.records import RAW_SCHEMA, Raw, Splits
from ftzard.core.row_columns import read_pair, write_pair
from ftzard.core.versions import content_version
from ftzard.dagster_instance import project_instance
from ftzard.definitions import build_definitions
from ftzard.difference import diff_lines, diff_project
from ftzard.errors import ConfigError, LabelSetChangedError, NoExamplesError
from ftzard.forgetting import forget_labels
from ftzard.lineage_sources import LineageSources
from ftzard.materialization import materialize
from ftzard.reproduction import reproduce
from ftzard.resources.registry import AdapterRegistry
from ftzard.resources.tracking import Tracking

pytestmark = pytest.mark.usefixtures("one_thread")

_GENERATION, _PREFERENCE = ("experiment=tiny_generation",), ("experiment=tiny_preference",)
_DPO_LOSS = "DPO loss in nats (0.693 at the start)"
_COLUMNS = {"generation": ("prompt", "completion"), "preference": ("prompt", "chosen", "rejected")}


def _write_batch(raw: Path, task: str, num: int = 40, seed: int = 1, name: str = "batch.csv") -> None:
    rows = examples(num, seed, task).select("text", "label").iter_rows()
    with (raw / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS[task])
        writer.writerows((text, label) if task == "generation" else (text, *read_pair(label)) for text, label in rows)


def _project(template: Path, empty_store: Path, folder: Path, task: str, overrides: Sequence[str]) -> Path:
    project = project_with(template, empty_store, folder, lambda raw: _write_batch(raw, task))
    materialize(project, overrides)
    return project


@pytest.fixture(scope="module")
def writing(project_template: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project materialized with `experiment=tiny_generation`."""
    return _project(project_template, empty_store, tmp_path_factory.mktemp("sft"), "generation", _GENERATION)


@pytest.fixture(scope="module")
def preferring(project_template: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project materialized with `experiment=tiny_preference`."""
    return _project(project_template, empty_store, tmp_path_factory.mktemp("dpo"), "preference", _PREFERENCE)


def test_what_is_called_is_what_is_materialized(writing: Path, tmp_path: Path) -> None:
    config = compose(_GENERATION, project_dir=writing)
    step = Step(config, tmp_path)
    raw = raw_data(step=Step(config, writing)).value
    clean = cleaned(raw, step).value
    parts = splits(clean, step).value
    tuned = tuned_hyperparameters(parts, step).value
    adapter = lora_adapter(parts, tuned, step).value
    answers = predictions(adapter, parts, step).value
    report = metrics(answers, parts, step).value
    assert not list(tmp_path.rglob("*.db"))
    assert_frame_equal(answers, load_asset(writing, "predictions"), check_exact=True)
    assert report == load_asset(writing, "metrics")
    stored = load_asset(writing, "lora_adapter")
    ours, theirs = file_bytes(adapter.path), file_bytes(stored.path)
    assert {name for name in ours if ours[name] != theirs[name]} == {"manifest.json"}
    for name, value in (("raw_data", raw), ("cleaned", clean), ("splits", parts), ("lora_adapter", adapter)):
        assert content_version(value) == content_version(load_asset(writing, name))
    assert examples_fit_the_schema(clean, config).passed
    assert splits_are_disjoint(parts, config).passed


def test_the_predictions_hold_what_both_models_write_and_the_report_judges_them(writing: Path) -> None:
    answers, parts = load_asset(writing, "predictions"), load_asset(writing, "splits")
    assert answers.schema == answer_schema("generation")
    assert check_answers(answers) == "generation"
    assert set(answers["text_hash"]) == set(parts.test["text_hash"])
    report = load_asset(writing, "metrics")
    assert isinstance(report, GenerationReport)
    assert report.num_test == parts.test.height
    assert report.adapter.metrics["perplexity"].value < report.untrained.metrics["perplexity"].value
    found = adapter_beats_baseline(report, compose(_GENERATION))
    assert found.passed == (report.verdict == "better")
    assert found.description == report.sentence


def test_dagster_and_mlflow_show_the_metrics_of_answers(writing: Path) -> None:
    shown = materializations(writing)
    report = load_asset(writing, "metrics")
    assert shown["metrics"].metadata["token_f1"].value == report.adapter.metrics["token_f1"].value
    assert shown["metrics"].metadata["untrained_perplexity"].value == report.untrained.metrics["perplexity"].value
    assert "perplexity" in str(shown["metrics"].metadata["scores"].value)
    assert "answer length" in shown["splits"].metadata
    assert shown["predictions"].metadata["task"].value == "generation"
    answers, parts = load_asset(writing, "predictions"), load_asset(writing, "splits")
    examples = str(shown["predictions"].metadata["examples"].value)
    texts = dict(parts.test.select("text_hash", "text").iter_rows())
    assert f"| {texts[answers['text_hash'][0]]} | {answers['label'][0]} |" in examples
    longest = answers["token_log_probabilities"].list.len().max()
    assert (shown["predictions"].metadata["num_answers_at_limit"].value != 0) == (longest == 12)
    assert "token f1 against others" in shown["champion"].metadata


def test_the_first_adapter_is_champion_and_is_told_with_its_scores(writing: Path) -> None:
    verdict = load_asset(writing, "champion")
    assert verdict.verdict == "promote"
    assert isinstance(verdict.against_baseline, AnswerComparison)
    assert verdict.against_baseline.other == "untrained model"
    told = describe_champion(writing, _GENERATION)
    assert "exact match" in told
    assert "perplexity" in told


def test_nothing_runs_again_where_nothing_has_changed(writing: Path) -> None:
    assert materialize(writing, _GENERATION).ran == ()


def test_the_champion_is_reproduced_bit_for_bit(writing: Path) -> None:
    assert reproduce(writing, "champion", _GENERATION).differences == ()


def test_a_difference_compares_by_the_configured_metric(writing: Path) -> None:
    told = list(diff_lines(diff_project(writing, "1", "champion", _GENERATION), 3))
    assert "  token f1: " in "\n".join(told)


def test_preferences_go_through_the_same_assets(preferring: Path) -> None:
    answers, report = load_asset(preferring, "predictions"), load_asset(preferring, "metrics")
    assert answers.schema == answer_schema("preference")
    assert report.task == "preference"
    assert report.reward_accuracy is not None
    assert report.reward_accuracy.value > 0.5
    verdict = load_asset(preferring, "champion")
    assert verdict.against_baseline.metric == "preference_accuracy"
    assert verdict.verdict == "promote"


def test_a_test_split_that_near_copies_left_small_is_warned_of_when_it_is_frozen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    things = [f"{one}{other}" for one in "bdfgklmprst" for other in "aeiouyj"]
    rows = [(f"What kind of animal is a {thing}?", "a bird", "a.csv", number) for number, thing in enumerate(things, 1)]
    rows += [(f"{thing} " * 4 + f"{row * row}", "so", "b.csv", row) for row, thing in enumerate(things[:33], 1)]
    step = Step(compose([*_GENERATION, "data.test_fraction=0.2", "data.train_fraction=0.7"]), tmp_path)
    clean = cleaned(Raw(pl.DataFrame(rows, schema=RAW_SCHEMA, orient="row")), step).value
    parts = splits(clean, step).value
    assert f"test has {parts.test.height} of 110 examples (of data.test_fraction=0.2: 22)" in caplog.text


def _name_of_the_upright_axis(png: bytes) -> bytes:
    """The pixels at the left, where nothing else is drawn."""
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB").crop((0, 0, 20, image.height)).tobytes()


@pytest.mark.parametrize(("task", "loss"), [("generation", "cross-entropy in nats"), ("preference", _DPO_LOSS)])
def test_a_loss_curve_says_which_loss_it_is(
    task: str, loss: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    project: Path = request.getfixturevalue("writing" if task == "generation" else "preferring")
    step = Step(compose(_GENERATION if task == "generation" else _PREFERENCE, project_dir=project), tmp_path)
    values = (load_asset(project, "splits"), load_asset(project, "tuned_hyperparameters"))
    drawn = lora_adapter(*values, step).figures["loss curve"]
    other = pl.DataFrame({"step": [1, 2], "loss": [3.0, 0.4]})
    assert _name_of_the_upright_axis(drawn) == _name_of_the_upright_axis(loss_curve(other, loss=loss))


def test_pictures_of_lengths_are_of_what_is_asked_and_answered_and_not_of_its_json(tmp_path: Path) -> None:
    pairs = Raw(
        pl.DataFrame(
            [(f"Who is {number}?", write_pair("No" * number, "Yes"), "a.csv", number) for number in range(1, 5)],
            schema=RAW_SCHEMA,
            orient="row",
        )
    )
    figures = cleaned(pairs, Step(compose(_PREFERENCE), tmp_path)).figures
    assert figures["chosen answer length"] == length_histogram([2, 4, 6, 8], unit="characters", what="chosen answers")
    assert figures["rejected answer length"] == length_histogram([3] * 4, unit="characters", what="rejected answers")
    talks = Raw(pairs.examples.with_columns(text=pl.lit(write_messages([{"role": "user", "content": "Who?"}]))))
    config = compose(["experiment=tiny_generation", "data=messages", "model.generation.prompt_format=chat"])
    figures = cleaned(talks, Step(config, tmp_path)).figures
    assert figures["text length"] == length_histogram([4], unit="characters")


def _defs(project: Path) -> dg.Definitions:
    return build_definitions([*_GENERATION, "automation.settle_s=0"], project_dir=project)


def test_prompts_that_come_in_are_answered_by_the_champion_and_not_queued_for_labels(writing: Path) -> None:
    incoming = writing / "data" / "incoming" / "asked.csv"
    incoming.parent.mkdir(exist_ok=True)
    # The last one is too long for the tiny model's window, and takes no other with it.
    incoming.write_text(f"prompt\n12 good\n34 bad\n12 good\n{'word ' * 500}\n", encoding="utf-8")
    definitions = _defs(writing)
    sensor = definitions.resolve_sensor_def("ftzard_incoming_files")
    job = definitions.resolve_job_def("ftzard_serving")
    resources = dict(definitions.resources or {})
    with project_instance(writing) as instance:
        with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
            tick = sensor.evaluate_tick(context)
        assert [key.to_user_string() for key in tick.run_requests[0].asset_selection or ()] == [  # type: ignore[index]
            "incoming",
            "incoming_predictions",
        ]
        key = tick.run_requests[0].tags["dagster/asset_partition_range_start"]  # type: ignore[index]
        instance.add_dynamic_partitions("ftzard_incoming", [key])
        result = job.execute_in_process(
            instance=instance,
            partition_key=key,
            asset_selection=[dg.AssetKey("incoming"), dg.AssetKey("incoming_predictions")],
        )
        assert result.success
        with dg.build_sensor_context(
            instance=instance, definitions=definitions, resources=resources, cursor=tick.cursor
        ) as context:
            again = sensor.evaluate_tick(context)
    assert not again.run_requests
    made = {str(one.asset_key): one for one in result.get_asset_materialization_events()}
    event = made[str(dg.AssetKey("incoming_predictions"))]
    assert "12 good" in str(event.materialization.metadata["examples"].value)
    assert event.materialization.metadata["num_left_out"].value == 1
    answers = pl.read_parquet(writing / "data" / "assets" / "incoming_predictions" / f"{key}.parquet")
    assert answers.schema == pl.Schema([*incoming_schema().items(), ("champion_version", pl.String)])
    assert answers.height == 2
    assert answers["label"].null_count() == 2


def test_a_label_queue_of_answers_is_refused(writing: Path) -> None:
    step = Step(compose(_GENERATION, project_dir=writing), writing)
    with pytest.raises(ConfigError, match=r"no label queues where data\.task is 'generation'"):
        # Not by calling it: these frames are refused before.
        label_queue.function(pl.DataFrame(), pl.DataFrame(), step)


def test_a_training_that_is_interrupted_goes_on_and_says_so(writing: Path, tmp_path: Path) -> None:
    def report(_: Mapping[str, float], step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    config = compose(_GENERATION, project_dir=writing)
    parts = load_asset(writing, "splits")
    tuned = load_asset(writing, "tuned_hyperparameters")
    with pytest.raises(KeyboardInterrupt):
        lora_adapter(parts, tuned, Step(config, tmp_path, report=report))
    result = lora_adapter(parts, tuned, Step(config, tmp_path))
    assert result.metadata["resumed_from_step"] == 3
    # A part of a training says nothing of how long a whole one takes.
    assert "estimated_memory_bytes" in result.metrics
    assert "estimate_time_error" not in result.metrics
    assert result.value.checksum == load_asset(writing, "lora_adapter").checksum


@pytest.mark.parametrize("arguments", [["labels", "export"], ["labels", "import", "batch.csv", "--annotator", "anna"]])
def test_what_is_for_classifiers_alone_is_refused_with_the_task(writing: Path, arguments: list[str]) -> None:
    arguments = [str(writing / "data" / "raw" / one) if one == "batch.csv" else one for one in arguments]
    result = CliRunner().invoke(main, [*arguments, "--project", str(writing), *_GENERATION])
    assert result.exit_code == 1
    assert "data.task is 'generation'" in result.output


def test_an_estimate_knows_the_texts_and_how_fast_the_last_training_was(writing: Path) -> None:
    result = CliRunner().invoke(main, ["estimate", "--json", "--project", str(writing), *_GENERATION])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["seconds"] > 0
    assert document["efficiency"] == materializations(writing)["lora_adapter"].metadata["efficiency"].value


def test_a_batch_of_answers_is_forgotten_with_the_examples_that_it_gave_and_no_others(writing: Path) -> None:
    config = compose(_GENERATION, project_dir=writing)
    before = read_batches(writing, config.data).examples
    num_before = clean_for_task(before, config.data).examples.height
    taken, mine = before["text"][0], "a prompt of its own"
    path = writing / "data" / "raw" / "later.csv"
    # The first answer to a prompt is kept: this one to a prompt that is taken makes no example, and changes none.
    path.write_text(f"prompt,completion\n{taken},perhaps\n{mine},perhaps\n", encoding="utf-8")
    done = forget_labels(writing, config, "batch", "later.csv", why="guessed")
    assert not path.exists()
    assert done.record.num_labels == 2
    assert done.num_examples == (num_before + 1, num_before)
    assert done.record.text_hashes == tuple(hash_texts(pl.Series([mine])))


def test_a_file_of_messages_is_known_by_what_their_examples_are_called(writing: Path) -> None:
    config = compose(
        [
            *_GENERATION,
            "data=messages",
            "data.cleaning_steps=[collapse_whitespace]",
            "model.generation.prompt_format=chat",
        ],
        project_dir=writing,
    )
    talk = [{"role": "user", "content": "Who  is\nthere?"}, {"role": "assistant", "content": "Me"}]
    path = writing / "talks.jsonl"
    path.write_text(json.dumps({"messages": talk}) + "\n", encoding="utf-8")
    parsed, _ = read_batch(path, "talks.jsonl", config.data)
    rows = parsed.with_columns(batch=pl.lit("talks.jsonl")).select(RAW_SCHEMA.names())
    examples_of_it = clean_for_task(rows, config.data).examples
    assert LineageSources(writing, config).hashes(rows) == set(examples_of_it["text_hash"])
    path.unlink()


def test_a_champion_of_another_task_is_not_compared_with(preferring: Path, writing: Path) -> None:
    config = compose(
        [*_GENERATION, "tracking.registered_model=tiny_preference", "tracking.experiment=tiny_preference"],
        project_dir=preferring,
    )
    registry = AdapterRegistry(Tracking(config.tracking, preferring))
    run_id = registry.tracking.runs()[0].run_id
    parts = load_asset(writing, "splits")
    assert isinstance(parts, Splits)
    values = [load_asset(writing, name) for name in ("lora_adapter", "predictions")]
    report = load_asset(writing, "metrics")
    step = Step(config, preferring, registry=registry, run_id=run_id)
    with pytest.raises(LabelSetChangedError, match=r"data\.task=preference|for preference") as raised:
        champion(values[0], values[1], parts, report, step)
    assert "tracking.registered_model" in raised.value.fix
    # Nor is it trained first.
    with pytest.raises(LabelSetChangedError, match="so nothing is trained"):
        lora_adapter(parts, load_asset(writing, "tuned_hyperparameters"), step)
    study = TuningConfig(method="optuna", search_space={"training.lora.r": SearchDimension(choices=(2, 4))})
    with pytest.raises(LabelSetChangedError, match="so nothing is trained"):
        tuned_hyperparameters(parts, replace(step, config=replace(config, tuning=study)))


def test_examples_that_are_added_train_again_on_from_the_champion(writing: Path) -> None:
    _write_batch(writing / "data" / "raw", "generation", num=30, seed=9, name="more.csv")
    overrides = [*_GENERATION, "training.retraining.start_from=champion", "training.retraining.replay_fraction=0.5"]
    done = materialize(writing, overrides)
    assert "lora_adapter" in done.ran
    told = str(materializations(writing)["lora_adapter"].metadata["trained"].value)
    # Half of all old examples, although hardly any answer is another's.
    assert told.startswith("from the champion's weights on ")
    decision = load_asset(writing, "retrain_decision")
    assert decision.evidence.num_new_labels > 0
    assert decision.evidence.drift is not None
    verdict = load_asset(writing, "champion")
    assert verdict.champion == "1"
    assert isinstance(verdict.against_champion, AnswerComparison)


def test_prompts_without_any_answer_are_told_with_their_reason(project: Path) -> None:
    shutil.rmtree(project / "data" / "raw")
    (project / "data" / "raw").mkdir()
    (project / "data" / "raw" / "a.csv").write_text("prompt,completion\nWho?,\nWhat?,  \n", encoding="utf-8")
    with pytest.raises(NoExamplesError, match="2 missing_answer"):
        materialize(project, _GENERATION)

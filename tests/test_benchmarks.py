"""Benchmarks: what they write, what the exit status says, and that each of them measures something."""

import json
import math
import platform
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from benchmarks import (
    active_learning,
    checkpoints,
    data_size,
    definitions_import,
    estimate,
    forgetting,
    frozen_layers,
    generation,
    inference_throughput,
    launchers,
    near_duplicates,
    quality,
    study,
    training_throughput,
)
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.report import Bar, Result, at_least, at_most, document, lines, machine
from hypothesis import given
from hypothesis import strategies as st
from tests.project_scenario import git

from ftzard.core.query_strategies import QUERY_STRATEGIES
from ftzard.errors import MissingPackageError

_ROOT = Path(__file__).parent.parent
_FAST = Result({"import_s": 0.31, "dagster_s": 1.2}, {"import_s": at_most(0.4)})
_SLOW = Result({"import_s": 0.55}, {"import_s": at_most(0.4)})


def _python_m_benchmarks(*names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *names], cwd=_ROOT, capture_output=True, check=False, text=True
    )


def test_the_file_of_a_result_says_what_was_measured_on_what_and_whether_it_holds(tmp_path: Path) -> None:
    assert main(["imports"], {"imports": lambda: _FAST}, tmp_path) == 0
    written = json.loads((tmp_path / "imports.json").read_text(encoding="utf-8"))
    assert set(written) == {"name", "figures", "bars", "holds", "machine", "date"}
    assert written["name"] == "imports"
    assert written["figures"] == {"import_s": 0.31, "dagster_s": 1.2}
    assert written["bars"] == {"import_s": {"at_most": 0.4}}
    assert written["holds"] is True


def test_a_bar_that_does_not_hold_is_exit_status_1_and_is_said_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], {"imports": lambda: _SLOW}, tmp_path) == 1
    assert "DOES NOT HOLD" in capsys.readouterr().out
    assert json.loads((tmp_path / "imports.json").read_text(encoding="utf-8"))["holds"] is False


def test_all_benchmarks_run_where_none_is_named_even_after_one_that_does_not_hold(tmp_path: Path) -> None:
    assert main([], {"slow": lambda: _SLOW, "fast": lambda: _FAST}, tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fast.json", "slow.json"]


def test_a_benchmark_that_is_named_runs_alone(tmp_path: Path) -> None:
    assert main(["fast"], {"slow": lambda: _SLOW, "fast": lambda: _FAST}, tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["fast.json"]


def test_a_benchmark_without_its_model_or_data_says_what_to_install_and_is_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> Result:
        raise MissingPackageError("the tweets are not there", fix="pip install tweets")

    assert main([], {"needs_tweets": run, "fast": lambda: _FAST}, tmp_path) == 1
    assert "pip install tweets" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["fast.json"]


def test_an_unknown_name_is_answered_with_the_list_and_exit_status_2() -> None:
    answer = _python_m_benchmarks("no_such_benchmark")
    assert answer.returncode == 2
    assert "no_such_benchmark" in answer.stderr
    assert all(name in answer.stderr for name in BENCHMARKS)
    assert answer.stdout == ""


def test_every_benchmark_module_can_be_named_on_the_command_line() -> None:
    modules = {path.stem for path in (_ROOT / "benchmarks").glob("*.py")} - {
        "__init__",
        "__main__",
        "report",
        "tweet_task",
    }
    assert set(BENCHMARKS) == modules


def test_each_figure_is_printed_with_its_bar() -> None:
    _, import_line, dagster_line = lines("imports", _FAST)
    assert import_line.split() == ["import_s", "0.31", "at", "most", "0.4:", "holds"]
    assert dagster_line.split() == ["dagster_s", "1.2"]


def test_a_bar_for_a_figure_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="import_s"):
        Result({"dagster_s": 1.0}, {"import_s": at_most(0.4)})


def test_a_figure_that_is_not_a_number_holds_no_bar_and_leaves_the_earlier_file(tmp_path: Path) -> None:
    assert not Result({"ratio": math.nan}, {"ratio": at_least(0.0)}).holds
    main(["imports"], {"imports": lambda: _FAST}, tmp_path)
    before = (tmp_path / "imports.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        main(["imports"], {"imports": lambda: Result({"ratio": math.nan})}, tmp_path)
    assert (tmp_path / "imports.json").read_bytes() == before


def test_a_table_is_printed_and_written_and_a_picture_lies_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pl.DataFrame({"version": [1, 2], "score": ["0.5", "0.75"]})
    main(["scores"], {"scores": lambda: Result({"num": 2}, table=table, picture=b"png")}, tmp_path)
    assert "  version  score\n  1        0.5\n  2        0.75\n" in capsys.readouterr().out
    written = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert written["table"] == [{"version": 1, "score": "0.5"}, {"version": 2, "score": "0.75"}]
    assert (tmp_path / "scores.png").read_bytes() == b"png"


@given(limit=st.floats(-1e9, 1e9), value=st.floats(-1e9, 1e9))
def test_a_limit_itself_is_allowed_and_only_one_side_of_it(limit: float, value: float) -> None:
    assert at_most(limit).holds(limit)
    assert at_least(limit).holds(limit)
    if value != limit:
        assert at_most(limit).holds(value) is not at_least(limit).holds(value)


def test_the_machine_is_described_by_its_kind_and_never_by_a_name_or_a_folder() -> None:
    described = machine()
    assert described["cpu"]
    assert isinstance(described["num_cores"], int)
    assert isinstance(described["torch"], str)
    assert platform.node() not in described.values()
    assert str(_ROOT) not in json.dumps(document("imports", _FAST))


def test_the_import_benchmark_times_both_imports_and_takes_one_from_the_other() -> None:
    result = definitions_import.run(num_pairs=1)
    figures = result.figures
    assert min(figures["dagster_s"], figures["definitions_s"]) > 0
    assert figures["definitions_over_dagster_s"] == pytest.approx(figures["definitions_s"] - figures["dagster_s"])
    assert result.bars == {"definitions_over_dagster_s": Bar(0.4, is_upper=True)}


@pytest.mark.slow
def test_the_benchmark_of_near_duplicates_edits_each_kind_and_finds_the_copies() -> None:
    result = near_duplicates.run(num_candidates=200, num_references=20)
    assert result.table is not None
    assert result.table["edit"].to_list() == list(near_duplicates.EDITS)
    assert result.table["copies"].sum() == 200
    assert result.holds


def test_the_training_benchmark_trains_both_ways_on_the_same_tweets() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32")
    result = training_throughput.run(tiny, num_tweets=16, num_rounds=1, num_large=20)
    figures = result.figures
    assert set(result.bars) <= set(figures)
    assert all(value > 0 for value in figures.values())
    assert figures["ftzard_over_trainer_float32"] == pytest.approx(
        figures["ftzard_tokens_per_s"] / figures["trainer_float32_tokens_per_s"]
    )
    # Both are over the same rate in float32, so their shares are as their speeds.
    assert figures["ftzard_of_gemm"] / figures["trainer_float32_of_gemm"] == pytest.approx(
        figures["ftzard_over_trainer_float32"]
    )


@pytest.mark.slow
def test_the_launchers_benchmark_trains_with_one_process_and_with_two_and_kills_one() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32")
    figures = launchers.run(tiny, num_tweets=16, num_rounds=1).figures
    assert all(value > 0 for value in figures.values())
    assert figures["two_over_one_processes"] == pytest.approx(
        figures["two_processes_tokens_per_s"] / figures["one_process_tokens_per_s"]
    )


@pytest.mark.slow
def test_the_inference_benchmark_predicts_both_ways_and_repeated_rows_too() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32", "model.max_length=300")
    figures = inference_throughput.run(tiny, num_tweets=20, num_rounds=1).figures
    assert all(value > 0 for value in figures.values())
    assert figures["ftzard_over_pipeline_float32"] == pytest.approx(
        figures["ftzard_texts_per_s"] / figures["pipeline_float32_texts_per_s"]
    )


@pytest.mark.slow
def test_the_checkpoint_benchmark_saves_after_each_step() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32", "model.max_length=300")
    figures = checkpoints.run(tiny, num_tweets=20).figures
    # Two steps of 16 and 4, and the end.
    assert figures["num_saved"] == 3
    assert figures["checkpoint_mb"] > 0
    assert figures["saving_of_interval"] == pytest.approx(figures["saving_s"] / 60)


@pytest.mark.slow
def test_the_benchmark_of_frozen_layers_trains_all_and_the_top_ones_twice() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32", "model.max_length=300")
    figures = frozen_layers.run(tiny, num_tweets=20).figures
    assert (figures["num_layers"], figures["num_top_layers"]) == (2, 1)
    assert figures["speedup"] == pytest.approx(figures["all_layers_epoch_2_s"] / figures["top_layers_epoch_2_s"])


@pytest.mark.slow
def test_the_benchmark_of_a_study_tries_the_same_values_both_ways() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32", "model.max_length=300")
    figures = study.run(tiny, num_tweets=40, num_trials=2).figures
    for name in ("all_layers", "top_layers"):
        assert 1 <= figures[f"{name}_complete_trials"] <= 2
        # What the study gave up may have been better in the end, and what it chose is one of the trainings.
        assert figures[f"{name}_trainings_macro_f1"] >= figures[f"{name}_study_macro_f1"] > 0
        assert figures[f"{name}_speedup"] > 0


@pytest.mark.slow
def test_the_quality_benchmark_scores_each_way_at_each_size_on_the_same_tweets() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32", "model.max_length=300")
    result = quality.run(tiny, sizes=(12, 24), num_test=30)
    assert result.table is not None
    assert result.table.shape == (2, 4)
    for way in ("tfidf", "random", "label_words"):
        for size in (12, 24):
            low, value, high = (result.figures[f"{way}_macro_f1_at_{size}{part}"] for part in ("_low", "", "_high"))
            assert 0 <= low <= value <= high <= 1
    gain = result.figures["label_words_over_tfidf_at_24"]
    scores = (result.figures[f"{way}_macro_f1_at_24"] for way in ("label_words", "tfidf"))
    assert gain == pytest.approx(next(scores) - next(scores))


@pytest.mark.slow
def test_the_forgetting_benchmark_scores_every_version_on_every_batch_in_every_way() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32", "model.max_length=300")
    result = forgetting.run(tiny, num_train=16, num_test=8, num_seeds=1)
    assert result.table is not None
    assert result.table.shape == (9, 5)
    # Version 1 is one and the same, whatever comes after it.
    firsts = result.table.filter(version=1).drop("way")
    assert firsts.n_unique() == 1
    for name, value in result.figures.items():
        if f"{name}_low" in result.figures:
            assert result.figures[f"{name}_low"] <= value <= result.figures[f"{name}_high"]
    assert "no_replay_v3_over_v1_on_airlines" in result.figures
    assert result.picture is not None
    assert result.picture.startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_active_learning_benchmark_gives_every_strategy_the_same_start_and_as_many_labels() -> None:
    tiny = ("experiment=tiny", "data=tweets", "training.device=cpu", "model.dtype=float32", "model.max_length=300")
    result = active_learning.run(tiny, num_test=40, num_rounds=4, num_per_file=60, num_seeds=2)
    assert result.table is not None
    assert set(result.table["strategy"]) == set(QUERY_STRATEGIES)
    start, *rounds = (int(column.split()[0]) for column in result.table.columns[1:])
    assert len(rounds) == 4
    assert start < rounds[0] < rounds[-1]
    assert result.table[f"{start} labels"].n_unique() == 1
    # Chance is what the others are compared with, so it is not compared with itself.
    compared = {name for name in result.figures if name.endswith("_over_random_at_the_end")}
    assert compared == {f"{strategy}_over_random_at_the_end" for strategy in set(QUERY_STRATEGIES) - {"random"}}
    for name, value in result.figures.items():
        if f"{name}_low" in result.figures:
            assert result.figures[f"{name}_low"] <= value <= result.figures[f"{name}_high"]
    assert result.picture is not None
    assert result.picture.startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_estimate_benchmark_gives_each_case_its_error_and_times_only_what_an_earlier_run_says() -> None:
    cases = (estimate.Case("tiny", "float32", 512, 16), estimate.Case("tiny", "float32", 1024, 32))
    result = estimate.run(cases)
    assert result.table is not None
    assert result.table["has_earlier_run"].to_list() == [False, True]
    assert set(result.figures) == {
        "tiny_float32_512_memory_error",
        "tiny_float32_1024_memory_error",
        "tiny_float32_1024_time_error",
    }
    assert (result.table["peak_mib"] > 0).all()
    assert all(bar == Bar(0.25, is_upper=True) for bar in result.bars.values())


def test_the_generation_benchmark_has_both_models_answer_for_the_same_tweets() -> None:
    tiny = (
        "experiment=tweets_generation",
        "model=tiny_random",
        "model.max_length=400",
        "model.generation.prompt_format=plain",
        "model.generation.max_new_tokens=2",
        "evaluation.num_bootstrap_samples=100",
    )
    result = generation.run((*tiny, "training.device=cpu", "model.dtype=float32"), num_train=4, num_test=4)
    figures = result.figures
    for name in ("exact_match", "token_f1", "chrf", "perplexity"):
        gain = f"adapter_over_untrained_{name}"
        assert figures[gain] == pytest.approx(figures[f"adapter_{name}"] - figures[f"untrained_{name}"])
        assert figures[f"{gain}_low"] <= figures[gain] <= figures[f"{gain}_high"]
    assert result.table is not None
    assert result.table.columns == ["metric", "adapter", "untrained model", "difference"]


@pytest.mark.slow
def test_the_benchmark_of_data_size_takes_the_same_tweets_several_ways_to_the_same_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    result = data_size.run(num_rows=25_000, num_rounds=1, num_tokenised=50)
    # The repository that it is run in gets no commits of the project that it makes.
    assert git(tmp_path, "rev-list", "--all") == ""
    figures = result.figures
    assert figures["num_rows"] == 25_000
    assert figures["texts_as_the_notebooks"] == 1
    for way in ("cleaned", "splits", "script"):
        assert figures[f"{way}_peak_gib"] > 0
        assert figures[f"notebooks_over_{way}"] == pytest.approx(figures["notebooks_s"] / figures[f"{way}_s"])
    assert figures["assets_over_splits"] == pytest.approx(figures["assets_s"] / figures["splits_s"])
    assert figures["map_over_ftzard"] > 0
    assert figures["appending_over_splits"] == pytest.approx(figures["appending_1_percent_s"] / figures["splits_s"])


def test_the_tweets_of_the_benchmark_of_data_size_come_in_files_of_distinct_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_size, "_NUM_ROWS_PER_FILE", 9_000)
    num_bytes = data_size.write_tweets(tmp_path, range(20_000))
    num_bytes += data_size.write_tweets(tmp_path, range(20_000, 20_200))
    files = sorted(tmp_path.iterdir())
    lines = [line for file in files for line in file.read_text("latin-1").splitlines()]
    assert [len(file.read_text("latin-1").splitlines()) for file in files] == [9_000, 9_000, 2_000, 200]
    assert (len(lines), num_bytes) == (20_200, sum(file.stat().st_size for file in files))
    texts = [line.rsplit('","', 1)[1] for line in lines]
    assert len(set(texts)) > 20_000

"""A training in processes of its own: the same outcome, nothing left over, and what went wrong told by its name."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psutil  # type: ignore[import-untyped]  # psutil ships no types
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file
from tests.core.answer_scenario import config as answer_config
from tests.core.answer_scenario import few
from tests.core.model_scenario import LABELS, config, splits
from tests.resources.launcher_scenario import interrupted_at, small_job, wait_for

from ftzard.config import LauncherConfig
from ftzard.core.adapter import WEIGHTS_NAME
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.progress import Progress
from ftzard.core.records import AdapterDirectory, Splits
from ftzard.core.training_job import Trained, TrainingJob, train_here
from ftzard.errors import SingleClassError, StorageError, TrainingProcessError
from ftzard.reproduction import _train
from ftzard.resources.job_folder import read_job, write_job
from ftzard.resources.launcher import ProcessTrainer, _without_secrets, trainer
from ftzard.resources.rank_reports import INTERRUPTED, RANK_LOST, read_reports

pytestmark = pytest.mark.usefixtures("one_thread")

_LOCAL = LauncherConfig(kind="local", num_threads=1)
_TWO = LauncherConfig(kind="torchrun", num_processes=2, num_threads=1)
_LOOPBACK = {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def _difference(one: pl.Series, other: pl.Series) -> float:
    """The largest relative difference."""
    value = ((one - other).abs() / one.abs()).max()
    assert isinstance(value, float)
    return value


def test_a_process_of_its_own_makes_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    here = train_here(small_job(), tmp_path / "here")
    there = ProcessTrainer(_LOCAL, tmp_path / "logs")(small_job(), tmp_path / "there", checkpoint_dir=tmp_path / "kept")
    assert there.result.adapter.checksum == here.result.adapter.checksum
    assert there.result.adapter.path == tmp_path / "there"
    assert there.result.curve.drop("seconds").equals(here.result.curve.drop("seconds"))
    assert there.result.validation.equals(here.result.validation)
    assert there.result.budget == here.result.budget
    assert there.peak_bytes > 0
    manifests = [read_manifest(trained.result.adapter.path) for trained in (here, there)]
    assert manifests[0] == manifests[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "kept", "logs", "there"]
    assert list((tmp_path / "logs").iterdir()) == []


def test_a_model_that_writes_answers_trains_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    job = TrainingJob(few("generation"), answer_config("generation"), ())
    here, there = train_here(job, tmp_path / "here"), ProcessTrainer(_LOCAL, tmp_path / "logs")(job, tmp_path / "there")
    assert there.result.adapter.checksum == here.result.adapter.checksum
    assert there.result.kept == here.result.kept


@dataclass(frozen=True)
class _Killed:
    """A training of two processes, one of which was killed, and the one that went on."""

    error: TrainingProcessError
    step: int
    left: list[int]
    resumed: Trained
    pid: int


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> _Killed:
    folder = tmp_path_factory.mktemp("killed")
    job, output = small_job(25, learning_rate=3e-4), folder / "adapter.job" / "output"
    pids: list[int] = []

    def kill() -> None:
        wait_for(lambda: any("epoch 2" in log.read_text() for log in (folder / "logs").glob("*/rank-0.log")))
        pids.extend(report.pid for report in read_reports(output))
        os.kill(pids[1], signal.SIGKILL)

    run = ProcessTrainer(_TWO, folder / "logs")
    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(TrainingProcessError) as caught:
        run(job, folder / "adapter", checkpoint_dir=folder / "kept")
    killer.join()
    left = [pid for pid in pids if psutil.pid_exists(pid)]
    (document,) = (folder / "kept").glob("*/checkpoint.json")
    step = json.loads(document.read_text())["step"]
    assert caught.value.what.endswith("rank-1.log")
    assert Path(caught.value.what.rpartition(" ")[2]).is_file()
    return _Killed(caught.value, step, left, run(job, folder / "adapter", checkpoint_dir=folder / "kept"), pids[1])


@pytest.mark.slow
def test_a_killed_rank_fails_the_training_by_its_name_and_no_process_is_left(killed: _Killed) -> None:
    assert f"rank 1 of 2 (process {killed.pid})" in killed.error.what
    assert "goes on from its last checkpoint" in killed.error.fix
    assert killed.left == []


@pytest.mark.slow
def test_the_next_training_goes_on_from_the_last_whole_step_before_the_kill(killed: _Killed) -> None:
    """Rank 0 keeps it when it finds the other gone, although no checkpoint was due."""
    assert killed.step > 0
    assert killed.resumed.result.resumed_from == killed.step


@pytest.mark.slow
def test_two_processes_go_through_the_loss_curve_of_one_with_the_same_batches(killed: _Killed, tmp_path: Path) -> None:
    """Killed and gone on with in between, they still do."""
    alone, two = train_here(small_job(25, learning_rate=3e-4), tmp_path / "alone").result, killed.resumed.result
    assert two.curve.drop("seconds", "loss").equals(alone.curve.drop("seconds", "loss"))
    # float32 rounds each sum in another order.
    assert _difference(alone.curve["loss"], two.curve["loss"]) < 1e-5
    assert two.validation["macro_f1"].equals(alone.validation["macro_f1"])
    weights = [load_file(result.adapter.path / WEIGHTS_NAME) for result in (alone, two)]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-3
    assert read_manifest(two.adapter.path).compute["num_processes"] == "2"
    assert "num_processes" not in read_manifest(alone.adapter.path).compute


@pytest.mark.slow
def test_what_two_processes_trained_is_reproduced_by_two_bit_for_bit(killed: _Killed, tmp_path: Path) -> None:
    """Whatever the project's launcher is: the manifest says how many there were."""
    original, job = killed.resumed.result.adapter, small_job(25, learning_rate=3e-4)
    again = _train(None, original, read_manifest(original.path), job.splits, job.config, tmp_path / "adapter")  # type: ignore[arg-type]  # not asked where there is no predecessor
    assert again.checksum == original.checksum


def _children() -> set[Any]:
    """The processes below this one; other tests may have left some, such as Python's own resource tracker."""
    return set(psutil.Process().children(recursive=True))


def _listening(processes: Iterable[Any]) -> set[str]:
    """The addresses on which processes wait for others."""
    addresses: set[str] = set()
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            listening = [one for one in each.net_connections() if one.status == psutil.CONN_LISTEN]
            addresses.update(one.laddr.ip for one in listening)
    return addresses


def test_progress_comes_while_it_trains_and_an_interrupted_step_ends_the_process_with_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "ftzard"):
        seen = interrupted_at(1, _LOCAL, tmp_path, tmp_path / "adapter", tmp_path / "kept")
    assert [progress.done for progress in seen] == list(range(1, len(seen) + 1))
    assert seen[0].loss is not None
    assert "training examples" in caplog.text
    (document,) = (tmp_path / "kept").glob("*/checkpoint.json")
    step = json.loads(document.read_text())["step"]
    assert 1 <= step < seen[0].total
    assert not [each for each in psutil.Process().children(recursive=True) if "training_process" in str(each.cmdline())]
    # The same training in this process takes it up: where it runs does not make it another one.
    assert train_here(small_job(40), tmp_path / "again", checkpoint_dir=tmp_path / "kept").result.resumed_from == step


def test_a_request_to_end_is_answered_after_the_step_where_the_assets_own_process_trains(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(*_: object) -> None:
        raise KeyboardInterrupt

    def on_progress(progress: Progress) -> None:
        seen.append(f"step {progress.done}")
        if progress.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("the step went on")

    before = signal.signal(signal.SIGTERM, answer)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer(LauncherConfig(), tmp_path)(
                small_job(40), tmp_path / "adapter", checkpoint_dir=tmp_path / "kept", on_progress=on_progress
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["step 1", "step 2", "the step went on"]
    (document,) = (tmp_path / "kept").glob("*/checkpoint.json")
    assert json.loads(document.read_text())["step"] == 2


@pytest.mark.slow
def test_ray_trains_in_two_processes_of_a_cluster_that_is_guarded_and_gone_afterwards(tmp_path: Path) -> None:
    run = ProcessTrainer(LauncherConfig(kind="ray", num_processes=2, num_threads=1), tmp_path / "logs")
    output, addresses, modes, seen = tmp_path / "two.job" / "output", set[str](), set[str | None](), list[Any]()
    others = _children()

    def look() -> None:
        wait_for(lambda: len(read_reports(output)) == 2)
        seen.extend(_children() - others)
        for each in seen:
            with suppress(psutil.NoSuchProcess):
                if each.name() in {"raylet", "gcs_server"}:
                    modes.add(each.environ().get("RAY_AUTH_MODE"))
        addresses.update(_listening(seen))

    watcher = threading.Thread(target=look)
    watcher.start()
    two, alone = run(small_job(), tmp_path / "two").result, train_here(small_job(), tmp_path / "alone").result
    watcher.join()
    assert modes == {"token"}
    assert addresses <= _LOOPBACK
    assert not any(each.is_running() for each in seen)
    assert _difference(alone.curve["loss"], two.curve["loss"]) < 1e-4
    assert read_manifest(two.adapter.path).compute["num_processes"] == "2"


@pytest.mark.slow
def test_torchrun_listens_on_loopback_only(tmp_path: Path) -> None:
    output, addresses, others = tmp_path / "two.job" / "output", set[str](), _children()

    def look() -> None:
        wait_for(lambda: len(read_reports(output)) == 2)
        addresses.update(_listening(_children() - others))

    watcher = threading.Thread(target=look)
    watcher.start()
    ProcessTrainer(_TWO, tmp_path / "logs")(small_job(), tmp_path / "two")
    watcher.join()
    # That of torchrun at least.
    assert addresses
    assert addresses <= _LOOPBACK


_SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.resources.test_launcher import train_for_long
train_for_long(Path(sys.argv[1]))
"""


def train_for_long(folder: Path) -> None:
    """What a process does that is killed."""
    ProcessTrainer(_TWO, folder / "logs")(small_job(3000), folder / "adapter", checkpoint_dir=folder / "kept")


@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    script = _SCRIPT.format(root=str(Path(__file__).parents[2]))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], env=environment)
    output = tmp_path / "adapter.job" / "output"
    wait_for(lambda: list((tmp_path / "kept").glob("*.lock")) and len(read_reports(output)) == 2)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) == 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in started))
    # They ended by themselves, as they do when somebody asks them to.
    assert {report.exit_code for report in read_reports(output)} <= {INTERRUPTED, RANK_LOST}


def test_what_a_process_fails_with_is_the_same_error_as_here(tmp_path: Path) -> None:
    parts = splits()
    single = Splits(parts.train.filter(pl.col("label") == LABELS[0]), parts.validation, parts.test)
    job = TrainingJob(single, config(), LABELS)
    with pytest.raises(SingleClassError) as here:
        train_here(job, tmp_path / "here")
    with pytest.raises(SingleClassError) as there:
        ProcessTrainer(_LOCAL, tmp_path / "logs")(job, tmp_path / "there")
    assert str(there.value) == str(here.value)
    assert not (tmp_path / "there").exists()
    assert [path.name for path in (tmp_path / "logs").glob("*/rank-*")] == ["rank-0.log"]


def test_a_training_that_takes_too_long_is_ended_and_says_so(tmp_path: Path) -> None:
    short, others = LauncherConfig(kind="local", timeout_s=0.3), _children()
    with pytest.raises(TrainingProcessError, match=r"longer than launcher\.timeout_s=0\.3"):
        ProcessTrainer(short, tmp_path / "logs")(small_job(3000), tmp_path / "adapter")
    assert not _children() - others


def test_a_process_that_cannot_start_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TrainingProcessError, match="could not be started") as caught:
        ProcessTrainer(_LOCAL, tmp_path / "logs")(small_job(), tmp_path / "adapter")
    assert str(tmp_path / "logs") in caught.value.what


def test_a_job_is_named_by_its_content_and_read_back(tmp_path: Path) -> None:
    job = small_job()
    folder = write_job(job, tmp_path / "one")
    assert folder.name == write_job(job, tmp_path / "two").name
    assert folder.name != write_job(small_job(3), tmp_path / "three").name
    again = read_job(folder)
    assert again.config == job.config
    assert again.labels == LABELS
    assert again.provenance == job.provenance
    assert again.splits.train.equals(job.splits.train)
    assert again.splits.validation.equals(job.splits.validation)
    assert folder.stat().st_mode & 0o077 == 0


def test_the_adapter_to_go_on_from_is_part_of_the_job(tmp_path: Path) -> None:
    first = train_here(small_job(1), tmp_path / "first").result.adapter
    job = TrainingJob(splits(), config(), LABELS, {}, first)
    folder = write_job(job, tmp_path / "jobs")
    assert folder.name != write_job(TrainingJob(splits(), config(), LABELS), tmp_path / "jobs").name
    assert read_job(folder).initial == AdapterDirectory(folder / "initial", first.checksum)


@pytest.mark.parametrize("name", ["config.yaml", "job.json", "train.parquet"])
def test_a_job_with_a_flipped_bit_is_refused(name: str, tmp_path: Path) -> None:
    path = write_job(small_job(), tmp_path) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="is damaged"):
        read_job(path.parent)


def test_a_job_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    folder = write_job(small_job(), tmp_path)
    shutil.move(folder / "train.parquet", tmp_path / "elsewhere.parquet")
    (folder / "train.parquet").symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(StorageError, match="no regular file"):
        read_job(folder)


def test_no_credentials_go_to_a_training_process() -> None:
    secrets = ["MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "OPENAI_API_KEY", "PGPASSWORD"]
    secrets += ["GH_PAT", "SSH_PRIVATE_KEY", "MINIO_ACCESS_KEY", "MYSQL_PWD", "BORG_PASSPHRASE", "GIT_CONFIG_VALUE_0"]
    needed = {"PATH": "/bin", "HF_TOKEN": "x", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    needed |= {"PWD": "/home/ada", "OLDPWD": "/", "PYTHONPATH": "src", "KEYBOARD": "de", "PATTERN": "x"}
    assert _without_secrets(needed | dict.fromkeys(secrets, "x")) == needed


@pytest.mark.parametrize("kind", ["in_process", "local"])
def test_several_processes_need_a_launcher_that_starts_several(kind: Any) -> None:
    with pytest.raises(ValidationError, match="torchrun"):
        LauncherConfig(kind=kind, num_processes=2)

"""A training in a pod: through a real HTTP server, whose node really runs the container's command."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # psutil ships no types
import pytest
from tests.core.model_scenario import LABELS, config, splits
from tests.kubelet import Node, has_namespaces
from tests.kubernetes_server import KubernetesServer
from tests.resources.launcher_scenario import interrupted_at, small_job, wait_for

from ftzard.assets.step import Step
from ftzard.assets.training import lora_adapter
from ftzard.config import LauncherConfig
from ftzard.core.adapter_documents import read_manifest
from ftzard.core.hyperparameters import TunedHyperparameters
from ftzard.core.records import Splits
from ftzard.core.training_job import Trained, TrainingJob, train_here
from ftzard.errors import ConfigError, DoesNotFitError, SingleClassError, TrainingProcessError
from ftzard.resources.kubernetes_job import render_job
from ftzard.resources.launcher import Errand, trainer
from ftzard.resources.pod_training import PodTrainer, pod_task

pytestmark = pytest.mark.usefixtures("one_thread")

_POD = LauncherConfig(
    kind="k8s",
    image="ftzard:test",
    volume_claim="team",
    volume_sub_path="ada/project",
    run_as_user=os.getuid() or 1000,
    num_threads=1,
)


@dataclass(frozen=True)
class _Place:
    """A project on a claim's volume, and the cluster that has the claim."""

    project: Path
    cluster: KubernetesServer

    def train(self, launcher: LauncherConfig, job: TrainingJob, name: str = "adapter", **options: Any) -> Trained:
        run = trainer(launcher, self.project)
        assert isinstance(run, PodTrainer)
        return run(job, self.scratch / name, checkpoint_dir=self.checkpoints, **options)

    @property
    def scratch(self) -> Path:
        return self.project / ".ftzard" / "scratch" / "run"

    @property
    def checkpoints(self) -> Path:
        return self.project / ".ftzard" / "checkpoints"

    @property
    def logs(self) -> list[Path]:
        return list((self.project / ".ftzard" / "logs").glob("*"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Place]:
    volume, node = tmp_path / "volume", tmp_path / "node"
    project = volume / "ada" / "project"
    node.mkdir()
    (project / ".ftzard" / "scratch" / "run").mkdir(parents=True)
    cluster = KubernetesServer(tmp_path, Node(node, {"team": volume}))
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    cluster.start()
    yield _Place(project, cluster)
    cluster.stop()


def test_a_pod_makes_the_bytes_that_this_process_makes_and_leaves_nothing_else(place: _Place) -> None:
    """Also where the server is being started again, and events may not be read."""
    place.cluster.num_failing, place.cluster.forbidden = 2, frozenset({"GET events"})
    here = train_here(small_job(), place.scratch / "here")
    there = place.train(_POD, small_job(), "there")
    assert there.result.adapter.checksum == here.result.adapter.checksum
    assert there.result.adapter.path == place.scratch / "there"
    assert there.result.curve.drop("seconds").equals(here.result.curve.drop("seconds"))
    assert len(place.cluster.manifests) == 1
    assert place.cluster.jobs == {}
    assert place.cluster.num_failing == 0
    assert place.logs == []
    assert sorted(path.name for path in place.scratch.iterdir()) == ["here", "there"]


def test_progress_comes_while_it_trains_and_a_cancelled_step_deletes_the_job_which_keeps_a_checkpoint(
    place: _Place, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "ftzard"):
        seen = interrupted_at(1, _POD, place.project, place.scratch / "adapter", place.checkpoints, "our_models")
    assert [progress.done for progress in seen] == list(range(1, len(seen) + 1))
    assert "the pod runs on node node-1" in caplog.text
    assert "training examples" in caplog.text
    (document,) = place.checkpoints.glob("*/checkpoint.json")
    step = json.loads(document.read_text())["step"]
    assert 1 <= step < seen[0].total
    assert place.cluster.jobs == {}
    (manifest,) = place.cluster.manifests
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    assert labels["dagster/asset"] == "our_models-adapter"
    assert len(labels["dagster/run-id"]) == 36
    # The same training in this process takes it up: where it runs does not make it another one.
    assert (
        train_here(small_job(40), place.scratch / "again", checkpoint_dir=place.checkpoints).result.resumed_from == step
    )


def test_this_machines_memory_does_not_decide_about_a_training_in_a_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftzard.core.estimate.free_bytes", lambda _: 0)
    elsewhere = replace(config(num_train_epochs=1), launcher=_POD)
    # Called directly, it trains here all the same.
    result = lora_adapter(splits(), TunedHyperparameters({}, "macro_f1"), Step(elsewhere, tmp_path))
    assert "estimate_memory_error" not in result.metrics
    with pytest.raises(DoesNotFitError):
        lora_adapter(splits(), TunedHyperparameters({}, "macro_f1"), Step(config(num_train_epochs=1), tmp_path))


def test_what_a_pod_fails_with_is_the_same_error_as_here_and_its_job_stays_to_be_looked_at(place: _Place) -> None:
    parts = splits()
    single = Splits(parts.train.filter(parts.train["label"] == LABELS[0]), parts.validation, parts.test)
    job = TrainingJob(single, config(), LABELS)
    with pytest.raises(SingleClassError) as here:
        train_here(job, place.scratch / "here")
    with pytest.raises(SingleClassError) as there:
        place.train(_POD, job)
    assert str(there.value) == str(here.value)
    assert len(place.cluster.jobs) == 1
    assert [path.name for path in place.scratch.iterdir()] == []


@contextmanager
def _interfering(place: _Place, act: Callable[[KubernetesServer], None]) -> Iterator[None]:
    """Do something to the cluster as soon as a container runs there."""

    def interfere() -> None:
        wait_for(lambda: any(job.container for job in list(place.cluster.jobs.values())))
        act(place.cluster)

    other = threading.Thread(target=interfere)
    other.start()
    yield
    other.join()


@dataclass(frozen=True)
class _Trouble:
    """What goes wrong before a pod runs, what is told, and what to do about it."""

    launcher: dict[str, Any]
    reason: str
    fix: str
    is_hopeless: bool = False


@pytest.mark.parametrize(
    "trouble",
    [
        _Trouble(
            {"image": "ftzard:missing"}, "ImagePullBackOff: Back-off pulling image", "launcher.image", is_hopeless=True
        ),
        _Trouble(
            {"hf_token_secret": "hub"},
            'CreateContainerConfigError: secret "hub" not found',
            "hf_token_secret",
            is_hopeless=True,
        ),
        _Trouble({"gpus": 1}, "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu", "launcher.gpus"),
        _Trouble({"node_selector": {"gpu": "h100"}}, "didn't match Pod's node affinity", "launcher.node_selector"),
        _Trouble({"volume_claim": "other"}, 'persistentvolumeclaim "other" not found', "launcher."),
        _Trouble({"namespace": "elsewhere"}, 'namespaces "elsewhere" not found', "launcher.namespace"),
    ],
    ids=lambda trouble: "-".join(trouble.launcher),
)
def test_a_pod_that_cannot_begin_fails_the_step_with_the_reason_and_leaves_no_job(
    trouble: _Trouble, place: _Place
) -> None:
    with pytest.raises(TrainingProcessError) as caught:
        place.train(replace(_POD, pending_timeout_s=1.5, **trouble.launcher), small_job())
    assert trouble.reason in caught.value.what
    assert ("cannot begin" in caught.value.what) is trouble.is_hopeless
    assert trouble.fix in caught.value.fix
    assert place.cluster.jobs == {}
    assert list(place.scratch.iterdir()) == []


def test_a_pod_that_the_namespace_does_not_let_in_is_told_by_the_jobs_events(
    place: _Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.kubernetes_server.not_restricted", lambda _: ["exceeded quota"])
    with pytest.raises(TrainingProcessError, match=r"FailedCreate: pods .* is forbidden.*exceeded quota"):
        place.train(replace(_POD, pending_timeout_s=1.0), small_job())
    assert place.cluster.jobs == {}


def test_who_may_not_create_jobs_is_told_what_is_needed(place: _Place) -> None:
    place.cluster.forbidden = frozenset({"POST jobs"})
    with pytest.raises(TrainingProcessError, match="jobs is forbidden") as caught:
        place.train(_POD, small_job())
    assert "create, get and delete jobs" in caught.value.fix


@pytest.mark.parametrize(
    ("end", "reason", "fix"),
    [
        (KubernetesServer.evict, "Evicted: The node was low on resource: memory", "launcher.memory"),
        (lambda cluster: cluster.kill("OOMKilled"), "OOMKilled", "raise launcher.memory"),
    ],
    ids=["evicted", "out-of-memory"],
)
def test_a_pod_that_kubernetes_ends_fails_the_step_with_the_reason(
    end: Any, reason: str, fix: str, place: _Place
) -> None:
    with _interfering(place, end), pytest.raises(TrainingProcessError) as caught:
        place.train(_POD, small_job(3000))
    assert f"was ended: {reason}" in caught.value.what
    assert fix in caught.value.fix
    # To be looked at, until Kubernetes removes it.
    assert place.cluster.only_job().manifest["spec"]["ttlSecondsAfterFinished"] == _POD.ttl_seconds_after_finished


def test_a_training_that_takes_too_long_is_ended_by_kubernetes_and_says_so(place: _Place) -> None:
    with pytest.raises(TrainingProcessError, match="DeadlineExceeded") as caught:
        place.train(replace(_POD, timeout_s=0.5, gpus=8, pending_timeout_s=20.0), small_job())
    assert "launcher.timeout_s" in caught.value.fix


def test_a_job_that_somebody_deletes_fails_the_step(place: _Place) -> None:
    def delete(cluster: KubernetesServer) -> None:
        cluster.only_job().is_deleted = True

    with _interfering(place, delete), pytest.raises(TrainingProcessError, match="was deleted"):
        place.train(_POD, small_job(3000))


@pytest.mark.skipif(not has_namespaces(), reason="a process cannot have mounts of its own here")
def test_a_volume_on_which_the_project_does_not_lie_is_told_before_the_training_begins(place: _Place) -> None:
    with pytest.raises(TrainingProcessError, match=r"before it began.*there is no folder") as caught:
        place.train(replace(_POD, volume_sub_path="ada/other"), small_job())
    assert "launcher.volume_sub_path" in caught.value.fix
    assert "describe job" in caught.value.fix


@pytest.mark.skipif(not has_namespaces(), reason="a process cannot have mounts of its own here")
def test_a_pod_sees_the_base_model_that_is_in_the_project_and_nothing_else_of_it(
    place: _Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("models/mine/model.safetensors", "data/raw/tweets.csv", ".dvc/config.local"):
        (place.project / name).parent.mkdir(parents=True)
        (place.project / name).write_text(name)
    monkeypatch.chdir(place.project)
    errand = Errand(place.scratch / "job", place.scratch / "output", place.project / "logs", None, "models/mine", {})
    errand.output.mkdir()
    manifest = render_job(_POD, pod_task(_POD, "look", errand, place.project, {}), place.project)
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["python", "-c", _LOOK, str(place.project)]
    looked = place.cluster.node.run("look", manifest["spec"]["template"]["spec"])
    wait_for(lambda: looked.exit_code is not None)
    assert looked.log.read_text().splitlines() == ["['models/mine/model.safetensors']", "False"]
    assert (place.scratch / "new").read_text() == "written"


@pytest.mark.slow
def test_two_processes_in_a_pod_divide_each_step(place: _Place) -> None:
    two = place.train(replace(_POD, num_processes=2), small_job(), "two").result
    alone = train_here(small_job(), place.scratch / "alone").result
    assert float(((alone.curve["loss"] - two.curve["loss"]).abs() / alone.curve["loss"]).max()) < 1e-4  # type: ignore[arg-type]  # of numbers
    assert read_manifest(two.adapter.path).compute["num_processes"] == "2"


def test_without_a_cluster_the_error_says_what_is_missing(place: _Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(place.project / "missing"))
    with pytest.raises(ConfigError, match="there is no cluster to be found"):
        place.train(_POD, small_job())


_LOOK = """
import os, sys
from pathlib import Path
project = Path(sys.argv[1])
print([path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()])
(project / ".ftzard/scratch/run/new").write_text("written")
print(os.access("models/mine/model.safetensors", os.W_OK))
"""

_SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.resources.test_pod_training import train_for_long
train_for_long(Path(sys.argv[1]))
"""


def train_for_long(project: Path) -> None:
    """What a process does that is killed."""
    run = trainer(replace(_POD, peer_timeout_s=4.0), project)
    run(
        small_job(3000),
        project / ".ftzard" / "scratch" / "run" / "adapter",
        checkpoint_dir=project / ".ftzard" / "checkpoints",
    )


@pytest.mark.slow
def test_a_pod_ends_with_a_checkpoint_when_whoever_started_it_was_killed(place: _Place) -> None:
    script = _SCRIPT.format(root=str(Path(__file__).parents[2]))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script, str(place.project)], env=environment)
    wait_for(lambda: list(place.checkpoints.glob("*.lock")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: place.cluster.only_job().conditions)
    (document,) = place.checkpoints.glob("*/checkpoint.json")
    assert json.loads(document.read_text())["step"] > 0
    container = place.cluster.only_job().container
    assert container is not None
    assert container.exit_code == 130
    assert not psutil.pid_exists(container.process.pid)

"""A training in a pod: through a real HTTP server, whose node really runs the container's command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import psutil  # type: ignore[import-untyped]  # psutil ships no types
import pytest
import torch
from tests.core.model_scenario import LABELS, config, splits
from tests.kubelet import Node, has_namespaces
from tests.kubernetes_server import KubernetesServer

from ftzard.config import LauncherConfig
from ftzard.core.adapter import read_manifest
from ftzard.core.progress import Progress
from ftzard.core.records import Splits
from ftzard.core.training_job import Trained, TrainingJob, train_here
from ftzard.errors import ConfigError, SingleClassError, TrainingProcessError
from ftzard.resources.launcher import trainer
from ftzard.resources.pod_training import PodTrainer

_TIMEOUT_S = 120.0
_POD = LauncherConfig(
    kind="k8s",
    image="ftzard:test",
    volume_claim="team",
    volume_sub_path="ada/project",
    run_as_user=os.getuid() or 1000,
    num_threads=1,
)


def _job(num_train_epochs: int = 2, **training: Any) -> TrainingJob:
    settings = config(num_train_epochs=num_train_epochs, train_batch_size=13, max_tokens_per_batch=256, **training)
    parts = Splits(*(part.sort("text_hash") for part in (splits().train, splits().validation, splits().test)))
    return TrainingJob(parts, settings, LABELS, {"data_commit": "abc"})


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
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    cluster.start()
    yield _Place(project, cluster)
    cluster.stop()
    torch.set_num_threads(before)


def _wait_for(condition: "Any") -> None:
    give_up = time.monotonic() + _TIMEOUT_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_pod_makes_the_bytes_that_this_process_makes_and_leaves_nothing_else(place: _Place) -> None:
    here = train_here(_job(), place.scratch / "here")
    there = place.train(_POD, _job(), "there")
    assert there.result.adapter.checksum == here.result.adapter.checksum
    assert there.result.adapter.path == place.scratch / "there"
    assert there.result.curve.drop("seconds").equals(here.result.curve.drop("seconds"))
    assert len(place.cluster.manifests) == 1
    assert place.cluster.jobs == {}
    assert place.logs == []
    assert sorted(path.name for path in place.scratch.iterdir()) == ["here", "there"]

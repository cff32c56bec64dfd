"""The manifest of a training: what Kubernetes' schemas take, no more rights than it needs, and no secret."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.kubernetes_server import not_restricted

from ftzard.cli import main
from ftzard.composition import compose, validate
from ftzard.config import FtzardConfig, LauncherConfig
from ftzard.config.kubernetes import Toleration, num_cores
from ftzard.core.estimate import estimate
from ftzard.errors import ConfigError
from ftzard.resources.kubernetes_job import Mount, PodTask, label_value, render_job
from ftzard.resources.kubernetes_state import end_reason, obstacle
from ftzard.resources.pod_training import example_manifest

# The first whose pods say of which job they are by the label that is asked for.
_OLDEST = "1.27"
_VERSIONS = sorted({version for version in kubernetes_validate.utils.all_versions() if version[:4] >= _OLDEST})
_POD = LauncherConfig(kind="k8s", image="ftzard:test", volume_claim="team", run_as_user=1000)
_ALL = replace(
    _POD,
    num_processes=2,
    timeout_s=90.5,
    image_pull_policy="Always",
    image_pull_secrets=("registry",),
    namespace="ml",
    service_account_name="trainer",
    volume_sub_path="ada/project/",
    cpu="4",
    memory="16Gi",
    gpus=2,
    node_selector={"kubernetes.io/arch": "amd64"},
    tolerations=(Toleration("nvidia.com/gpu", "Exists", effect="NoSchedule"), Toleration(operator="Exists")),
    env={"HF_HUB_OFFLINE": "1"},
    hf_token_secret="hub",  # noqa: S106 - names of a Secret and of its key
    hf_token_secret_key="token",  # noqa: S106 - as above
)
_PROJECT = Path("/home/ada/project")


def _rendered(launcher: LauncherConfig) -> dict[str, Any]:
    mounts = [Mount(_PROJECT / ".ftzard/scratch/job"), Mount(_PROJECT / "models", read_only=True)]
    return render_job(
        launcher, PodTask("ftzard-1", ["JOB", "OUTPUT"], mounts, {"DAGSTER_PIPES_CONTEXT": "x"}), _PROJECT
    )


def _pod(launcher: LauncherConfig) -> dict[str, Any]:
    spec: dict[str, Any] = _rendered(launcher)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", _VERSIONS)
def test_the_manifest_keeps_to_kubernetes_own_schema(version: str) -> None:
    for launcher in (_POD, _ALL):
        kubernetes_validate.validate(_rendered(launcher), version, strict=True)
    wrong = _rendered(_ALL)
    wrong["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_the_pod_keeps_to_the_restricted_standard_and_talks_to_no_cluster() -> None:
    for launcher in (_POD, _ALL):
        pod = _pod(launcher)
        assert not_restricted(pod) == []
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["restartPolicy"] == "Never"


def test_what_is_configured_is_where_kubernetes_looks_for_it() -> None:
    job, pod = _rendered(_ALL), _pod(_ALL)
    (container,) = pod["containers"]
    assert job["metadata"]["namespace"] == "ml"
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] == 91
    assert job["spec"]["ttlSecondsAfterFinished"] == 86_400
    assert pod["terminationGracePeriodSeconds"] == 30
    assert pod["serviceAccountName"] == "trainer"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"operator": "Exists"},
    ]
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {"name": "project", "mountPath": "/home/ada/project/.ftzard/scratch/job",
            "subPath": "ada/project/.ftzard/scratch/job"} in container["volumeMounts"]  # fmt: skip
    assert {"name": "project", "mountPath": "/home/ada/project/models", "subPath": "ada/project/models",
            "readOnly": True} in container["volumeMounts"]  # fmt: skip
    # Both share the cores, and have room for what they hand to each other.
    assert {"name": "OMP_NUM_THREADS", "value": "2"} in container["env"]
    assert {"name": "shared-memory", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert container["command"][:5] == ["python", "-m", "ftzard.loopback_torchrun", "--nproc-per-node", "2"]
    assert container["command"][-2:] == ["JOB", "OUTPUT"]


def test_what_is_not_configured_is_left_to_the_namespace() -> None:
    job, (container,) = _rendered(_POD), _pod(_POD)["containers"]
    assert "activeDeadlineSeconds" not in job["spec"]
    assert not {"resources", "imagePullPolicy", "workingDir"} & container.keys()
    assert container["command"] == ["python", "-m", "ftzard.training_process", "JOB", "OUTPUT"]
    assert not {"nodeSelector", "tolerations", "serviceAccountName", "imagePullSecrets"} & _pod(_POD).keys()


def test_no_secret_is_in_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "SOMETHING"):
        monkeypatch.setenv(name, "not-for-others")
    assert "not-for-others" not in json.dumps(_rendered(_ALL))
    reference = {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert {"name": "HF_TOKEN", "valueFrom": reference} in _pod(_ALL)["containers"][0]["env"]


def test_a_pod_is_the_user_who_owns_the_project_and_never_root(monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(_POD, run_as_user=None)
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    context = _pod(own)["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (1234, 100)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(ConfigError, match=r"launcher\.run_as_user"):
        _rendered(own)


def test_a_link_that_leads_out_of_the_project_is_refused(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (project / "job").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is not in the project folder"):
        render_job(_POD, PodTask("ftzard-1", [], [Mount(project / "job")]), project)


@given(st.text(max_size=100))
def test_any_text_becomes_the_value_of_a_label(text: str) -> None:
    value = label_value(text)
    assert len(value) <= 63
    assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", value)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        LauncherConfig,
        kind=st.just("k8s"),
        image=st.sampled_from(["ftzard", "host:5000/team/ftzard:1.0", f"ghcr.io/x/y@sha256:{'0' * 64}"]),
        volume_claim=st.sampled_from(["a", "team.project-1"]),
        run_as_user=st.integers(1, 2**31 - 1),
        cpu=st.none() | st.integers(1, 256) | st.floats(0.5, 8).map(lambda cores: f"{cores:.3f}"),
        memory=st.none() | st.integers(1, 2**40) | st.integers(1, 999).map("{}Gi".format),
        gpus=st.integers(0, 8),
        timeout_s=st.none() | st.floats(0.001, 1e6),
        grace_s=st.floats(0.001, 1e4),
        node_selector=st.dictionaries(st.sampled_from(["gpu", "kubernetes.io/arch"]), st.sampled_from(["", "amd64"])),
    )
)
def test_whatever_the_configuration_takes_kubernetes_takes_too(launcher: LauncherConfig) -> None:
    kubernetes_validate.validate(_rendered(launcher), _VERSIONS[-1], strict=True)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"image": None}, "launcher.image must be given"),
        ({"volume_claim": None}, "launcher.volume_claim must be given"),
        ({"image": "https://host/ftzard"}, "name of an image"),
        ({"image": "Ftzard"}, "name of an image"),
        ({"namespace": "my.team"}, "lower-case letters"),
        ({"namespace": "a" * 64}, "at most 63"),
        ({"volume_claim": "My_Claim"}, "lower-case letters"),
        ({"volume_sub_path": "../other"}, "inside the volume"),
        ({"volume_sub_path": "/other"}, "inside the volume"),
        ({"memory": "16GB"}, "amount of memory"),
        ({"memory": "400m"}, "amount of memory"),
        ({"cpu": "two"}, "number of cores"),
        ({"cpu": 0}, "more than 0"),
        ({"cpu": True}, "string"),
        ({"gpus": 1, "num_processes": 2}, "each takes one"),
        ({"run_as_user": 0}, "greater than 0"),
        ({"node_selector": {"-": "x"}}, "key of a label"),
        ({"env": {"HF_TOKEN": "x"}}, "looks like a secret"),
        ({"env": {"SSH_PRIVATE_KEY": "x"}}, "looks like a secret"),
        ({"env": {"HTTPS_PROXY": "http://ada:s3cret@proxy:8080"}}, "must not hold a password"),
        ({"env": {"a-b": "x"}}, "letters, digits"),
        ({"tolerations": [{"operator": "Equal"}]}, "needs a key"),
        ({"tolerations": [{"operator": "Exists", "key": "a", "value": "b"}]}, "takes no value"),
        ({"image_pull_policy": "Sometimes"}, "'Always', 'IfNotPresent' or 'Never'"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_by_its_key(values: dict[str, Any], complaint: str) -> None:
    given = {"kind": "k8s", "image": "ftzard:test", "volume_claim": "team"} | values
    with pytest.raises(ConfigError, match=re.escape(complaint)) as caught:
        validate({"launcher": given})
    assert f"launcher.{next(iter(values))}" in str(caught.value)


@pytest.mark.parametrize("name", ["image", "memory", "gpus", "env", "pending_timeout_s"])
def test_the_keys_of_a_pod_are_refused_where_there_is_none(name: str) -> None:
    value = getattr(replace(_ALL, pending_timeout_s=1.0), name)
    with pytest.raises(ValidationError, match=rf"launcher\.{name} has no effect where launcher\.kind is 'local'"):
        LauncherConfig(**{"kind": "local", name: value})


@pytest.mark.parametrize(("amount", "cores"), [("4", 4), ("1.5", 1), ("500m", 1), ("2500m", 2)])
def test_threads_are_whole(amount: str, cores: int) -> None:
    assert num_cores(amount) == cores


def test_the_command_prints_what_would_be_created(tmp_path: Path) -> None:
    given = ["launcher=k8s", "launcher.image=ftzard:test", "launcher.volume_claim=team", "launcher.run_as_user=1000"]
    done = CliRunner().invoke(main, ["launcher", "manifest", "--project", str(tmp_path), *given, "launcher.cpu=2"])
    assert done.exit_code == 0, done.output
    shown = yaml.safe_load(done.output)
    assert shown == example_manifest(compose([*given, "launcher.cpu=2"]), tmp_path)
    kubernetes_validate.validate(shown, _VERSIONS[-1], strict=True)
    assert "&id" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_without_a_pod_there_is_no_manifest() -> None:
    with pytest.raises(ConfigError, match="'in_process', which has no manifest"):
        example_manifest(FtzardConfig(), _PROJECT)


def test_a_training_elsewhere_is_not_estimated_by_this_machine() -> None:
    with pytest.raises(ConfigError, match="an estimate is of this machine"):
        estimate(FtzardConfig(launcher=_POD), None, ("a", "b"))


def _ended(reason: str, **status: Any) -> dict[str, Any]:
    terminated = {"exitCode": 137, "reason": reason}
    return {"status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": terminated}}], **status}}


def _with(kind: str, reason: str, message: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": "True", "reason": reason, "message": message}]


@pytest.mark.parametrize(
    ("job", "pod", "told"),
    [
        ({}, _ended("Error"), None),
        ({}, _ended("OOMKilled"), "OOMKilled"),
        (
            {},
            _ended("Error", conditions=_with("DisruptionTarget", "PreemptionByScheduler", "no")),
            "PreemptionByScheduler: no",
        ),
        (_with("FailureTarget", "DeadlineExceeded", "too long"), _ended("Error"), "DeadlineExceeded: too long"),
        (_with("Failed", "BackoffLimitExceeded", "limit"), _ended("Error"), None),
        ({}, None, "PodGone: the pod was deleted"),
    ],
)
def test_what_ended_a_pod_is_told_in_kubernetes_words(job: Any, pod: Any, told: str | None) -> None:
    reason = end_reason({"status": {"conditions": job}}, pod)
    assert (None if reason is None else str(reason)) == told


def test_a_mount_that_fails_is_found_among_the_events_and_not_waited_for_in_silence() -> None:
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}
    events = [
        {"type": "Normal", "reason": "Scheduled", "message": "assigned"},
        {"type": "Warning", "reason": "FailedMount", "message": "Unable to attach or mount volumes"},
    ]
    found = obstacle({"status": waiting}, events)
    assert found is not None
    assert str(found) == "FailedMount: Unable to attach or mount volumes"
    assert "launcher.volume_claim" in found.error("x").fix
    assert not found.is_hopeless
    assert obstacle({"status": waiting}, events[:1]) is None

"""What a node does with a pod: says why it cannot, or really runs the container's command as a process.

Where the machine has user namespaces, the process sees of the claim's folder what the pod mounts and nothing else.
Not enforced: the read-only root, the user, the amounts of memory and processors, a network of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # psutil ships no types

# Runs in namespaces of its own: hides the claim's folder, mounts what is mounted, becomes the command.
_ENTER = """
import json, os, subprocess, sys
from pathlib import Path
claim, aside, mounts, command, folder = json.loads(sys.argv[1])
def mount(*words):
    subprocess.run(["mount", *words], check=True)
mount("--bind", claim, aside)
mount("-t", "tmpfs", "tmpfs", claim)
for source, target, read_only in mounts:
    source, target = Path(aside, source), Path(target)
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount("--bind", str(source), str(target))
    if read_only:
        mount("-o", "remount,bind,ro", str(target))
mount("-t", "tmpfs", "tmpfs", aside)
# Not where it was begun: that is now below another mount.
os.chdir(folder)
os.execvp(command[0], command)
"""
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


def has_namespaces() -> bool:
    """Whether a process can have mounts of its own here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True).returncode == 0


@dataclass
class Node:
    """The one node of a cluster, and what is to be had there.

    Attributes:
        folder: Holds logs and mount points.
        claims: The folder of each PersistentVolumeClaim.
        images: What can be pulled.
        secrets: The keys of each Secret.
        num_gpus: How many there are.
        labels: Its labels.
        path: The `PATH` of the image.
    """

    folder: Path
    claims: Mapping[str, Path]
    images: frozenset[str] = frozenset({"ftzard:test"})
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    num_gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = str(Path(sys.executable).parent)

    def unschedulable(self, spec: Mapping[str, Any]) -> str:
        """Why the scheduler finds no node; empty where it does."""
        missing = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in spec["volumes"]
            if "persistentVolumeClaim" in volume
        ]
        for claim in missing:
            if claim not in self.claims:
                return f'0/1 nodes are available: persistentvolumeclaim "{claim}" not found.'
        limits = spec["containers"][0].get("resources", {}).get("limits", {})
        if int(limits.get("nvidia.com/gpu", 0)) > self.num_gpus:
            return "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        if not spec.get("nodeSelector", {}).items() <= self.labels.items():
            return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        return ""

    def waiting(self, spec: Mapping[str, Any]) -> dict[str, str] | None:
        """Why the container does not begin; None where it does."""
        container = spec["containers"][0]
        image = container["image"]
        if image not in self.images:
            return {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and reference["key"] not in self.secrets.get(reference["name"], {}):
                return {"reason": "CreateContainerConfigError", "message": f'secret "{reference["name"]}" not found'}
        if spec["securityContext"].get("runAsNonRoot") and spec["securityContext"].get("runAsUser") == 0:
            return {"reason": "CreateContainerConfigError", "message": "container's runAsUser breaks non-root policy"}
        return None

    def run(self, name: str, spec: Mapping[str, Any]) -> "Container":
        """Start the container of a pod."""
        container = spec["containers"][0]
        environment = {
            "PATH": os.pathsep.join([self.path, os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            environment[variable["name"]] = (
                self.secrets[reference["name"]][reference["key"]] if reference else variable["value"]
            )
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = psutil.Popen(
                self._command(spec), env=environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        return Container(process, log)

    def _command(self, spec: Mapping[str, Any]) -> list[str]:
        container = spec["containers"][0]
        claims = {
            v["name"]: v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if "persistentVolumeClaim" in v
        }
        mounts = [mount for mount in container["volumeMounts"] if mount["name"] in claims]
        (claim,) = {str(self.claims[claims[mount["name"]]]) for mount in mounts}
        for mount in mounts:
            # As the kubelet does with a path of a volume that is not there.
            if not Path(claim, mount["subPath"]).exists():
                Path(claim, mount["subPath"]).mkdir(parents=True)
        if not has_namespaces():
            assert all(Path(claim, mount["subPath"]).samefile(mount["mountPath"]) for mount in mounts)
            return list(container["command"])
        wanted = [(mount["subPath"], mount["mountPath"], mount.get("readOnly", False)) for mount in mounts]
        aside = tempfile.mkdtemp(dir=self.folder)
        document = json.dumps([claim, aside, wanted, container["command"], container.get("workingDir", "/")])
        return [*_UNSHARE, sys.executable, "-c", _ENTER, document]


@dataclass
class Container:
    """A container that was started."""

    process: Any
    log: Path

    @property
    def exit_code(self) -> int | None:
        """As a container runtime tells it; None while it runs."""
        code: int | None = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def end(self) -> None:
        """Ask, as the kubelet asks: the first process alone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """All that runs in it, at once."""
        if self.process.poll() is None:
            family = [*self.process.children(recursive=True), self.process]
            for each in family:
                each.kill()
            psutil.wait_procs(family)

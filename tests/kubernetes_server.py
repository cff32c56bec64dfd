"""A small cluster on loopback: the part of Kubernetes' API that a training uses, and a node that really runs pods.

What it takes is held against Kubernetes' own schema, strictly, and pods against the Pod Security Standard "restricted".
"""

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml
from tests.kubelet import Container, Node

VERSION = "1.34"
NAMESPACE = "default"
_TICK_S = 0.05
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def not_restricted(spec: Mapping[str, Any]) -> list[str]:
    """What in a pod the standard "restricted" does not allow."""
    (container,) = spec["containers"]
    pod, own = spec.get("securityContext", {}), container.get("securityContext", {})
    kinds = {key for volume in spec["volumes"] for key in volume if key != "name"}
    rules = {
        "allowPrivilegeEscalation != false": own.get("allowPrivilegeEscalation") is False,
        "unrestricted capabilities": own.get("capabilities", {}).get("drop") == ["ALL"],
        "runAsNonRoot != true": pod.get("runAsNonRoot") is True,
        "runAsUser=0": pod.get("runAsUser") != 0,
        "seccompProfile": pod.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "restricted volume types": kinds <= {"persistentVolumeClaim", "emptyDir", "configMap", "secret"},
        "host namespaces": not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
    }
    return [rule for rule, holds in rules.items() if not holds]


@dataclass
class _Job:
    """A job, its pod, and what runs in it."""

    manifest: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    pod: dict[str, Any] | None = None
    container: Container | None = None
    conditions: list[dict[str, str]] = field(default_factory=list)
    asked_to_end: float | None = None
    is_deleted: bool = False

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.manifest["spec"]["template"]["spec"]
        return spec

    def document(self) -> dict[str, Any]:
        return {**self.manifest, "status": {"conditions": self.conditions}}


class KubernetesServer:
    """A cluster.

    Args:
        folder: Holds its files.
        node: Its node.
    """

    def __init__(self, folder: Path, node: Node) -> None:
        self.node, self.jobs = node, dict[str, _Job]()
        self.events: list[dict[str, Any]] = []
        self.manifests: list[dict[str, Any]] = []
        # How many requests are answered by an error, as a server does that is being started again.
        self.num_failing = 0
        # What the user may not do.
        self.forbidden: frozenset[str] = frozenset()
        self._lock, self._stopped = threading.RLock(), threading.Event()
        handler = type("Handler", (_Handler,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
        }))  # fmt: skip
        self._threads = [
            threading.Thread(target=self._server.serve_forever, daemon=True),
            threading.Thread(target=self._control, daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End it, and all that runs on its node."""
        self._stopped.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()
        for job in self.jobs.values():
            if job.container is not None:
                job.container.kill()

    def only_job(self) -> _Job:
        (job,) = self.jobs.values()
        return job

    def evict(self) -> None:
        """The node runs out of memory, and the kubelet ends the pod."""
        with self._lock:
            job = self.only_job()
            assert job.pod is not None
            job.pod["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
            job.pod["status"]["conditions"].append(_condition("DisruptionTarget", "TerminationByKubelet"))
            self._end(job)

    def kill(self, reason: str) -> None:
        """The kernel kills the container."""
        with self._lock:
            job = self.only_job()
            assert job.container is not None
            job.container.kill()
            self._finish(job, reason)

    def create(self, namespace: str, manifest: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if namespace != NAMESPACE:
            return 404, _status(404, f'namespaces "{namespace}" not found')
        try:
            kubernetes_validate.validate(manifest, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            return 422, _status(422, f"Job is invalid: {error.message}")
        metadata, template = manifest["metadata"], manifest["spec"]["template"]["metadata"]
        labels = {**metadata.get("labels", {}), **template.get("labels", {})}
        wrong = [value for value in labels.values() if len(value) > 63 or not _LABEL.fullmatch(value)]
        if len(metadata["name"]) > 63 or not _NAME.fullmatch(metadata["name"]) or wrong:
            return 422, _status(422, f"Job is invalid: metadata: {metadata['name']} {wrong}")
        with self._lock:
            if metadata["name"] in self.jobs:
                return 409, _status(409, f'jobs.batch "{metadata["name"]}" already exists')
            self.manifests.append(manifest)
            self.jobs[metadata["name"]] = _Job(manifest)
        return 201, manifest

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, dict[str, Any]]:
        parts, query = urlsplit(url).path.strip("/").split("/"), parse_qs(urlsplit(url).query)
        resource = next(word for word in parts if word in {"jobs", "pods", "events"})
        namespace = parts[parts.index("namespaces") + 1]
        if f"{method} {resource}" in self.forbidden:
            return 403, _status(403, f'{resource} is forbidden: User "test" cannot {method} {resource}')
        if method == "POST":
            return self.create(namespace, json.loads(body))
        with self._lock:
            if resource == "events":
                wanted = query["fieldSelector"][0].removeprefix("involvedObject.name=")
                return 200, {"items": [one for one in self.events if one["involvedObject"]["name"] == wanted]}
            if resource == "pods":
                name = query["labelSelector"][0].removeprefix("batch.kubernetes.io/job-name=")
                pod = self.jobs[name].pod if name in self.jobs else None
                return 200, {"items": [pod] if pod else []}
            job = self.jobs.get(parts[-1])
            if job is None:
                return 404, _status(404, f'jobs.batch "{parts[-1]}" not found')
            if method == "DELETE":
                assert json.loads(body or b"{}").get("propagationPolicy", query.get("propagationPolicy", [""])[0])
                job.is_deleted = True
            return 200, job.document()

    def _control(self) -> None:
        while not self._stopped.wait(_TICK_S):
            with self._lock:
                for name, job in list(self.jobs.items()):
                    self._step(name, job)

    def _step(self, name: str, job: _Job) -> None:
        is_over = any(each["type"] == "Failed" for each in job.conditions)
        deadline_s = job.manifest["spec"].get("activeDeadlineSeconds", float("inf"))
        if job.is_deleted or is_over:
            self._end(job)
            if job.is_deleted and (job.container is None or job.container.exit_code is not None):
                del self.jobs[name]
        elif time.monotonic() - job.started > deadline_s:
            said = "Job was active longer than specified deadline"
            job.conditions.append(_condition("Failed", "DeadlineExceeded", said))
        elif job.pod is None:
            self._create_pod(name, job)
        elif job.pod["status"]["phase"] == "Pending":
            self._begin(job)
        if job.container is not None and job.container.exit_code is not None:
            self._finish(job)

    def _create_pod(self, name: str, job: _Job) -> None:
        if refused := not_restricted(job.spec):
            said = f'pods "{name}-x" is forbidden: violates PodSecurity "restricted:latest": {", ".join(refused)}'
            self._note(name, "FailedCreate", said)
            return
        labels = {**job.manifest["spec"]["template"]["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
        status: dict[str, Any] = {"phase": "Pending", "conditions": []}
        job.pod = {"metadata": {"name": f"{name}-x", "labels": labels}, "spec": dict(job.spec), "status": status}

    def _begin(self, job: _Job) -> None:
        assert job.pod is not None
        status = job.pod["status"]
        if said := self.node.unschedulable(job.spec):
            status["conditions"] = [{**_condition("PodScheduled", "Unschedulable", said), "status": "False"}]
            return
        status["conditions"] = [_condition("PodScheduled")]
        job.pod["spec"]["nodeName"] = "node-1"
        if waiting := self.node.waiting(job.spec):
            status["containerStatuses"] = [{"name": "training", "state": {"waiting": waiting}}]
            return
        job.container = self.node.run(job.pod["metadata"]["name"], job.spec)
        status |= {"phase": "Running", "containerStatuses": [{"name": "training", "state": {"running": {}}}]}

    def _end(self, job: _Job) -> None:
        """As the kubelet does: asked, and killed after the grace."""
        if job.container is None or job.container.exit_code is not None:
            return
        if job.asked_to_end is None:
            job.asked_to_end = time.monotonic()
            job.container.end()
        elif time.monotonic() - job.asked_to_end > job.spec["terminationGracePeriodSeconds"]:
            job.container.kill()

    def _finish(self, job: _Job, reason: str = "") -> None:
        assert job.pod is not None
        assert job.container is not None
        code = job.container.exit_code
        if "terminated" in job.pod["status"]["containerStatuses"][0]["state"]:
            return
        ended = {"exitCode": code, "reason": reason or ("Error" if code else "Completed")}
        if code and job.spec["containers"][0].get("terminationMessagePolicy") == "FallbackToLogsOnError":
            ended["message"] = job.container.log.read_text()[-2048:]
        job.pod["status"]["containerStatuses"] = [{"name": "training", "state": {"terminated": ended}}]
        job.pod["status"]["phase"] = "Failed" if code else "Succeeded"
        if not code:
            job.conditions.append(_condition("Complete"))
        elif not job.conditions:
            job.conditions.append(
                _condition("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
            )

    def _note(self, name: str, reason: str, message: str) -> None:
        if not any(event["message"] == message for event in self.events):
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            event = {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": at}
            self.events.append({**event, "involvedObject": {"name": name}})


class _Handler(BaseHTTPRequestHandler):
    cluster: KubernetesServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.cluster.num_failing > 0:
            self.cluster.num_failing -= 1
            code, document = 503, _status(503, "apiserver is shutting down")
        else:
            code, document = self.cluster.answer(self.command, self.path, body)
        data = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - names of the base class

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def _condition(kind: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}

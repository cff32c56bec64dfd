"""The part of Kubernetes' API that a training needs: a job is created, looked at and deleted.

A server that does not answer for a while is asked again: the training goes on without it.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ftzard.config import LauncherConfig
from ftzard.errors import ConfigError, TrainingProcessError
from ftzard.resources.kubernetes_state import Status

if TYPE_CHECKING:
    from kubernetes import client

_logger = logging.getLogger(__name__)

# One request; all tries of one.
_REQUEST_S = 30.0
_PATIENCE_S = 120.0
_AGAIN_S = 1.0
# How long the kubelet may take beyond the grace.
_DELETION_S = 30.0
_POLL_S = 0.5
_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 409
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_FIXES: Mapping[int, str] = {
    401: "log in again: the kubeconfig's credentials are not taken",
    _FORBIDDEN: "let the user or service account create, get and delete jobs, and list pods and events, in "
    "launcher.namespace (docs/launchers.md)",
    _NOT_FOUND: "look at launcher.namespace and launcher.context",
}
_FIX_REFUSED = "look at the keys of `launcher`; `ftzard launcher manifest` shows what is created"


@dataclass(frozen=True)
class Cluster:
    """The jobs of one namespace.

    Attributes:
        api: Whom to ask.
        namespace: The namespace.
        patience_s: How long the server may not answer.
    """

    api: "client.ApiClient"
    namespace: str
    patience_s: float

    @classmethod
    def of(cls, config: LauncherConfig) -> "Cluster":
        """The cluster of the kubeconfig, or the one that this process runs in.

        Raises:
            ConfigError: There is none.
        """
        from kubernetes import client
        from kubernetes import config as kubernetes_config

        found = client.Configuration()
        is_inside = "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
        try:
            if is_inside and config.context is None:
                kubernetes_config.load_incluster_config(client_configuration=found)
            else:
                kubernetes_config.load_kube_config(
                    os.environ.get("KUBECONFIG"), context=config.context, client_configuration=found
                )
        except (kubernetes_config.ConfigException, OSError) as error:
            raise ConfigError(
                f"launcher.kind is 'k8s', and there is no cluster to be found: {error}",
                fix="set KUBECONFIG or launcher.context; `kubectl get jobs` has to work with them",
            ) from error
        # Asked again by us, who say so.
        found.retries = False
        return cls(client.ApiClient(found), config.namespace, min(_PATIENCE_S, config.peer_timeout_s / 2))

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Create a job whose name nobody else has chosen.

        Raises:
            TrainingProcessError: Kubernetes refuses it, or does not answer.
        """
        from kubernetes import client

        create = client.BatchV1Api(self.api).create_namespaced_job
        try:
            # Strict: an unknown field is refused, not passed over.
            self._asked(lambda **common: create(self.namespace, manifest, field_validation="Strict", **common))
        except client.ApiException as error:
            # The answer to the first try was lost.
            if error.status != _CONFLICT:
                raise self._refused("the job", error) from error

    def job(self, name: str) -> Status | None:
        """A job; None where there is none of that name.

        Raises:
            TrainingProcessError: Kubernetes refuses, or does not answer.
        """
        from kubernetes import client

        read = client.BatchV1Api(self.api).read_namespaced_job
        try:
            found: Status = self._asked(lambda **common: read(name, self.namespace, **common))
        except client.ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise self._refused(f"a look at job {name}", error) from error
        return found

    def pod(self, job: str) -> Status | None:
        """The pod of a job; None where there is none.

        Raises:
            TrainingProcessError: Kubernetes refuses, or does not answer.
        """
        from kubernetes import client

        pods = client.CoreV1Api(self.api).list_namespaced_pod
        selector = f"batch.kubernetes.io/job-name={job}"
        try:
            found = self._asked(lambda **common: pods(self.namespace, label_selector=selector, **common))
        except client.ApiException as error:
            raise self._refused(f"a look at the pod of job {job}", error) from error
        items = found.get("items") or []
        return items[0] if items else None

    def events(self, name: str) -> list[Status]:
        """What was noted of a job or pod, oldest first; nothing where we may not read it."""
        from kubernetes import client

        events = client.CoreV1Api(self.api).list_namespaced_event
        try:
            found = self._asked(
                lambda **common: events(self.namespace, field_selector=f"involvedObject.name={name}", **common)
            )
        except client.ApiException:
            return []
        dated = [(each.get("lastTimestamp") or each.get("eventTime") or "", each) for each in found.get("items") or []]
        return [each for _, each in sorted(dated, key=itemgetter(0))]

    def delete(self, name: str, grace_s: float) -> None:
        """Delete a job, and wait until it is gone, its pod before it.

        Raises:
            TrainingProcessError: Kubernetes refuses, or does not answer.
        """
        from kubernetes import client

        delete = client.BatchV1Api(self.api).delete_namespaced_job
        try:
            self._asked(lambda **common: delete(name, self.namespace, propagation_policy="Foreground", **common))
        except client.ApiException as error:
            if error.status != _NOT_FOUND:
                raise self._refused(f"to delete job {name}", error) from error
        give_up = time.monotonic() + grace_s + _DELETION_S
        while self.job(name) is not None or self.pod(name) is not None:
            if time.monotonic() > give_up:
                _logger.warning("job %s in namespace %s does not end", name, self.namespace)
                return
            time.sleep(_POLL_S)

    def _asked(self, ask: Callable[..., Any]) -> Any:
        """An answer as JSON; what does not answer is asked again."""
        from kubernetes import client
        from urllib3.exceptions import HTTPError

        give_up = time.monotonic() + self.patience_s
        while True:
            try:
                return json.loads(ask(_preload_content=False, _request_timeout=_REQUEST_S).data)
            except client.ApiException as error:
                if error.status not in _TRANSIENT:
                    raise
                problem = f"{error.status} {error.reason}"
            except HTTPError as error:
                problem = str(error)
            if time.monotonic() > give_up:
                raise TrainingProcessError(
                    f"Kubernetes' API at {self.api.configuration.host} does not answer: {problem}",
                    fix="look at the cluster and at the kubeconfig, then run again",
                )
            _logger.debug("Kubernetes' API: %s; asking again", problem)
            time.sleep(_AGAIN_S)

    def _refused(self, what: str, error: Any) -> TrainingProcessError:
        try:
            message = json.loads(error.body)["message"]
        except (TypeError, ValueError, LookupError):
            message = error.reason
        fix = _FIXES.get(error.status, _FIX_REFUSED)
        return TrainingProcessError(f"Kubernetes refuses {what}: {message}", fix=fix)

"""What an executor outside this machine should give a step that computes with the model."""

from collections.abc import Mapping
from typing import Any

GPU_POOL = "gpu"

# Read by dagster-k8s; a machine of one's own gives the step its GPU by the pool's limit of one.
GPU_TAGS: Mapping[str, Any] = {
    "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}},
}

"""An estimate for people (lines) and programs (JSON)."""

from typing import TYPE_CHECKING, Any

from ftzard.core.byte_sizes import in_words
from ftzard.core.estimate import Estimate, advice

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig


def estimate_lines(found: Estimate, config: "FtzardConfig") -> list[str]:
    """The estimate for a person."""
    rows = [(name, in_words(num_bytes)) for name, num_bytes in found.parts.items()]
    rows += [("peak of training", in_words(sum(found.parts.values())))]
    rows += [("peak of loading", in_words(found.loading_bytes)), ("free", in_words(found.free_bytes))]
    width = max(len(name) for name, _ in rows)
    verdict = "It fits." if found.fits else f"It does not fit: {advice(found, config)}."
    return [
        f"{config.model.base_model} on {found.device} in {found.dtype}"
        + ("" if config.model.quantization == "none" else f", weights in {config.model.quantization}"),
        _parameters(found),
        "",
        *(f"  {name:<{width}}  {size:>10}" for name, size in rows),
        "",
        *([f"For each of {found.num_processes} processes."] if found.num_processes > 1 else []),
        verdict,
        _time(found),
    ]


def _parameters(found: Estimate) -> str:
    counted = found.outline
    return (
        f"parameters: {counted.num_parameters:,}, of them {counted.num_computed:,} in linear layers and "
        f"{counted.num_trainable:,} trained"
    )


def _time(found: Estimate) -> str:
    how_long = "the texts are not known yet" if found.seconds is None else f"about {found.seconds / 60:.1f} minutes"
    return (
        f"Time: {how_long}; {found.seconds_per_1000_examples:.0f} s for an epoch of 1,000 examples "
        f"({found.gemm_flops / 1e9:.0f} GFLOP/s of matrix products now, at an efficiency of {found.efficiency:.2f})."
    )


def to_document(found: Estimate) -> dict[str, Any]:
    """The estimate as JSON types."""
    return {
        "device": found.device,
        "dtype": found.dtype,
        "num_parameters": found.outline.num_parameters,
        "num_linear_parameters": found.outline.num_computed,
        "num_trainable_parameters": found.outline.num_trainable,
        "bytes": dict(found.parts),
        "loading_bytes": found.loading_bytes,
        "peak_bytes": found.peak_bytes,
        "free_bytes": found.free_bytes,
        "num_processes": found.num_processes,
        "fits": found.fits,
        "seconds": found.seconds,
        "seconds_per_1000_examples": found.seconds_per_1000_examples,
        "gemm_flops": found.gemm_flops,
        "efficiency": found.efficiency,
    }

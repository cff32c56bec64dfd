"""How much memory and time a training will take, before anything of the base model is loaded.

Memory: the tensors are counted (`ftzard.core.outline`), for the largest micro-batch that this very training will have;
on top come what loading needs for a moment, and shares that were measured (`ftzard.core.memory_parts`). Time: what the
device needs at best (`ftzard.core.training_time`), by the rate at which it multiplies the model's matrices now, over
the efficiency of the last training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftzard.core.answer_work import answer_work_of, unknown_answer_work
from ftzard.core.base_model import describe_base_model, is_at_hand
from ftzard.core.byte_sizes import in_words
from ftzard.core.device_memory import free_bytes
from ftzard.core.devices import Device, resolve_device, resolve_dtype
from ftzard.core.frozen_prefix import MAX_SHARE
from ftzard.core.gemm_rate import gemm_flops
from ftzard.core.memory_parts import memory_parts
from ftzard.core.outline import Outline, outline, outline_answers
from ftzard.core.precision import precision_for
from ftzard.core.prompts import PromptTemplate, label_words
from ftzard.core.training_time import DEFAULT_EFFICIENCY, DEFAULT_EFFICIENCY_OF_TRL, Pace
from ftzard.core.training_work import Work, unknown_work, work_of
from ftzard.errors import ConfigError, DoesNotFitError

if TYPE_CHECKING:
    from ftzard.config import FtzardConfig
    from ftzard.core.records import Splits

# Floating-point operations a parameter and token: forward and input gradient, the base's weights being frozen; forward.
_TRAINING_FLOP, _INFERENCE_FLOP = 4, 2
# Of the output layer, at the places of answers: forward, again backward, because TRL keeps no logits, and the gradient
# of what it is given.
_OUTPUT_FLOP = 6
_FLOAT32 = 4
# Copies of the largest weight that exist for a moment while weights are read and converted, in float32; measured with a
# .gguf file.
_LOADING_COPIES = 2
# Rows of the matrices whose rate is measured; more of them are multiplied no faster.
_PROBE_TOKENS = 512


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Attributes:
        device: Where.
        dtype: In which floating-point type.
        outline: What was counted.
        parts: Bytes by what they are for; together the peak of the training.
        loading_bytes: The peak while the base model is loaded.
        free_bytes: What the device has left; None where nobody looked.
        seconds: How long; None where the texts are not known.
        seconds_per_1000_examples: For the first epoch, of texts of mean length, or of full length where they are not
            known.
        flop: Floating-point operations in all; 0 where the texts are not known.
        gemm_flops: Floating-point operations a second of matrix products, measured now.
        efficiency: The time that the device would need at best over the time that is taken for this training.
        num_processes: How many processes will each take so much of the memory that is free: those of the launcher on a
            CPU; one on CUDA, where each has a device of its own.
        num_devices: How many devices share the work.
    """

    device: Device
    dtype: str
    outline: Outline
    parts: Mapping[str, int]
    loading_bytes: int
    free_bytes: int
    seconds: float | None
    seconds_per_1000_examples: float
    flop: float
    gemm_flops: float
    efficiency: float
    num_processes: int = 1
    num_devices: int = 1

    @property
    def peak_bytes(self) -> int:
        """The most that a process takes at once."""
        return max(self.loading_bytes, sum(self.parts.values()))

    @property
    def fits(self) -> bool:
        """Whether the device has so much left, for each process."""
        return self.peak_bytes * self.num_processes <= self.free_bytes

    def check(self, config: "FtzardConfig") -> None:
        """Refuse what cannot fit.

        Raises:
            DoesNotFitError: More is needed than is free; the message names both and the biggest parts.
        """
        if self.fits:
            return
        biggest = sorted(self.parts.items(), key=lambda part: -part[1])[:3]
        who = "the training" if self.num_processes == 1 else f"each of {self.num_processes} processes of the training"
        raise DoesNotFitError(
            f"{who} needs about {self.peak_bytes:,} bytes ({in_words(self.peak_bytes)}) on the device "
            f"{self.device!r}, and {self.free_bytes:,} ({in_words(self.free_bytes)}) are free; most of it: "
            + ", ".join(f"{name} {in_words(num_bytes)}" for name, num_bytes in biggest),
            fix=f"{advice(self, config)}; `ftzard estimate` shows what a change makes of it",
        )

    def errors(self, peak_bytes: int, seconds: float) -> dict[str, float]:
        """Relative errors, above 0 where the estimate was too high, and the efficiency that would have been right."""
        errors = {"estimate_memory_error": self.peak_bytes / peak_bytes - 1} if peak_bytes > 0 else {}
        if self.seconds is not None and seconds > 0:
            errors |= {
                "estimate_time_error": self.seconds / seconds - 1,
                "efficiency": self.efficiency * self.seconds / seconds,
            }
        return errors


def estimate(
    config: "FtzardConfig", splits: "Splits | None", labels: Sequence[str], efficiency: float | None = None
) -> Estimate:
    """Estimate a training; the base model's weights are not read.

    Args:
        config: Its sections `model` and `training`, and of `launcher` how many processes there will be.
        splits: What is trained and validated on; None where it is not known: every text is then as long as can be.
        labels: The label set.
        efficiency: That of an earlier training of this model on this device, as `Estimate.errors` tells it; None: a
            documented default.

    Raises:
        ConfigError: The training runs on another machine.
        FtzardError: As `load_base_model`, `lora_classifier` and `answer_work_of`.
    """
    if config.launcher.runs_elsewhere:
        raise ConfigError(
            "launcher.kind is 'k8s', and an estimate is of this machine's memory and speed",
            fix="run it on a machine like the pod's, with launcher=in_process; `peak_memory_bytes` in MLflow says what "
            "a training took",
        )
    device = resolve_device(config.training.device)
    dtype = resolve_dtype(config.model.dtype, device)
    source, model_config, tokenizer = describe_base_model(config.model)
    precision = precision_for(source, config.model, device, model_config)
    config = replace(config, model=replace(config.model, quantization=precision.quantization))
    work = _work(splits, config, labels, tokenizer)
    if config.data.has_labels:
        counted = outline(source, model_config, config, (device, dtype), num_labels=len(labels), sequences=work.largest)
    else:
        shape = len(work.largest), work.longest
        counted = outline_answers(source, model_config, tokenizer, config, (device, dtype), shape=shape)
    file = Path(source.location, source.gguf_file) if source.location and source.gguf_file else None
    is_here = splits is not None and config.launcher.kind == "in_process"
    is_loaded = is_here and is_at_hand(config.model, device)
    num_devices = config.launcher.num_processes if device == "cuda" else 1
    parts = memory_parts(counted, work, (device, str(dtype).removeprefix("torch.")))
    loading = counted.weight_bytes + (file.stat().st_size if file else 0)
    loading += _LOADING_COPIES * counted.largest_weight * _FLOAT32 + parts["libraries"]
    kept = _kept_bytes(counted, work, config, model_config, dtype.itemsize)
    is_kept = 0 < kept <= MAX_SHARE * free_bytes(device)
    if is_kept:
        parts["frozen layers' states"] = kept
    if is_loaded:
        parts, loading = {name: size for name, size in parts.items() if name != "base weights"}, 0
    rate = gemm_flops(counted.linear_shapes, dtype, device, min(config.training.max_tokens_per_batch, _PROBE_TOKENS))
    default = DEFAULT_EFFICIENCY if config.data.has_labels else DEFAULT_EFFICIENCY_OF_TRL
    share = efficiency or default[device]
    flop = _flop(counted, work, config, is_kept=is_kept)
    flop_per_token = _training_flop_per_token(counted, work, config)
    pace = Pace.of(counted, work, model_config, (device, dtype), rate * num_devices)
    return Estimate(
        device=device,
        dtype=str(dtype).removeprefix("torch."),
        outline=counted,
        parts=parts,
        loading_bytes=loading,
        free_bytes=free_bytes(device),
        seconds=pace.seconds(work, flop) / share if flop else None,
        seconds_per_1000_examples=1000 * pace.seconds_per_example(work, flop_per_token) / share,
        flop=flop,
        gemm_flops=rate,
        efficiency=share,
        num_processes=config.launcher.num_processes // num_devices,
        num_devices=num_devices,
    )


def learned_efficiency(metrics: Mapping[str, float], params: Mapping[str, str], config: "FtzardConfig") -> float | None:
    """The efficiency of an earlier training, as `Estimate.errors` tells it; None where it was another one.

    Args:
        metrics: Of the earlier training's run.
        params: Likewise; they name its base model, device and floating-point type.
        config: Of the training to come.
    """
    device = resolve_device(config.training.device)
    dtype = str(resolve_dtype(config.model.dtype, device)).removeprefix("torch.")
    expected = {
        "model.base_model": config.model.base_model,
        "model.quantization": config.model.quantization,
        "device": device,
        "dtype": dtype,
    }
    # Only where answers are written the run says for which task.
    task = None if config.data.has_labels else config.data.task
    is_alike = params.get("task") == task and all(params.get(name) == value for name, value in expected.items())
    return metrics.get("efficiency") if is_alike else None


def advice(found: Estimate, config: "FtzardConfig") -> str:
    """What would take less, the most effective first."""
    activations, weights = found.parts["activations"], found.parts.get("base weights", 0)
    smaller = [f"training.max_tokens_per_batch={_fitting_budget(found, config.training.max_tokens_per_batch)}"]
    if found.dtype == "float32":
        smaller.append("model.dtype=bfloat16")
    lighter = ["model.quantization=nf4 (a base model from a folder or the hub)"] * (config.model.quantization == "none")
    lighter.append("a smaller model.base_model")
    ordered = [*smaller, *lighter] if activations > weights else [*lighter, *smaller]
    if found.parts["adapter and optimizer"] > max(activations, weights):
        ordered.insert(0, f"training.lora.r={max(1, config.training.lora.r // 2)}")
    return "try " + ", or ".join(ordered)


def _fitting_budget(found: Estimate, max_tokens: int) -> int:
    """The largest half, quarter ... of the budget that would fit; at least the half."""
    flexible = sum(found.parts.get(name, 0) for name in ("activations", "temporaries", "output layer"))
    fixed = sum(found.parts.values()) - flexible
    budget = max(1, max_tokens // 2)
    while budget > 1 and (fixed + flexible * budget / max_tokens) * found.num_processes > found.free_bytes:
        budget //= 2
    return budget


def _work(splits: "Splits | None", config: "FtzardConfig", labels: Sequence[str], tokenizer: Any) -> Work:
    if not config.data.has_labels:
        return answer_work_of(splits, config, tokenizer) if splits else unknown_answer_work(config)
    template = PromptTemplate.from_parts(
        config.model.prompt_template, label_words(labels, config.model), config.model.max_length
    )
    return work_of(splits, config, template, tokenizer) if splits else unknown_work(config)


def _training_flop_per_token(counted: Outline, work: Work, config: "FtzardConfig") -> float:
    """Through what is frozen no gradient goes; the model that DPO compares with is computed once more."""
    flop = float(_TRAINING_FLOP * (counted.num_computed - counted.num_frozen) + _INFERENCE_FLOP * counted.num_frozen)
    flop += _OUTPUT_FLOP * counted.num_output * work.scored_fraction
    before = _INFERENCE_FLOP * (counted.num_computed + counted.num_output * work.scored_fraction)
    return flop + (before if config.data.task == "preference" else 0)


def _inference_flop_per_token(counted: Outline) -> int:
    return _INFERENCE_FLOP * (counted.num_computed + counted.num_output)


def _flop(counted: Outline, work: Work, config: "FtzardConfig", *, is_kept: bool) -> float:
    num_epochs = config.training.num_train_epochs
    if work.num_train_tokens is None or work.num_validation_tokens is None:
        return 0.0
    training = _training_flop_per_token(counted, work, config) * work.num_train_tokens
    validation = _inference_flop_per_token(counted) * work.num_validation_tokens
    # Where the states of what is frozen are kept, it is computed for one epoch.
    saved_tokens = (work.num_train_tokens + work.num_validation_tokens) * (1 - 1 / num_epochs) if is_kept else 0.0
    return training + validation - _INFERENCE_FLOP * counted.num_frozen * saved_tokens


def _kept_bytes(counted: Outline, work: Work, config: "FtzardConfig", model_config: Any, itemsize: int) -> int:
    """What `ftzard.core.frozen_prefix` keeps, of texts that are all different; 0 where they are not known."""
    if not counted.num_frozen or not config.training.keep_frozen_layers:
        return 0
    num_tokens = (work.num_train_tokens or 0) + (work.num_validation_tokens or 0)
    hidden_size = int(model_config.get_text_config().hidden_size)
    return num_tokens // config.training.num_train_epochs * hidden_size * itemsize

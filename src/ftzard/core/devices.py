"""Which device computes, and in which floating-point type."""

from typing import TYPE_CHECKING, Literal

from ftzard.errors import ConfigError

if TYPE_CHECKING:
    import torch

Device = Literal["cpu", "cuda"]


def resolve_device(requested: Literal["auto", "cpu", "cuda"]) -> Device:
    """The device that `training.device` stands for on this machine.

    Args:
        requested: `auto` takes CUDA where there is some.

    Raises:
        ConfigError: CUDA is asked for and torch finds none.
    """
    import torch

    if requested == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if requested == "cuda":
        build = "this build of torch is for the CPU only" if torch.version.cuda is None else "torch sees no CUDA device"
        raise ConfigError(
            f"training.device is 'cuda', but {build} (torch {torch.__version__})",
            fix="set training.device=auto or training.device=cpu, or install a CUDA build of torch and its driver",
        )
    return "cpu"


def resolve_dtype(requested: Literal["auto", "float32", "bfloat16", "float16"], device: Device) -> "torch.dtype":
    """The type that `model.dtype` stands for on a device.

    `auto` is bfloat16 where the hardware multiplies it (CUDA from Ampere on; CPUs with AVX512-BF16 or AMX-BF16), where
    it is about twice as fast as float32. Elsewhere it would be emulated, so `auto` is float32 there.
    """
    import torch

    if requested == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[requested]


def _multiplies_bfloat16(device: Device) -> bool:
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))

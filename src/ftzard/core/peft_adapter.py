"""What an adapter on a base model can do, whatever it is trained for: hand out its weights, and take others."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftzard.errors import AdapterMismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


@dataclass(frozen=True, eq=False)
class AdaptedModel:
    """A base model with an adapter in it.

    Attributes:
        peft_model: A `peft.PeftModel`.
        device: Where it is.
    """

    peft_model: Any
    device: str

    def trainable_parameters(self) -> "list[torch.nn.Parameter]":
        """LoRA matrices, and a head where there is one, in an order that is always the same."""
        return [parameter for parameter in self.peft_model.parameters() if parameter.requires_grad]

    def num_parameters(self) -> int:
        """Base, adapter and head together."""
        return sum(parameter.numel() for parameter in self.peft_model.parameters())

    def peft_fields(self, base_model: str, revision: str | None) -> dict[str, Any]:
        """The fields of `adapter_config.json`, for use and with the base model as it was configured."""
        fields: dict[str, Any] = self.peft_model.active_peft_config.to_dict()
        # PEFT keeps these as sets, whose order differs from process to process, and names a head twice.
        names = {
            key: None if fields[key] is None else sorted(set(fields[key]))
            for key in ("target_modules", "target_parameters", "modules_to_save")
        }
        how = {"base_model_name_or_path": base_model, "revision": revision, "inference_mode": True}
        # Where the matrices started from is over: loaded, they are what they are.
        return fields | names | how | {"init_lora_weights": True}

    def adapter_weights(self) -> "dict[str, torch.Tensor]":
        """The adapter's tensors by PEFT's names, on the CPU, in name order."""
        from peft import get_peft_model_state_dict

        # The embedding is frozen; "auto" would ask the hub whether it was resized.
        weights = get_peft_model_state_dict(self.peft_model, save_embedding_layers=False)
        return {name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}

    def load_adapter_weights(self, weights: "Mapping[str, torch.Tensor]") -> None:
        """Put an adapter's tensors in the place of the first ones.

        Raises:
            AdapterMismatchError: Their names or shapes are not those that the adapter's configuration makes here.
        """
        from peft import set_peft_model_state_dict

        expected = {name: tuple(tensor.shape) for name, tensor in self.adapter_weights().items()}
        found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if different:
            name = different[0]
            raise AdapterMismatchError(
                f"{len(different)} tensor(s) of the adapter do not fit the base model, the first is {name}: "
                f"the adapter has {found.get(name)}, the base model needs {expected.get(name)}",
                fix="use the base model that the adapter's manifest.json names",
            )
        set_peft_model_state_dict(self.peft_model, dict(weights))

"""What the next optimizer step of a transformers Trainer depends on, for checkpoints like those of our own loop.

A Trainer can write checkpoints itself, a folder each, by `torch.save`, and none when it is interrupted. Here its state
is taken out as tensors instead, and put back at the places where it would read its own files. The order of the examples
needs no keeping: it follows from the seed and the epoch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

_WEIGHT = "weight"
_RATES = "learning_rates"


class TrainerOptimizer:
    """A Trainer's weights, optimizer and scheduler, as `ftzard.core.checkpoints` takes and gives them.

    Args:
        trainer: Made, and not yet at work; on one device.
        parameters: What is trained, in an order that is always the same.

    Attributes:
        num_steps: Updates that were applied and written down.
        is_whole: Whether none is being applied or written down.
    """

    def __init__(self, trainer: Any, parameters: "Sequence[torch.nn.Parameter]") -> None:
        """Nothing is done yet."""
        self._trainer = trainer
        self._parameters = list(parameters)
        self._state: Mapping[str, torch.Tensor] = {}
        self.num_steps = 0
        self.is_whole = True

    def state(self) -> "dict[str, torch.Tensor]":
        """Weights, what AdamW keeps of each, and the learning rate of each group."""
        import torch

        found = {f"{_WEIGHT}.{number:04d}": part.detach() for number, part in enumerate(self._parameters)}
        if self._trainer.optimizer is None:
            return found
        kept = self._trainer.optimizer.state_dict()
        for number, values in kept["state"].items():
            found |= {f"{kind}.{number:04d}": value for kind, value in values.items()}
        rates = [group["lr"] for group in kept["param_groups"]]
        return found | {_RATES: torch.tensor(rates, dtype=torch.float64)}

    def restore(self, state: "Mapping[str, torch.Tensor]", num_steps: int) -> None:
        """Put the weights back at once, and the rest once the Trainer has made its optimizer."""
        import torch

        with torch.no_grad():
            for number, parameter in enumerate(self._parameters):
                parameter.copy_(state[f"{_WEIGHT}.{number:04d}"])
        self._state, self.num_steps = state, num_steps

    def resume_in(self, folder: "Path") -> str | None:
        """Have the Trainer go on from what was restored, with the random numbers of now.

        Args:
            folder: Exists until the training ends.

        Returns:
            What is to be given to `train` as `resume_from_checkpoint`; None where the training begins.
        """
        if not self.num_steps:
            return None
        import torch
        from transformers import TrainerState

        random = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

        def restore_random(_: str | None) -> None:
            torch.set_rng_state(random[0])
            if random[1]:
                torch.cuda.set_rng_state_all(random[1])

        arguments = self._trainer.args
        state = TrainerState(global_step=self.num_steps, train_batch_size=arguments.per_device_train_batch_size)
        state.compute_steps(arguments, self.num_steps)
        state.save_to_json(str(folder / "trainer_state.json"))
        # Its own files would be read here; a test sees when these are called no more.
        for name, instead in {
            "_load_from_checkpoint": lambda *_: None,
            "_load_optimizer_and_scheduler": lambda _: self._put_back(),
            "_load_rng_state": restore_random,
        }.items():
            setattr(self._trainer, name, instead)
        return str(folder)

    def _put_back(self) -> None:
        optimizer, scheduler = self._trainer.optimizer, self._trainer.lr_scheduler
        rates = [float(rate) for rate in self._state[_RATES]]
        groups = [
            group | {"lr": rate} for group, rate in zip(optimizer.state_dict()["param_groups"], rates, strict=True)
        ]
        values: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in self._state.items():
            kind, _, number = name.partition(".")
            if number and kind != _WEIGHT:
                values.setdefault(int(number), {})[kind] = tensor
        optimizer.load_state_dict({"state": values, "param_groups": groups})
        done = {"last_epoch": self.num_steps, "_step_count": self.num_steps + 1, "_last_lr": rates}
        scheduler.load_state_dict(scheduler.state_dict() | done)

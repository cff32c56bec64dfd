"""The moves of the alias `champion`, kept as tags of the registered model, so that they travel with the store."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ftzard.core.champion_records import AliasMove
from ftzard.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PREFIX: Final = "ftzard.move."
# A store may cut longer values off; who and why are for people, and what is cut says so.
_MAX_WORDS: Final = 1000


@dataclass(frozen=True)
class AliasHistory:
    """The moves of one registered model's alias.

    Args:
        client: MLflow's.
        name: The registered model.
    """

    client: "MlflowClient"
    name: str

    def moves(self) -> tuple[AliasMove, ...]:
        """Every move, oldest first.

        Raises:
            TrackingError: A tag holds no move.
        """
        return tuple(move for _, move in sorted(self._numbered().items()))

    def append(self, move: AliasMove) -> str:
        """Write a move down; returns the key to take it back with."""
        shortened = AliasMove(
            move.at, move.kind, move.from_version, move.to_version, _shortened(move.by), _shortened(move.why)
        )
        key = f"{_PREFIX}{max(self._numbered(), default=0) + 1}"
        self.client.set_registered_model_tag(self.name, key, json.dumps(shortened.to_dict(), ensure_ascii=False))
        return key

    def remove(self, key: str) -> None:
        """Take back a move that did not happen."""
        self.client.delete_registered_model_tag(self.name, key)

    def _numbered(self) -> dict[int, AliasMove]:
        models = self.client.search_registered_models(f"name = '{self.name}'")
        tags = models[0].tags if models else {}
        try:
            return {
                int(key.removeprefix(_PREFIX)): AliasMove.from_dict(json.loads(value))
                for key, value in tags.items()
                if key.startswith(_PREFIX)
            }
        except ValueError as error:
            raise TrackingError(
                f"a tag {_PREFIX}* of the registered model {self.name} holds no move of the alias: {error}",
                fix="delete that tag of the registered model in MLflow",
            ) from error


def _shortened(words: str) -> str:
    return words if len(words) <= _MAX_WORDS else f"{words[: _MAX_WORDS - 1]}…"

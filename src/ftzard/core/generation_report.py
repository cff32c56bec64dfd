"""What an evaluation of written answers says: plain records that hold no NaN and travel as strict JSON."""

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ftzard.core.documents import JsonDocument
from ftzard.core.evaluation_report import Interval, Verdict

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class AnswerScores:
    """The scores of one model.

    Attributes:
        name: For people.
        metrics: Each with its 95 % interval. For generation `exact_match`, `token_f1`, `chrf` (higher is better) and
            `perplexity` (of the completions that were asked for; lower is better). For preference
            `preference_accuracy` (how often the chosen answer is likelier than the rejected one; higher is better), the
            same `_per_token` (by the mean over each one's tokens), `margin` (mean log-probability of the chosen answer
            minus that of the rejected one, in nats; higher is better), `perplexity` of the chosen answers.
    """

    name: str
    metrics: dict[str, Interval]


@dataclass(frozen=True, config=_STRICT)
class GenerationReport(JsonDocument):
    """An adapter's answers for the test split, judged beside those of the same model without it.

    Attributes:
        task: What the adapter was trained for.
        metric: What the verdict is about.
        num_train: Rows of the train split.
        num_test: Rows of the test split, which all numbers rest on.
        test_fingerprint: Identifies the test split; two reports compare only where it is equal.
        adapter: The model with the adapter.
        untrained: The same model without it, asked the same and answering in the same way.
        differences: Adapter minus untrained, of each metric, with the paired 95 % interval.
        verdict: Whether the adapter is better or worse by `metric`, or whether these rows cannot tell.
        sentence: The verdict in words.
        reward_accuracy: For preference: on which share of the pairs the adapter raised the chosen answer above the
            rejected one, whatever their order was before (accuracy of DPO's implicit reward); None for generation.
    """

    task: Literal["generation", "preference"]
    metric: str
    num_train: int
    num_test: int
    test_fingerprint: str
    adapter: AnswerScores
    untrained: AnswerScores
    differences: dict[str, Interval]
    verdict: Verdict
    sentence: str
    reward_accuracy: Interval | None = None

    @property
    def difference(self) -> Interval:
        """That of `metric`."""
        return self.differences[self.metric]

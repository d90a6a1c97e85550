"""The evaluator–optimizer loop: a draft is written, scored and revised until the score is good enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Draft:
    text: str
    tokens: int


@dataclass(frozen=True)
class Review:
    score: float
    feedback: str
    tokens: int


class Model(Protocol):
    """Writes and reviews. The tokens of an answer are those that the call has cost."""

    def write(self, prompt: str, draft: str, feedback: str) -> Draft: ...

    def review(self, prompt: str, draft: str) -> Review: ...


@dataclass(frozen=True)
class Outcome:
    """``stop_reason`` is ``evaluator_stop`` where the evaluator was satisfied, else ``max_iterations``."""

    text: str
    stop_reason: str
    iterations: int
    total_tokens: int
    final_score: float

    @property
    def converged(self) -> bool:
        return self.stop_reason == "evaluator_stop"


def optimize(
    prompt: str,
    model: Model,
    *,
    max_iterations: int,
    threshold: float,
    progress: Callable[[int, int], None] = lambda iterations, tokens: None,
) -> Outcome:
    """Draft and review until a score reaches ``threshold``, at most ``max_iterations`` (1 or more) times.

    ``progress`` is told the iterations done and the tokens spent so far, after each iteration.
    """
    if max_iterations < 1:
        raise ValueError("max_iterations must be at least 1")
    text, feedback, tokens = "", "", 0
    for iteration in range(1, max_iterations + 1):
        draft = model.write(prompt, text, feedback)
        review = model.review(prompt, draft.text)
        text, feedback, tokens = draft.text, review.feedback, tokens + draft.tokens + review.tokens
        progress(iteration, tokens)
        if review.score >= threshold:
            return Outcome(text, "evaluator_stop", iteration, tokens, review.score)
    return Outcome(text, "max_iterations", max_iterations, tokens, review.score)

"""A model that needs no provider: what it says follows from the prompt alone, so a job gives the same text anywhere."""

from __future__ import annotations

import re
import time
from random import Random

from app.loop import Draft, Review

_FILLERS = ("clear", "plain", "short", "today", "with", "care", "and", "for", "everyone", "again", "first", "always")
_ADVICE = ("say it in fewer words", "begin with the reader", "name an example", "keep one thought a sentence")


class ContextExceeded(ValueError):
    """The prompt does not fit into the model's context."""


class SeededModel:
    """Stands in for a language model. A call takes ``seconds``, and ``context`` is how many tokens fit into one."""

    def __init__(self, prompt: str, *, seconds: float = 0.0, context: int = 8192) -> None:
        if (needed := count_tokens(prompt)) > context:
            raise ContextExceeded(f"the prompt takes {needed} tokens, the context holds {context}")
        # A text as seed gives the same numbers in every process and version of Python (random.seed, version 2).
        self._random = Random(prompt)
        self._seconds = seconds
        self._score = self._random.uniform(0.3, 0.7)

    def write(self, prompt: str, draft: str, feedback: str) -> Draft:
        time.sleep(self._seconds)
        vocabulary = [*dict.fromkeys(re.findall(r"\w+", prompt.lower())), *_FILLERS]
        text = f"{' '.join(self._random.choices(vocabulary, k=24)).capitalize()}."
        return Draft(text, self._cost(prompt, draft, feedback, text))

    def review(self, prompt: str, draft: str) -> Review:
        """Each draft closes a part of the gap between the last score and 1."""
        time.sleep(self._seconds)
        self._score += (1 - self._score) * self._random.uniform(0.1, 0.5)
        feedback = self._random.choice(_ADVICE)
        return Review(self._score, feedback, self._cost(prompt, draft, feedback))

    def _cost(self, *texts: str) -> int:
        """Tokens in and out, and those that a model spends on thinking."""
        return sum(map(count_tokens, texts)) + self._random.randrange(1_000, 5_000)


def count_tokens(text: str) -> int:
    """About four tokens to three words, as of English prose."""
    return len(text.split()) * 4 // 3

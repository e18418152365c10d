"""Reads specialists of the first format: logistic regression over n-grams, which knows nothing of scope and scores."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.learned.classifier import Field, Specialist
from orchestrator.learned.heads import SIGNS_OF_TERMS
from orchestrator.learned.ngrams import NGrams

FORMAT: Final = "rightsize-specialist-1"


def specialist(document: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Specialist:
    """The same specialist in today's form: every text is in its scope, and its score is the label's probability."""
    accept = np.zeros(SIGNS_OF_TERMS + 1, np.float32)
    accept[0] = 1  # the first sign is the log odds of the likeliest label
    labels = document["labels"]
    heads = {
        "terms_coef": arrays["coef"],
        "terms_intercept": arrays["intercept"],
        "pool": np.ones(1, np.float32),
        "accept": accept,
        "accept_mean": np.zeros(SIGNS_OF_TERMS, np.float32),
        "accept_scale": np.ones(SIGNS_OF_TERMS, np.float32),
        "class_logit": np.zeros(len(labels), np.float32),
    }
    ngrams = NGrams(document["words"], document["chars"], arrays["word_idf"], arrays["char_idf"])
    return Specialist([Field(None, labels, heads)], ngrams, np.array([-1.0], np.float32))

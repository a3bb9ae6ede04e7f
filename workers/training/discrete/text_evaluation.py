"""How near generated texts are to held-out ones, beside how near real ones are to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.training.discrete.language_judge import LanguageJudge, nats_per_character
from workers.training.discrete.measures import compare, longest_copied, mean, ngrams, unigram_entropy
from workers.training.texts import VOCABULARY

ORDERS = (1, 2, 3, 4)


def text_figures(
    arms: dict[str, NDArray[Any]],
    reference: NDArray[Any],
    judge: LanguageJudge,
    trained_on: NDArray[Any],
    *,
    draws: int,
) -> dict[str, Any]:
    """Figures with 95 % intervals.

    ngram_<k>: total variation distance of the runs of k characters to the reference's; the arm of real texts
    gives the floor at this size. nats: a character under the independent judge. entropy: of a text's own
    characters, in nats; fewer nats are a gain only where it stays. copied: longest run, in characters, that
    stands in the training text.

    Args:
        arms: tokens (N, 128) by name.
        reference: held-out tokens (M, 128).
        judge: the reader.
        trained_on: the generator's corpus, (n,).
        draws: of the bootstrap.
    """
    size = VOCABULARY.size
    report: dict[str, Any] = {}
    for order in ORDERS:
        codes = {name: ngrams(tokens, order, size) for name, tokens in arms.items()}
        report[f"ngram_{order}"] = compare(codes, ngrams(reference, order, size), draws=draws)
    everyone = {**arms, "reference": reference}
    for figure in ("nats", "entropy", "copied"):
        report[figure] = {}
    for name, tokens in everyone.items():
        nats = nats_per_character(torch.from_numpy(tokens).long(), judge).numpy()
        copied = longest_copied(tokens, trained_on).astype(np.float64)
        values = {"nats": nats, "entropy": unigram_entropy(tokens, size), "copied": copied}
        for figure, numbers in values.items():
            report[figure][name] = mean(numbers, draws=draws).as_record()
    return report

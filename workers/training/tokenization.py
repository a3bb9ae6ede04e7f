"""Train the two tokenizers of `flux-tiny` on the captions' own words.

Both keep a whole word in one piece, so that every caption fits `TEXT_TOKENS`; letters stand in for words that
no caption has.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, product

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer, T5Tokenizer

from workers.training.architecture import TEXT_TOKENS
from workers.training.objects import BACKGROUNDS, OBJECTS, POSITIONS, RELATIONS, SIZES
from workers.training.scenes import Attributes, caption_of


def caption_corpus() -> list[str]:
    """Captions that hold every word of the grammar, many times over."""
    corpus: list[str] = []
    for name, background in product(OBJECTS, BACKGROUNDS):
        for size, position in product(SIZES, POSITIONS):
            single = Attributes((name,), 1, background, size, position)
            corpus += [caption_of(single), caption_of(single, coloured=True)]
        corpus += [caption_of(Attributes((name,), count, background)) for count in (2, 3)]
        pairs = [Attributes((name, "apple"), 2, background, relation=relation) for relation in RELATIONS]
        corpus += [caption_of(pair) for pair in pairs]
    return corpus


def train_clip_tokenizer() -> CLIPTokenizer:
    """CLIP's byte-pair encoding; merges go on until every word of the captions is one piece.

    The usual trainer breaks ties by the order of a hash table, another one in every process. Ranks and
    exports must agree on every id, so ties go to the alphabet here.
    """
    words = Counter(word for caption in caption_corpus() for word in caption.split())
    merges = learn_merges({(*word[:-1], f"{word[-1]}</w>"): count for word, count in words.items()})
    alphabet = sorted(ByteLevel.alphabet())
    pieces = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(f"{letter}</w>" for letter in alphabet)]
    pieces += [left + right for left, right in merges]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TEXT_TOKENS)


def learn_merges(words: dict[tuple[str, ...], int]) -> list[tuple[str, str]]:
    """Merge the most frequent neighbours, first in the alphabet of equals, until every word is one symbol."""
    merges = []
    while any(len(symbols) > 1 for symbols in words):
        counts: Counter[tuple[str, str]] = Counter()
        for symbols, count in words.items():
            for pair in pairwise(symbols):
                counts[pair] += count
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        words = {_merge(symbols, best): count for symbols, count in words.items()}
    return merges


def _merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return tuple(merged)


def train_t5_tokenizer(corpus: Sequence[str] | None = None, max_length: int = TEXT_TOKENS) -> T5Tokenizer:
    """A unigram model over space-marked words, estimated by counting them; `</s>` at the end.

    Counting is the exact maximum-likelihood estimate when every word is its own piece. Single letters carry
    words that no caption has, at a score no split of a known word can beat. Without a corpus: the scenes'.
    """
    corpus = caption_corpus() if corpus is None else corpus
    words = Counter(word for caption in corpus for word in caption.split())
    words += Counter(caption.capitalize().split()[0] for caption in corpus)
    total = sum(words.values())
    known = [(f"\u2581{word}", math.log(count / total)) for word, count in sorted(words.items())]
    letters = [(letter, -20.0) for letter in ("\u2581", *string.printable) if not letter.isspace()]
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -30.0)]
    return T5Tokenizer(vocab=specials + known + letters, extra_ids=0, model_max_length=max_length)

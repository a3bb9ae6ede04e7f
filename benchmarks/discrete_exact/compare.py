"""From which NFE ours beats the rivals at equal wall clock, without losing entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.discrete_exact.long_chain import TRUTH, chain

OURS = "ours"
RIVALS = ("Euler", "Tweedie", "tau-leaping", "CTMC 1.5", "theta-trapezoidal")
ENTROPY_SLACK = 0.01
Row = Mapping[str, Any]


def comparisons(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A line for every length and NFE of ours: its TV over each rival's in the same seconds."""
    result = []
    for ours in (row for row in rows if row["sampler"] == OURS):
        others = {
            name: [row for row in rows if row["sampler"] == name and row["d"] == ours["d"]] for name in RIVALS
        }
        at = {name: tv_at(points, ours["seconds"]) for name, points in others.items()}
        ratios = {name: None if tv is None else ours["bigram_tv"] / tv for name, tv in at.items()}
        known = [ratio for ratio in ratios.values() if ratio is not None]
        kept = keeps_entropy(ours)
        wins = kept and len(known) == len(RIVALS) and max(known) < 1
        result.append(
            {"d": ours["d"], "nfe": ours["nfe"], "ratios": ratios, "entropy_kept": kept, "wins": wins}
        )
    return result


def tv_at(points: Sequence[Row], seconds: float) -> float | None:
    """A rival's bigram TV in `seconds`, on a log-log line between its runs; None beyond them."""
    ordered = sorted(points, key=lambda row: row["seconds"])
    for left, right in pairwise(ordered):
        if left["seconds"] <= seconds <= right["seconds"]:
            share = math.log(seconds / left["seconds"]) / math.log(right["seconds"] / left["seconds"])
            ends = math.log(left["bigram_tv"]), math.log(right["bigram_tv"])
            return math.exp(ends[0] + share * (ends[1] - ends[0]))
    return None


def keeps_entropy(row: Row) -> bool:
    """Both entropies within 1 % of the truth."""
    source = chain(row["d"])
    unigram = row["unigram_entropy"] / source.unigram_entropy - 1
    return max(abs(unigram), abs(row["sequence_entropy"] / source.entropy - 1)) <= ENTROPY_SLACK


def crossings(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """From which NFE on exact updates of one site beat plain Euler in bigram TV; None: nowhere measured."""
    result = []
    for length in sorted({row["d"] for row in rows}):
        tv = {(row["sampler"], row["nfe"]): row["bigram_tv"] for row in rows if row["d"] == length}
        nfes = sorted({nfe for name, nfe in tv if name == "Euler" and ("exact L=1", nfe) in tv})
        better = [nfe for nfe in nfes if tv["exact L=1", nfe] < tv["Euler", nfe]]
        lost = [nfe for nfe in nfes if nfe not in better]
        after = [nfe for nfe in better if not lost or nfe > max(lost)]
        result.append({"d": length, "exact_beats_euler_from": min(after, default=None)})
    return result


def as_markdown(rows: Sequence[Row], command: str) -> str:
    """A table a length, then what beats what."""
    lines = [
        "## A chain of 64 and 128 tokens, exact scores",
        "",
        f"`{command}`",
        "",
        "Entropies and NLL in nats a token. The threshold of `gadd-paper` and `sync` sharpens: it lowers NLL"
        " and entropy together, which is no gain.",
        "",
    ]
    for length in sorted({row["d"] for row in rows}):
        lines += _table([row for row in rows if row["d"] == length], length)
    lines += ["Ours over each rival in bigram TV at equal wall clock:", ""]
    lines += [
        f"| d | NFE | {' | '.join(RIVALS)} | entropies within 1 % | wins |",
        "|---" * (len(RIVALS) + 4) + "|",
    ]
    lines += [_comparison(each) for each in comparisons(rows)]
    for each in crossings(rows):
        where = each["exact_beats_euler_from"] or "no NFE measured"
        lines += [
            "",
            f"d = {each['d']}: one exact update a step beats plain Euler in bigram TV from {where} on.",
        ]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row], length: int) -> list[str]:
    source = chain(length)
    truth = f"{source.unigram_entropy:.3f} and {source.entropy:.3f}"
    return [
        f"### d = {length}; true unigram and sequence entropy {truth}",
        "",
        "| sampler | NFE | bigram TV | two apart | NLL | unigram entropy | sequence entropy | seconds |",
        "|---" * 8 + "|",
        *(_line(row) for row in sorted(rows, key=lambda row: (row["nfe"], row["sampler"] != TRUTH))),
        "",
    ]


def _line(row: Row) -> str:
    names = ("bigram_tv", "skip_tv", "nll", "unigram_entropy", "sequence_entropy")
    figures = " | ".join(f"{row[name]:.4f}" for name in names)
    return f"| {row['sampler']} | {row['nfe'] or '-'} | {figures} | {row['seconds']:.1f} |"


def _comparison(each: Mapping[str, Any]) -> str:
    ratios = " | ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in each["ratios"].values())
    verdicts = " | ".join("yes" if each[name] else "no" for name in ("entropy_kept", "wins"))
    return f"| {each['d']} | {each['nfe']} | {ratios} | {verdicts} |"

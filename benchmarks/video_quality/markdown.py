"""The report as a page: command on top, aims, the table at the matched share, adaptivity, all arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]

_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("share", "share", ".3f"),
    ("spent", "spent", ".3f"),
    ("time", "time", ".2f"),
    ("direction", "direction", ".3f"),
    ("colour", "colour", ".3f"),
    ("object", "object", ".3f"),
    ("speed", "speed", ".3f"),
    ("speed_rank", "rank", ".2f"),
    ("shimmer", "flicker", ".3f"),
)
_NEAR = 0.03
_LEGEND = """\
share: FLOP of the denoiser counted while it ran, over the teacher's unabridged run; spent: what receipts
say of the same. time: wall clock of denoising over the unabridged run's; with other work on the cores no
more than an indication, the clock's own table was taken in pairs. direction, colour, object, speed: share
of the movers asked for that are seen right, by tracking and, the object, by the judge; rank: correlation
of the speeds asked for and seen. motion: displacement over the teacher's. flicker: mean absolute second
difference of frames where no object is, levels of 255, and over the teacher's in brackets. distance:
relative L2 of the latents to the unabridged run, with its 95 % bootstrap interval. kept: whether
direction, colour and object are non-inferior to the teacher by 2 points, all movers of a clip right, one-
sided 95 % (Tango's score interval); else the lower bounds that fail."""


def page(report: Report) -> str:
    """The whole page.

    Args:
        report: what `docs/results/pare.json` holds.
    """
    table = [row for row in report["rows"] if row["captions"] == "all"]
    matched = [row for row in table if row["group"] == "reference" or _near(row, report["matched"])]
    parts = [f"`{report['command']}`", _facts(report), "![accuracy over compute](pare.png)"]
    parts += ["## Aims", _aims(report["aims"])]
    parts += ["## At equal FLOPs", _table(matched), "## Clock", _clock(report["clock"])]
    parts += ["## Easy and hard captions", _adaptivity(report["adaptivity"])]
    parts += ["## All arms", _table(sorted(table, key=lambda row: (row["line"], -(row["share"] or 1))))]
    if report["refused"]:
        parts += ["## Not run", _refused(report["refused"])]
    return "\n\n".join([*parts, _LEGEND]) + "\n"


def _near(row: Report, matched: float) -> bool:
    return row["share"] is not None and abs(row["share"] - matched) <= _NEAR


def _facts(report: Report) -> str:
    students = ", ".join(report["students"]) or "none"
    counts = f"{report['pairs']:,} held-out (caption, seed) pairs of references and deciding arms"
    return (
        f"{counts}, {report['steps']} steps, float32, one thread a process, {report['date']}, "
        f"{report['machine']}. Teacher {report['teacher']}, students: {students}. DBPrune's settings: "
        f"{report['peers_sha256'] or 'none'}. Code: {', '.join(report['code'])}. Load while running: "
        f"{report['load']:.1f}."
    )


def _aims(aims: Sequence[Report]) -> str:
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines = ["| must show | found | limit | met |", "|---|---|---|---|"]
    lines += [
        f"| {aim['aim']} | {_cell(aim['found'], '.3f')} | {aim['limit']:.3g} | {words[aim['met']]} |"
        for aim in aims
    ]
    return "\n".join(lines)


def _table(rows: Sequence[Report]) -> str:
    heads = [head for _, head, _ in _COLUMNS]
    lines = [
        f"| arm | pairs | {' | '.join(heads)} | motion | distance | kept |",
        "|---" * (len(heads) + 5) + "|",
    ]
    return "\n".join([*lines, *map(_line, rows)])


def _line(row: Report) -> str:
    cells = [_cell(row.get(key), form) for key, _, form in _COLUMNS]
    if row.get("shimmer_ratio"):
        cells[-1] += f" ({row['shimmer_ratio']['estimate']:.2f} x)"
    motion, latent = row.get("motion"), row.get("latent")
    cells += [
        _cell(motion and motion["estimate"], ".3f"),
        f"{latent['estimate']:.4f} [{latent['low']:.4f}, {latent['high']:.4f}]" if latent else "-",
        _kept(row.get("kept")),
    ]
    shown = f"**{row['arm']}**" if row["group"] == "ours" else row["arm"]
    setting = (
        f" {' '.join(format(value, 'g') for value in row['setting'].values())}" if row["setting"] else ""
    )
    return f"| {shown}{setting} | {row['pairs']:,} | {' | '.join(cells)} |"


def _kept(verdicts: Report | None) -> str:
    if verdicts is None:
        return "-"
    failed = [f"{figure} {each['low']:+.3f}" for figure, each in verdicts.items() if not each["holds"]]
    return ", ".join(failed) or "yes"


def _clock(clock: Sequence[Report]) -> str:
    if not clock:
        return "Not taken: it wants idle cores (`--clock`)."
    lines = [
        "| arm | clips at once | denoising | end to end | seconds | full |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {row['arm']} | {row['batch']} | {row['denoise']:.3f} | {row['total']:.3f} | {row['seconds']:.3f} "
        f"| {row['full_seconds']:.3f} |"
        for row in clock
    ]
    return "\n".join(lines)


def _adaptivity(told: Report | None) -> str:
    if told is None:
        return "Not measured."
    lines = ["| arm and captions | share | all right |", "|---|---|---|"]
    lines += [
        f"| {name} | {each['share']:.3f} | {each['right']:.3f} |"
        for name, each in told.items()
        if name != "gain_hard"
    ]
    gain = told["gain_hard"]
    lines += [
        "",
        f"On {gain['pairs']} hard captions adaptive minus fixed is {gain['difference']:+.3f}, at least "
        f"{gain['low']:+.3f} (one-sided 95 %). Easy: one slow object. Hard: two fast ones.",
    ]
    return "\n".join(lines)


def _refused(refused: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {reason}" for name, reason in refused.items())


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

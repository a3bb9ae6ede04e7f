"""The report as a page: command on top, aims, ratios, a table a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.quality_vs_compute.arms import FAMILIES, PLAIN, peer_line

Report = Mapping[str, Any]

NEAR_BUDGET = 0.05
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("spent", "spent", ".3f"),
    ("time", "time", ".2f"),
    ("mean", "mean", ".4f"),
    ("p95", "95 %", ".4f"),
    ("p99", "99 %", ".4f"),
    ("worst", "worst", ".3f"),
    ("tail", "tail", ".4f"),
    ("psnr", "PSNR", ".1f"),
    ("ssim", "SSIM", ".4f"),
    ("feature", "feature", ".4f"),
    ("kid_real", "KID real", ".2f"),
    ("kid_full", "KID full", ".2f"),
    ("everything", "judge", ".3f"),
    ("confidence", "sure", ".3f"),
    ("ode", "to ODE", ".4f"),
)
_LEGEND = """\
spent: FLOP of the denoiser that ran, over the unabridged run's. time: wall clock of denoising, over that of
the same loop unabridged (our engine with eight rows in flight; the pipeline one by one). mean, percentiles,
worst, tail (mean of the worst 5 %): relative L2 of the final latents to the unabridged run, the mean with its
95 % bootstrap interval. PSNR (dB, at most 100), SSIM, feature (1 - cosine of EfficientNet-Lite0 features): of
the images, to the same. KID on EfficientNet-Lite0 features, x 1,000: to real scenes of the captions, and to
the unabridged run's images. judge: the share of captions of which the judge reads everything; sure: the mean
probability it gives to them. to ODE: relative L2 to Heun's method, first pairs only. First our own methods,
all through the same engine; then of each released peer the setting nearest to ours in spent."""


def page(report: Report) -> str:
    """The whole page.

    Args:
        report: what `docs/results/softcap.json` holds.
    """
    parts = [f"`{report['command']}`", _facts(report), "![distance over compute](softcap.png)"]
    parts += ["## Aims", _aims(report["aims"]), "## Ratios", _ratios(report["ratios"])]
    parts += ["## Judge and references", _judge(report["judge"]), _references(report["rows"])]
    parts += ["## Safety", _safety(report["safety"])]
    for each in report["ratios"]:
        parts += [f"## Budget {each['budget']:g}", _table(report["rows"], each)]
    return "\n\n".join([*parts, _LEGEND]) + "\n"


def _facts(report: Report) -> str:
    calibration = report["calibration"] or "none: every method under its defaults"
    versions = ", ".join(report["code"])
    return (
        f"{report['pairs']:,} held-out (caption, seed) pairs, {report['steps']} steps, float32, one thread a "
        f"process, {report['date']}, {report['machine']}. Calibration: {calibration}. Peers' settings: "
        f"{report['peers_sha256'] or 'none'}. Code: {versions}. Load while running: {report['load']:.1f}; "
        "with other work on the cores, times are no more than an indication."
    )


def _aims(aims: Sequence[Report]) -> str:
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines = ["| aim | found | limit | met |", "|---|---|---|---|"]
    lines += [
        f"| {aim['aim']} | {_cell(aim['found'], '.3f')} | {aim['limit']:g} | {words[aim['met']]} |"
        for aim in aims
    ]
    return "\n".join(lines)


def _ratios(ratios: Sequence[Report]) -> str:
    names = [*FAMILIES, "peers"]
    lines = [
        "Mean distance of ours over the best of each, at our share of FLOPs: on the front of all settings, "
        "interpolated, and (in brackets) to the best single setting within .03 of it, on the same pairs. "
        "Against the searched static schedule and our own path without adaptivity: mean, and tail.",
        "",
        f"| budget | spent | {' | '.join(names)} | static, mean | static, tail | fixed, mean | fixed, tail |",
        "|---" * (len(names) + 6) + "|",
    ]
    for each in ratios:
        cells = [_against(each["families"][name]) for name in FAMILIES] + [_against(each["peers"])]
        cells += [
            _interval(each[rival], figure) for rival in ("static", "fixed") for figure in ("mean", "tail")
        ]
        lines.append(f"| {each['budget']:g} | {each['spent']:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _against(compared: Report) -> str:
    if compared["ratio"] is None:
        least = compared["least_share"]
        return "no setting" if least is None else f"not below {least:.2f}"
    near = compared["paired"]
    return f"{compared['ratio']:.2f}" + (f" ({_interval(near, 'mean')}, {near['arm']})" if near else "")


def _interval(compared: Report | None, figure: str) -> str:
    if compared is None:
        return "-"
    found = compared[figure]
    return f"{found['estimate']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _judge(judge: Mapping[str, Report]) -> str:
    lines = ["| figure | pairs | ours | full | difference | lower bound | within a point |", "|---" * 7 + "|"]
    for figure, each in judge.items():
        shares = f"{each['ours']:.4f} | {each['full']:.4f} | {each['difference']:+.4f} | {each['low']:+.4f}"
        lines.append(f"| {figure} | {each['pairs']:,} | {shares} | {'yes' if each['holds'] else '**no**'} |")
    return "\n".join(lines)


def _references(rows: Sequence[Report]) -> str:
    by_line = {row["line"]: row for row in rows}
    full, plain = by_line["full"], by_line.get(PLAIN)
    told = (
        f"Unabridged: judge {_cell(full['everything'], '.3f')}, sure {_cell(full['confidence'], '.3f')}, "
        f"KID to real scenes {_cell(full['kid_real'], '.2f')}, to the ODE {_cell(full['ode'], '.4f')}."
    )
    return told + (f" The pipeline without a cache strays {plain['worst']:g} from it." if plain else "")


def _safety(safe: Sequence[Report]) -> str:
    lines = ["| budget | runs | beyond .15 | worst |", "|---|---|---|---|"]
    lines += [
        f"| {each['budget']:g} | {each['pairs']:,} | {each['far']} | {each['worst']:.3f} |" for each in safe
    ]
    return "\n".join(lines)


def _table(rows: Sequence[Report], compared: Report) -> str:
    own = [row for row in rows if row["budget"] == compared["budget"]]
    lines = [
        f"| arm | pairs | {' | '.join(head for _, head, _ in _COLUMNS)} |",
        "|---" * (len(_COLUMNS) + 2) + "|",
    ]
    lines += [_line(row["line"], row) for row in sorted(own, key=lambda row: float(row["mean"]))]
    return "\n".join(lines + _peer_lines(rows, compared["spent"]))


def _peer_lines(rows: Sequence[Report], share: float) -> list[str]:
    """A line a peer: its setting nearest to the share, or what its cheapest costs."""
    lines = []
    for name in (peer_line(family, name) for family, names in FAMILIES.items() for name in names):
        settings = [row for row in rows if row["line"] == name]
        if not settings:
            continue
        nearest = min(settings, key=lambda row: abs(row["spent"] - share))
        if abs(nearest["spent"] - share) <= NEAR_BUDGET:
            lines.append(_line(f"{name} {_setting(nearest)}", nearest))
        else:
            least = min(row["spent"] for row in settings)
            reason = f"no setting below {least:.2f}" if least > share else "no setting so near"
            lines.append(f"| {name} | {reason} |{' |' * len(_COLUMNS)}")
    return lines


def _setting(row: Report) -> str:
    return " ".join(format(value, "g") for value in row["setting"].values())


def _line(name: str, row: Report) -> str:
    cells = [_cell(row.get(key), form) for key, _, form in _COLUMNS]
    cells[2] += f" [{row['low']:.4f}, {row['high']:.4f}]"
    shown = f"**{name}**" if row["line"] == "ours" else name
    return f"| {shown} | {row['pairs']:,} | {' | '.join(cells)} |"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

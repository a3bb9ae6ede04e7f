"""The page of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.jlt.report import FIGURES

_NAMES = {"x0": "clean latent", "flow": "velocity"}
_GAPS = {
    "paired": "all seeds",
    "best_guidance": "all seeds, each at its own best guidance",
    "first_seed": "the first seed",
    "whitened": "the first seed, whitened latents",
    "skip": "the first seed, free skip",
}


def as_markdown(report: Mapping[str, Any]) -> str:
    """Verdicts first, then gaps, curves, guidance and the spectrum."""
    parts = (
        _head(report),
        _verdicts(report),
        _gaps(report),
        _curves(report),
        _sweep(report),
        _spectrum(report),
    )
    return "\n".join(line for part in parts for line in (*part, "")).rstrip() + "\n"


def _head(report: Mapping[str, Any]) -> list[str]:
    settings, floor = report["settings"], report["floor"]
    training, sampling, network = settings["training"], settings["sampling"], settings["network"]
    blocks = f"{network['num_layers']} + {network['num_single_layers']} blocks"
    width, last = 32 * network["num_attention_heads"], training["num_steps"]
    read = f"object {100 * floor['object']:.1f} %, colour {100 * floor['background']:.1f} %"
    return [
        f"`{report['command']}`",
        "",
        f"One FLUX transformer ({blocks}, {width} wide) on `flux-tiny`'s frozen autoencoder,",
        f"{last:,} steps of {training['batch']} rows, seeds {settings['seeds']}; only the readout differs.",
        f"{sampling['num_images']} unique held-out captions, Heun in {sampling['num_steps']} steps,",
        f"guidance {sampling['guidance']:g} above {sampling['guided_from']:g} of data; KID on",
        "EfficientNet-Lite0 features. Reconstructions of real scenes, the floor: KID "
        f"{floor['kid']:.4f}, {read}.",
        f"{report['machine']}.",
        "",
        "![KID, object and colour against training steps](jlt.png)",
    ]


def _verdicts(report: Mapping[str, Any]) -> list[str]:
    rows = [f"| {asked} | {'yes' if so else '**no**'} |" for asked, so in report["verdicts"].items()]
    return ["| asked | found |", "|---|---|", *rows]


def _gaps(report: Mapping[str, Any]) -> list[str]:
    lines = [
        "| at the last step | KID clean latent | KID velocity | velocity / clean | gain | by seed |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in _GAPS.items():
        gap = report["gaps"][name]
        seeds = ", ".join(f"{ratio:.2f}" for ratio in gap["by_seed"])
        figures = (
            f"{gap['x0']:.4f} | {gap['flow']:.4f} | {gap['ratio']:.2f} | {100 * gap['gain']:.0f} % | {seeds}"
        )
        lines.append(f"| {title} | {figures} |")
    return lines


def _curves(report: Mapping[str, Any]) -> list[str]:
    lines = [
        "Mean over seeds, and the deviation.",
        "",
        "| target | step | KID | object | colour |",
        "|---" * 5 + "|",
    ]
    for point in report["curves"]:
        kid, *shares = (point[figure] for figure in FIGURES)
        cells = [f"{kid['mean']:.4f} ± {kid['deviation']:.4f}"]
        cells += [f"{100 * each['mean']:.1f} ± {100 * each['deviation']:.1f} %" for each in shares]
        lines.append(f"| {_NAMES[point['target']]} | {point['step']:,} | {' | '.join(cells)} |")
    return lines


def _sweep(report: Mapping[str, Any]) -> list[str]:
    last = max(row["step"] for row in report["rows"])
    lines = [
        "Every run at the last step.",
        "",
        "| run | guidance | KID | object | colour |",
        "|---" * 5 + "|",
    ]
    for row in sorted(report["rows"], key=lambda row: (row["arm"], row["guidance"])):
        if row["step"] == last:
            shares = " | ".join(f"{100 * row[figure]:.1f} %" for figure in FIGURES[1:])
            lines.append(f"| {row['arm']} | {row['guidance']:g} | {row['kid']:.4f} | {shares} |")
    return lines


def _spectrum(report: Mapping[str, Any]) -> list[str]:
    lines = [
        "Covariance of the latents.",
        "",
        "| latents | of | dimensions | effective rank | largest, least |",
    ]
    lines.append("|---" * 5 + "|")
    for kind, parts in report["spectrum"].items():
        for part, found in parts.items():
            values = found["eigenvalues"]
            ends = f"{values[0]:.3g}, {values[-1]:.3g}"
            lines.append(
                f"| {kind} | {part} | {found['dimensions']} | {found['effective_rank']:.1f} | {ends} |"
            )
    return lines

"""How well `flux-tiny` follows 1,000 held-out captions, read by judges that never saw a generated image.

    python -m benchmarks.reference_quality

Writes docs/results/reference_quality.json and .md, and a contact sheet. Columns: real scenes of the same
captions, their reconstructions by the autoencoder, generated images (28 steps, one lane, bf16), and generated
images held against shuffled captions, which must be at chance.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline
from PIL import Image

from workers.training.autoencoder import reconstruct
from workers.training.evaluation import contact_sheet, figures, generate
from workers.training.judge import READERS
from workers.training.scenes import Attributes, caption_of, scene_of, unique_attributes

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SEED = 7  # of the captions and the first image; the training pool and the judges draw from other streams
Table = dict[str, dict[str, dict[str, float]]]


def measure(pipeline: FluxPipeline, wanted: list[Attributes], steps: int) -> tuple[Table, list[Image.Image]]:
    """Figures by judge and column, and the generated images."""
    rng = random.Random(f"reference-quality-{SEED}")
    real = [scene_of(attributes, rng).image for attributes in wanted]
    made = generate(pipeline, [caption_of(each) for each in wanted], seed=SEED, num_inference_steps=steps)
    shuffled = rng.sample(wanted, len(wanted))
    columns = {
        "real": (real, wanted),
        "reconstructed": (reconstruct(pipeline.vae, real), wanted),
        "generated": (made, wanted),
        "shuffled": (made, shuffled),
    }
    table: Table = {}
    for reader in READERS:
        table[reader] = {name: figures(images, truth, reader) for name, (images, truth) in columns.items()}
    return table, made


def as_markdown(command: str, captions: int, steps: int, table: Table) -> str:
    """The table, command on top."""
    lines = [
        f"`{command}`",
        "",
        f"{captions:,} unique held-out captions, {steps} steps, one lane, bf16. Percent right.",
        "",
    ]
    for reader, columns in table.items():
        lines += [
            f"**Judge `{reader}`**",
            "",
            f"| figure | {' | '.join(columns)} |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for figure in columns["real"]:
            cells = " | ".join(f"{100 * column[figure]:.1f}" for column in columns.values())
            lines.append(f"| {figure} | {cells} |")
        lines.append("")
    lines += [
        "background: border pixels. object, count: scenes of one kind of object. position, size: single",
        "objects. both_objects, relation: scenes of two different objects. everything: the whole caption.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "flux-tiny")
    parser.add_argument("--captions", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = FluxPipeline.from_pretrained(options.checkpoint, dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    wanted = unique_attributes(options.captions, SEED, "heldout")
    table, images = measure(pipeline, wanted, options.steps)
    command = f"python -m benchmarks.reference_quality --captions {options.captions} --steps {options.steps}"
    step = json.loads((options.checkpoint / "training.json").read_text())["step"]
    report: dict[str, Any] = {"command": command, "seed": SEED, "training_step": step, "figures": table}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "reference_quality.json").write_text(json.dumps(report, indent=2) + "\n")
    markdown = as_markdown(command, options.captions, options.steps, table)
    (options.out / "reference_quality.md").write_text(markdown)
    contact_sheet(images[:96], 12).save(options.out / "flux-tiny-contact-sheet.png")
    captions = [f"{place + 1}. {caption_of(each)}" for place, each in enumerate(wanted[:96])]
    (options.out / "flux-tiny-contact-sheet.txt").write_text("\n".join(captions) + "\n")


if __name__ == "__main__":
    main()

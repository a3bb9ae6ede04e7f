"""Byte-pair merges worked by hand, and ids that never change."""

from __future__ import annotations

import subprocess
import sys

from workers.training.tokenization import learn_merges

IDS = (
    "from workers.training.pipeline_folder import build_tokenizers\n"
    "print([t('Two red apples above a zebra').input_ids for t in build_tokenizers()])"
)


def test_merges_by_hand() -> None:
    """cat 3, cab 1: (c,a) stands 4 times and goes first; then (ca,t.) 3 times, then (ca,b.) once."""
    words = {("c", "a", "t</w>"): 3, ("c", "a", "b</w>"): 1}
    assert learn_merges(words) == [("c", "a"), ("ca", "t</w>"), ("ca", "b</w>")]


def test_equal_counts_go_by_the_alphabet() -> None:
    assert learn_merges({("x", "y</w>"): 1, ("a", "b</w>"): 1}) == [("a", "b</w>"), ("x", "y</w>")]


def test_ids_are_the_same_in_every_process() -> None:
    """Hash seeds differ between the two; ids may not."""
    found = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", IDS],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1

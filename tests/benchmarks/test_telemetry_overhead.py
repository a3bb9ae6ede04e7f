"""What telemetry costs: both paths end to end, and the figures of their times by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.telemetry_overhead import measure, page, report_of
from workers.models import load, picture_model


@pytest.mark.timeout(240)
async def test_both_paths_make_pictures(tmp_path: Path) -> None:
    times = await measure(picture_model(load("flux-tiny", dtype="float32")), tmp_path, pairs=1, steps=2)
    assert times.shape == (1, 2, 2)
    assert (times > 0).all()


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    """Latencies 2, 4 and 90 against 1, 4 and 60: 2, 1 and 1.5. Processor times all alike: 1 in every draw."""
    times = np.array([[[2.0, 1.0], [1.0, 1.0]], [[4.0, 1.0], [4.0, 1.0]], [[90.0, 1.0], [60.0, 1.0]]])
    report = report_of(times, steps=2)
    assert report["latency"]["ratio"] == 1.5
    assert (report["latency"]["on_ms"], report["latency"]["off_ms"]) == (4000, 4000)
    assert [report["processor"][name] for name in ("low", "ratio", "high")] == [1, 1, 1]
    assert "| latency | 4000.00 | 4000.00 | 1.5000 |" in page(report)

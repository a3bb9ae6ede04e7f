"""A preview shows where a sample is going, is billed, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from protocol.cost import decode_cost
from protocol.receipts import FLOP_PER_TFLOP
from workers.core import Point
from workers.engine import Engine, EngineEvent, EngineSettings, Finished, Previewed, Result
from workers.engine.previews import estimate, is_due

Load = Callable[[str, str], Any]


def ran(model: Any, every: int, **given: Any) -> tuple[Result, list[Previewed]]:
    """One request to its end, and the previews on the way."""
    engine = Engine([model], EngineSettings(preview_every=every))
    events: list[EngineEvent] = []
    fields = {"prompt": "the sun", "seed": 3, "num_inference_steps": 6, **given}
    engine.add({"model": model.name, "input": fields})
    while not engine.idle:
        events += engine.step()
    [end] = [event for event in events if isinstance(event, Finished)]
    return end.result, [event for event in events if isinstance(event, Previewed)]


def models(load_flux: Load, load_wan: Load) -> dict[str, Any]:
    return {"flux": load_flux("plain", "float32"), "wan": load_wan("euler", "float32")}


def test_the_estimate_by_hand() -> None:
    """At noise .5 the sample stands at 5 and moves by 2 a unit of noise: it ends at 5 - .5 * 2 = 4."""
    point = Point(torch.full((1, 4), 5.0), 0.5, 500.0)
    assert torch.equal(estimate(point, torch.full((1, 4), 2.0)), torch.full((1, 4), 4.0))


def test_when_a_preview_is_due() -> None:
    assert [index for index in range(7) if is_due(index, 3)] == [2, 5]
    assert not any(is_due(index, 0) for index in range(7))


@pytest.mark.parametrize("family", ["flux", "wan"])
def test_previews_come_on_the_way_and_change_nothing(load_flux: Load, load_wan: Load, family: str) -> None:
    model = models(load_flux, load_wan)[family]
    plain, none = ran(model, 0)
    result, shown = ran(model, 2)
    assert none == []
    # Of six evaluations the second and fourth; at the sixth there is the sample itself.
    assert [(each.sample, each.step) for each in shown] == [(0, 1), (0, 3)]
    assert torch.equal(result.samples[0].latents, plain.samples[0].latents)
    size = (model.catalog.defaults.width, model.catalog.defaults.height)
    assert {each.image.size for each in shown} == {size}
    assert shown[0].image.tobytes() != shown[1].image.tobytes()


@pytest.mark.parametrize("family", ["flux", "wan"])
def test_previews_are_billed_beside_the_budget(load_flux: Load, load_wan: Load, family: str) -> None:
    """As one decode each; of a clip, that of a single frame."""
    model = models(load_flux, load_wan)[family]
    (plain, _), (result, shown) = ran(model, 0), ran(model, 2)
    entry = model.catalog
    frames = None if family == "flux" else 1
    decode = decode_cost(
        entry.shapes, width=entry.defaults.width, height=entry.defaults.height, num_frames=frames
    )
    assert [each.tflops for each in shown] == [decode / FLOP_PER_TFLOP] * 2
    more = result.receipt.other_tflops - plain.receipt.other_tflops
    assert more * FLOP_PER_TFLOP == pytest.approx(2 * decode)
    assert result.receipt.tflops == plain.receipt.tflops


def test_the_first_latent_frame_is_the_first_frame(load_wan: Load) -> None:
    """What a preview of a clip rests on: its decoder looks back and never ahead."""
    model = load_wan("euler", "float32")
    result, _ = ran(model, 0)
    latents, video = result.samples[0].latents, result.samples[0].video
    assert video is not None
    with torch.inference_mode():
        [alone] = model.decode(latents[:, :, :1], model.grid(32, 32, 1))
    assert abs(alone.astype(int) - video[0]).max() <= 1


def test_a_preview_that_cannot_be_made_hurts_nobody(load_wan: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_wan("euler", "float32")
    decode, asked = model.decode, []

    def refuse_single_frames(latents: Any, grid: Any) -> Any:
        asked.append(grid.num_frames)
        if grid.num_frames == 1:
            raise RuntimeError("out of luck")
        return decode(latents, grid)

    monkeypatch.setattr(model, "decode", refuse_single_frames)
    result, shown = ran(model, 2)
    assert shown == []
    assert result.samples[0].video is not None
    assert asked == [1, 1, 3]

"""Jobs in the background: they move while nobody else does, and nobody else notices them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.budget import ComputeBudget
from tests.engine.clips import clip, same
from tests.engine.requests import drain, of, request
from workers.engine import Engine, EngineSettings, Finished, StepDone

ONE_BLOCK = EngineSettings(slice_s=1e-9)
"""A turn in the background is laid aside at the end of every block."""

Load = Callable[..., Any]


def ends(events: list[Any]) -> list[str]:
    return [event.id for event in events if isinstance(event, Finished)]


def test_it_ends_as_in_front(load_flux: Load) -> None:
    model = load_flux("plain")
    (alone,) = Engine(model).run([request()])
    engine = Engine(model, ONE_BLOCK)
    engine.add(request(), key="behind", background=True)
    (result,) = [event.result for event in drain(engine) if isinstance(event, Finished)]
    assert result.samples[0].latents.equal(alone.samples[0].latents)


def test_who_comes_goes_first_from_the_next_block_on(load_flux: Load) -> None:
    """One step and one block are done when a picture comes: the step stays, the block is done again."""
    model = load_flux("plain")
    expected = [Engine(model).run([request(seed=seed)])[0] for seed in (1, 2)]
    engine = Engine(model, ONE_BLOCK)
    engine.add(request(seed=1), key="behind", background=True)
    events: list[Any] = []
    while not any(isinstance(event, StepDone) for event in events):
        events += engine.step()
    engine.step()  # a block of its second step
    engine.add(request(seed=2), key="picture")
    events = drain(engine)
    moved = [event.id for event in events if isinstance(event, StepDone)]
    assert moved == ["picture"] * 3 + ["behind"] * 2
    assert ends(events) == ["picture", "behind"]
    results = {event.id: event.result for event in events if isinstance(event, Finished)}
    for name, alone in zip(("behind", "picture"), expected, strict=True):
        assert results[name].samples[0].latents.equal(alone.samples[0].latents)


def test_it_takes_neither_places_nor_memory(load_flux: Load) -> None:
    """There is room for one sample, and the one in the background has begun."""
    model = load_flux("plain")
    engine = Engine(model, EngineSettings(max_samples=1))
    free = engine.free_bytes
    engine.add(request(), background=True)
    engine.step()
    assert (engine.free_bytes, engine.running, engine.busy) == (free, {model.name: 0}, False)
    assert engine.can_admit(request())
    engine.add(request(seed=2), key="picture")
    assert engine.busy
    assert of(drain(engine), "picture")[-1] == "Finished"


def test_another_models_turn_is_given_up_and_not_charged(load_wan: Load, load_flux: Load) -> None:
    wan, flux = load_wan(), load_flux("plain")
    (alone,) = Engine(wan).run([clip()])
    engine = Engine([wan, flux], ONE_BLOCK)
    engine.add(clip(), key="behind", background=True)
    engine.step()
    assert min(engine._shares.credit_s.values()) >= 0
    engine.add(request(), key="picture")
    events = drain(engine)
    assert ends(events) == ["picture", "behind"]
    (result,) = [event.result for event in events if isinstance(event, Finished) and event.id == "behind"]
    assert same(result, alone)


def test_previews_are_not_made_of_it(load_flux: Load) -> None:
    engine = Engine(load_flux("plain"), EngineSettings(preview_every=1))
    engine.add(request(), key="behind", background=True)
    assert "Previewed" not in of(drain(engine), "behind")


def test_methods_have_no_place_there(load_flux: Load) -> None:
    """A turn that is given up must leave no trace; a cache may have answered in it already."""
    engine = Engine(load_flux("plain"))
    body = request()
    cached = ComputeBudget(fraction=0.5, methods=("softcap",))
    with pytest.raises(ValueError, match="without methods"):
        engine.add({**body, "compute_budget": cached}, background=True)

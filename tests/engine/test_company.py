"""Pictures and clips in one engine: turns laid aside between blocks, shares by measured seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.engine.clips import clip, same
from tests.engine.requests import drain, of, request
from workers.engine import Cancelled, Engine, EngineSettings, Finished, StepDone

ONE_BLOCK = EngineSettings(slice_s=1e-9)
"""Every forward is laid aside at the end of every block."""

Load = Callable[..., Any]


@contextmanager
def blocks_of(model: Any, log: list[str]) -> Iterator[None]:
    """Write the model's name down whenever one of its blocks runs."""
    parts = model.pipeline.transformer
    lists = [
        getattr(parts, name, ()) for name in ("blocks", "transformer_blocks", "single_transformer_blocks")
    ]
    hooks = [
        block.register_forward_hook(lambda *_: log.append(model.name)) for blocks in lists for block in blocks
    ]
    yield
    for hook in hooks:
        hook.remove()


def test_a_turn_in_slices_gives_the_same_bits(load_wan: Load, load_flux: Load) -> None:
    """Each call of `step` runs one block; two clips and a picture end as they end alone."""
    models = [load_wan(), load_flux("plain")]
    bodies = [clip(), clip(seed=8, prompt="two blue dogs"), request()]
    expected = [Engine(models[index // 2]).run([body])[0] for index, body in enumerate(bodies)]
    engine = Engine(models, ONE_BLOCK)
    keys = [engine.add(body) for body in bodies]
    ended = {event.id: event.result for event in drain(engine) if isinstance(event, Finished)}
    assert all(same(ended[key], alone) for key, alone in zip(keys[:2], expected[:2], strict=True))
    assert ended[keys[2]].samples[0].latents.equal(expected[2].samples[0].latents)


def test_a_picture_comes_between_a_clips_blocks(load_wan: Load, load_flux: Load) -> None:
    """A picture that arrives when one block of a clip's forward has run is done before the second block."""
    wan, flux, ran = load_wan(), load_flux("plain"), list[str]()
    settings = EngineSettings(slice_s=1e-9, weights={"plain": 1000})  # so that it never lacks credit
    engine = Engine([wan, flux], settings)
    engine.add(clip())
    with blocks_of(wan, ran), blocks_of(flux, ran):
        engine.step()
        assert ran == ["unipc"]
        picture = engine.add(request())
        events = [event for _ in range(9) for event in engine.step()]
        drain(engine)
    assert of(events, picture)[-1] == "Finished"
    pictures = [place for place, name in enumerate(ran) if name == "plain"]
    assert pictures == list(range(1, 10))  # 3 steps of 3 blocks, one after another


def test_seconds_of_a_sliced_turn_are_those_it_ran(load_wan: Load, load_flux: Load) -> None:
    """The lines of a turn add up to its seconds; time in which the picture ran is not in them."""
    engine = Engine([load_wan(), load_flux("plain")], ONE_BLOCK)
    clip_id, picture = engine.add(clip()), engine.add(request())
    moved: Counter[str] = Counter()
    while not engine.idle:
        before = engine.last_turn
        lines = [(event.id, event.line.seconds) for event in engine.step() if isinstance(event, StepDone)]
        if engine.last_turn is not before:
            assert engine.last_turn is not None
            assert sum(seconds for _, seconds in lines) == pytest.approx(engine.last_turn.seconds)
        moved.update(job for job, _ in lines)
    assert moved == {clip_id: 3, picture: 3}


def test_a_job_cancelled_in_an_open_turn_is_heard_of_no_more(load_wan: Load, load_flux: Load) -> None:
    """One of two clips is cancelled between blocks: the other ends as alone. With the last the turn goes."""
    wan = load_wan()
    (alone,) = Engine(wan).run([clip()])
    engine = Engine([wan, load_flux("plain")], ONE_BLOCK)
    engine.add(clip())
    gone = engine.add(clip(seed=8))
    engine.step()
    engine.cancel(gone)
    events = drain(engine)
    assert of(events, gone) == ["Cancelled"]
    (result,) = [event.result for event in events if isinstance(event, Finished)]
    assert same(result, alone)
    last = engine.add(clip())
    engine.step()
    engine.cancel(last)
    assert engine.step() == [Cancelled(last)]
    engine.add(clip(), key=last)
    (result,) = [event.result for event in drain(engine) if isinstance(event, Finished)]
    assert same(result, alone)


def test_one_model_never_lays_a_turn_aside(load_wan: Load) -> None:
    engine = Engine(load_wan(), ONE_BLOCK)
    engine.add(clip())
    assert sum(isinstance(event, StepDone) for event in engine.step()) == 1


def test_time_is_shared_by_the_clock_where_both_want_all_of_it(load_wan: Load, load_flux: Load) -> None:
    """With next to nothing saved and three parts in four for pictures, they get .75 of the seconds."""
    wan, flux = load_wan(), load_flux("plain")
    settings = EngineSettings(slice_s=1e-3, burst_s=0.02, weights={"plain": 3, "unipc": 1})
    engine = Engine([wan, flux], settings)
    for seed in range(4):
        engine.add(clip(seed=seed, num_inference_steps=150))
        engine.add(request(seed=seed, num_inference_steps=400))
    begun: set[str] = set()
    while len(begun) < 2:  # the prompts are encoded and paid for
        begun |= {event.model for event in engine.step() if isinstance(event, StepDone)}
    taken = {"plain": 0.0, "unipc": 0.0}
    while sum(taken.values()) < 1.5:
        for event in engine.step():
            if isinstance(event, StepDone):
                taken[event.model] += event.line.seconds
    assert taken["plain"] / sum(taken.values()) == pytest.approx(0.75, abs=0.1)


def test_a_burst_of_pictures_does_not_stop_a_clip(load_wan: Load, load_flux: Load) -> None:
    """Pictures without end: the clip ends all the same, not after them."""
    wan, flux = load_wan(), load_flux("plain")
    engine = Engine([wan, flux], EngineSettings(slice_s=1e-3, burst_s=0.02))
    shown = engine.add(clip())
    for seed in range(6):
        engine.add(request(seed=seed, num_inference_steps=400))
    events: list[Any] = []
    while not any(isinstance(event, Finished) for event in events):
        events += engine.step()
    assert of(events, shown)[-1] == "Finished"


def test_weights_name_models_that_are_here(load_wan: Load, load_flux: Load) -> None:
    with pytest.raises(ValueError, match="weights for wan, not among plain, unipc"):
        Engine([load_wan(), load_flux("plain")], EngineSettings(weights={"wan": 2}))

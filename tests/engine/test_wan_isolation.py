"""Alone equals in any company, for clips: mixed steps, seeds, guidance, lengths and families."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.engine.clips import clip, same
from tests.engine.requests import request
from workers.engine import Engine, EngineSettings, Finished, Result

SUBJECT: dict[str, Any] = {"prompt": "two blue dogs", "seed": 99, "num_inference_steps": 5}


def stranger(index: int, name: str = "unipc") -> dict[str, Any]:
    """A neighbour with prompt, seed, guidance and step count of its own."""
    scale = 1.0 if index % 2 else 3.0 + index
    return clip(
        name,
        prompt=f"{'a ' * index}red apple",
        seed=index,
        num_inference_steps=2 + index % 4,
        guidance_scale=scale,
    )


def finish(engine: Engine) -> dict[str, Result]:
    """Run the engine until it is idle."""
    results: dict[str, Result] = {}
    while not engine.idle:
        results |= {event.id: event.result for event in engine.step() if isinstance(event, Finished)}
    return results


@contextmanager
def forwards(model: Any) -> Iterator[list[int]]:
    """Rows of every forward run inside, counted at the first block."""
    rows: list[int] = []

    def count(_module: Any, _args: Any, given: dict[str, Any], _output: Any) -> None:
        rows.append(given["hidden_states"].shape[0])

    handle = model.pipeline.transformer.blocks[0].register_forward_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("name", "dtype", "size"),
    [
        *((name, "float32", size) for name in ("unipc", "euler") for size in (2, 3, 5)),
        ("unipc", "bfloat16", 3),
        ("euler", "bfloat16", 2),
    ],
)
def test_alone_equals_in_company(load_wan: Callable[..., Any], name: str, dtype: str, size: int) -> None:
    """Strangers are a turn ahead when the subject joins, and some end before it."""
    model = load_wan(name, dtype)
    (alone,) = Engine(model).run([clip(name, **SUBJECT)])
    engine = Engine(model)
    for index in range(size - 1):
        engine.add(stranger(index, name))
    engine.step()
    subject = engine.add(clip(name, **SUBJECT))
    with forwards(model) as rows:
        together = finish(engine)[subject]
    assert max(rows) > size  # the subject's two lanes among others
    assert same(together, alone)


def test_an_unguided_sample_is_isolated_too(load_wan: Callable[..., Any]) -> None:
    model, subject = load_wan(), clip(**SUBJECT, guidance_scale=1.0)
    (alone,) = Engine(model).run([subject])
    together = Engine(model).run([stranger(2), subject, stranger(1), stranger(4)])
    assert same(together[1], alone)


def test_clips_and_pictures_of_all_sizes_share_an_engine(
    load_wan: Callable[..., Any], load_flux: Callable[..., Any]
) -> None:
    """Three token grids and two families; nobody waits for the others to end."""
    models = [load_wan(), load_flux("plain")]
    bodies = [clip(num_inference_steps=5), clip(num_frames=9, num_inference_steps=5), request()]
    alone = [Engine(models).run([body])[0] for body in bodies]
    engine = Engine(models, EngineSettings(slice_s=60))
    ids = [engine.add(body) for body in bodies]
    moved, results = [], dict[str, Result]()
    for _ in range(6):
        results |= {event.id: event.result for event in engine.step() if isinstance(event, Finished)}
        assert engine.last_turn is not None
        moved.append(engine.last_turn.model)
    assert set(moved) == {"unipc", "plain"}
    results |= finish(engine)
    assert same(results[ids[0]], alone[0])
    assert same(results[ids[1]], alone[1])
    assert same(results[ids[2]], alone[2])

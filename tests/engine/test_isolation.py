"""Alone equals in any company: neighbours that join, leave, are cancelled, raise or finish change no bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from tests.engine.requests import png, request
from workers.engine import Engine, EngineSettings, Failed, Finished, Result

DTYPES = ("float32", "bfloat16")
SUBJECT: dict[str, Any] = {"prompt": "two blue dogs", "seed": 99, "num_inference_steps": 5}


def stranger(index: int, name: str = "plain") -> dict[str, Any]:
    """A neighbour with prompt, seed and step count of its own."""
    return request(name, prompt=f"{index} small tree", seed=index, num_inference_steps=2 + index % 4)


def finish(engine: Engine) -> dict[str, Result]:
    """Run the engine until it is idle."""
    results: dict[str, Result] = {}
    while not engine.idle:
        results |= {event.id: event.result for event in engine.step() if isinstance(event, Finished)}
    return results


def same(one: Result, other: Result) -> bool:
    """Equal latents and equal PNG bytes, sample by sample."""
    return all(
        torch.equal(a.latents, b.latents) and png(a.image) == png(b.image)
        for a, b in zip(one.samples, other.samples, strict=True)
    )


@contextmanager
def forwards(model: Any) -> Iterator[list[int]]:
    """Rows of every forward run inside, counted at the network's first Linear."""
    rows: list[int] = []
    embedder = model.pipeline.transformer.x_embedder
    handle = embedder.register_forward_hook(lambda _module, args, _output: rows.append(args[0].shape[0]))
    try:
        yield rows
    finally:
        handle.remove()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plain", "distilled"])
@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_alone_equals_in_company(load_flux: Callable[..., Any], name: str, dtype: str, size: int) -> None:
    """Strangers are two turns ahead when the subject joins, and some end before it."""
    model = load_flux(name, dtype)
    (alone,) = Engine(model).run([request(name, **SUBJECT)])
    engine = Engine(model)
    for index in range(size - 1):
        engine.add(stranger(index, name))
    for _ in range(2 if size > 3 else 1):
        engine.step()
    subject = engine.add(request(name, **SUBJECT))
    with forwards(model) as rows:
        together = finish(engine)[subject]
    assert max(rows) >= min(size, 4)
    assert same(together, alone)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_guided_sample_is_isolated_too(load_flux: Callable[..., Any], dtype: str) -> None:
    """Its two lanes among three strangers, two of them guided as well."""
    model = load_flux("plain", dtype)
    subject = request(**SUBJECT, negative_prompt="a car", guidance_scale=2.7)
    (alone,) = Engine(model).run([subject])
    guided = [request(seed=seed, negative_prompt="the sun", guidance_scale=5.0) for seed in (1, 2)]
    together = Engine(model).run([guided[0], stranger(3), subject, guided[1]])
    assert same(together[2], alone)


@pytest.mark.parametrize("dtype", DTYPES)
def test_alone_equals_among_neighbours_that_come_and_go(load_flux: Callable[..., Any], dtype: str) -> None:
    """One is cancelled midway, one raises midway, one has two lanes, one joins late, one ends early."""
    model = load_flux("plain", dtype)
    (alone,) = Engine(model).run([request(**SUBJECT)])
    engine = Engine(model)
    subject = engine.add(request(**SUBJECT))
    cancelled = engine.add(request(seed=1, num_inference_steps=6))
    raising = engine.add(request(seed=2, num_inference_steps=6))
    engine.add(request(seed=3, num_inference_steps=4, negative_prompt="a car", guidance_scale=3.3))
    engine.add(request(seed=4, num_inference_steps=1))
    engine.step()
    engine.cancel(cancelled)
    engine.step()
    engine.add(request(seed=5, num_inference_steps=2))
    events = []
    with _raising_for(model, engine, raising):
        events += engine.step()
    results = finish(engine)
    assert [event.id for event in events if isinstance(event, Failed)] == [raising]
    assert cancelled not in results
    assert same(results[subject], alone)


@contextmanager
def _raising_for(model: Any, engine: Engine, job: str) -> Iterator[None]:
    """Make the network raise whenever this job's latents are among its rows."""
    (flight,) = engine._jobs[job].flights
    marked = flight.state.latents

    def refuse(_module: Any, args: tuple[torch.Tensor, ...]) -> None:
        if any(torch.equal(row, marked[0]) for row in args[0]):
            raise RuntimeError("this row is broken")

    handle = model.pipeline.transformer.x_embedder.register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("dtype", DTYPES)
def test_eight_rows_share_their_forwards(load_flux: Callable[..., Any], dtype: str) -> None:
    """Eight rows of N steps take at most 1.15 N forwards; a loop over rows would take 8 N."""
    model, steps = load_flux("plain", dtype), 14
    engine = Engine(model)
    with forwards(model) as rows:
        engine.run([request(seed=seed, num_inference_steps=steps) for seed in range(8)])
    assert sum(rows) == 8 * steps
    assert len(rows) <= 1.15 * steps


def test_company_of_every_size_limit(load_flux: Callable[..., Any]) -> None:
    """However many rows a forward may take, the pictures are the same."""
    model = load_flux("plain")
    bodies = [stranger(index) for index in range(5)]
    expected = Engine(model).run(bodies)
    for max_rows in (1, 2, 3):
        with forwards(model) as rows:
            results = Engine(model, EngineSettings(max_rows=max_rows)).run(bodies)
        assert max(rows) <= max_rows
        assert all(same(one, other) for one, other in zip(results, expected, strict=True))


def test_groups_of_different_sizes_take_turns(load_flux: Callable[..., Any]) -> None:
    """Two token grids and two models in one engine; nobody waits for the others to end."""
    models = [load_flux("plain"), load_flux("distilled")]
    bodies = [
        request("plain", num_inference_steps=6),
        request("plain", num_inference_steps=6, width=96),
        request("distilled", num_inference_steps=6),
    ]
    engine = Engine(models, EngineSettings(slice_s=60))
    for body in bodies:
        engine.add(body)
    moved, results = [], dict[str, Result]()
    for _ in range(9):
        results |= {event.id: event.result for event in engine.step() if isinstance(event, Finished)}
        assert engine.last_turn is not None
        moved.append((engine.last_turn.model, engine.last_turn.rows))
    assert {model for model, _ in moved} == {"plain", "distilled"}
    results |= finish(engine)
    alone = [Engine(models).run([body])[0] for body in bodies]
    assert all(any(same(result, other) for other in alone) for result in results.values())
    assert len(results) == 3

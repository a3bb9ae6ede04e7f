"""One bad job hurts nobody: what fails, fails alone and says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from protocol.errors import JobFailed
from tests.engine.requests import drain, of, request
from workers.engine import Engine, Failed


def test_latents_that_are_not_finite_fail_their_job_only(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    bad, good = engine.add(request(seed=1)), engine.add(request(seed=2))
    engine.step()
    (flight,) = engine._jobs[bad].flights
    flight.state.latents = flight.state.latents * float("nan")
    events = drain(engine)
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert (failed.id, failed.error.code) == (bad, "sample_failed")
    assert "not finite" in failed.error.message
    assert of(events, good)[-1] == "Finished"


def test_a_failing_encoder_fails_its_job_only(load_flux: Callable[..., Any]) -> None:
    model = load_flux("plain")
    engine = Engine(model)

    def refuse(_module: Any, args: Any, kwargs: Any) -> None:
        tokens = args[0] if args else kwargs["input_ids"]
        if 2 in tokens[0, 1:2]:
            raise RuntimeError("a secret of the house")

    handle = model.pipeline.text_encoder_2.register_forward_pre_hook(refuse, with_kwargs=True)
    bad = engine.add(request(prompt="a zzz"))
    good = engine.add(request(prompt="a red apple"))
    events = drain(engine)
    handle.remove()
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.id == bad
    assert failed.error.code == "sample_failed"
    assert "secret" not in failed.error.message
    assert of(events, good)[-1] == "Finished"


def test_rows_that_do_not_fit_together_run_singly_from_then_on(load_flux: Callable[..., Any]) -> None:
    """A network that runs out of memory with two rows: nobody fails, later forwards take one row."""
    model = load_flux("plain")
    sizes: list[int] = []

    def refuse(_module: Any, args: tuple[torch.Tensor, ...]) -> None:
        sizes.append(args[0].shape[0])
        if args[0].shape[0] > 1:
            raise torch.OutOfMemoryError("too much")

    engine = Engine(model)
    handle = model.pipeline.transformer.x_embedder.register_forward_pre_hook(refuse)
    results = engine.run([request(seed=1, num_inference_steps=2), request(seed=2, num_inference_steps=2)])
    handle.remove()
    assert len(results) == 2
    assert sizes == [2, 1, 1, 1, 1]


def test_a_single_row_that_does_not_fit_says_so(load_flux: Callable[..., Any]) -> None:
    model = load_flux("plain")
    engine = Engine(model)
    job = engine.add(request(n=2))

    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError("too much")

    handle = model.pipeline.transformer.x_embedder.register_forward_pre_hook(refuse)
    events = drain(engine)
    handle.remove()
    assert of(events, job) == ["Started", "Failed"]
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.error.code == "out_of_memory"


def test_run_raises_after_the_others_have_ended(load_flux: Callable[..., Any]) -> None:
    model = load_flux("plain")
    engine = Engine(model)
    handle = model.pipeline.vae.register_forward_pre_hook(lambda *_: None)
    decode = model.pipeline.vae.decoder.register_forward_pre_hook(_refuse_once())
    with pytest.raises(JobFailed) as failed:
        engine.run([request(seed=1), request(seed=2)])
    decode.remove()
    handle.remove()
    assert failed.value.code == "sample_failed"
    assert engine.idle


def _refuse_once() -> Callable[..., None]:
    left = [1]

    def refuse(*_: Any) -> None:
        if left:
            left.clear()
            raise RuntimeError("broken")

    return refuse

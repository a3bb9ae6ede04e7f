"""The life of a job in the engine: added, admitted, moved, decoded; or cancelled, refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from protocol.cost.memory import sample_bytes
from protocol.errors import BudgetTooSmall, InvalidRequest, OutOfMemory
from protocol.jobs import GenerationRequest
from protocol.plan import make_plan
from protocol.resolve import resolve
from tests.engine.requests import drain, of, request
from workers.engine import (
    Cancelled,
    Engine,
    EngineSettings,
    Finished,
    SampleFinished,
    Started,
    StepDone,
)


def bytes_of(model: Any) -> int:
    return sample_bytes(model.catalog, resolve(GenerationRequest.model_validate(request()), model.catalog))


def test_events_of_a_job_in_order(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    job = engine.add(request(n=2))
    events = drain(engine)
    assert of(events, job) == ["Started", *["StepDone"] * 6, "SampleFinished", "SampleFinished", "Finished"]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(event.sample, event.line.index) for event in steps] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
        (0, 2),
        (1, 2),
    ]
    assert steps[-1].spent_tflops == pytest.approx(3 * steps[0].line.tflops)
    assert [event.sample for event in events if isinstance(event, SampleFinished)] == [0, 1]
    assert engine.step() == []


def test_requests_may_be_models_or_bodies(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    body = request()
    one, other = engine.run([body, GenerationRequest.model_validate(body)])
    assert torch.equal(one.samples[0].latents, other.samples[0].latents)


def test_results_come_in_order_and_can_be_used_outside(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    results = engine.run([request(seed=seed, num_inference_steps=4 - seed) for seed in range(3)])
    assert [result.samples[0].seed for result in results] == [0, 1, 2]
    latents = results[0].samples[0].latents
    assert not latents.is_inference()
    latents.add_(1)
    assert results[0].samples[0].image.size == (64, 64)


def test_latents_can_be_had_without_a_decoder(load_flux: Callable[..., Any]) -> None:
    whole, bare = (
        Engine(load_flux("plain"), EngineSettings(latents_only=only)).run([request()])[0].samples[0]
        for only in (False, True)
    )
    assert torch.equal(bare.latents, whole.latents)
    assert whole.image is not None
    assert (bare.image, bare.video) == (None, None)


def test_a_drawn_seed_is_reported(load_flux: Callable[..., Any]) -> None:
    (result,) = Engine(load_flux("plain")).run([request(seed=None)])
    (again,) = Engine(load_flux("plain")).run([request(seed=result.samples[0].seed)])
    assert torch.equal(again.samples[0].latents, result.samples[0].latents)


def test_a_given_plan_and_key_are_used(load_flux: Callable[..., Any]) -> None:
    """What a gateway granted under load: less than the request's own budget."""
    model = load_flux("plain")
    resolved = resolve(GenerationRequest.model_validate(request(num_inference_steps=4)), model.catalog)
    engine = Engine(model)
    assert (
        engine.add(resolved, plan=make_plan(resolved, model.catalog, share=0.5), key="tenant/7") == "tenant/7"
    )
    (finished,) = [event for event in drain(engine) if isinstance(event, Finished)]
    assert finished.id == "tenant/7"
    receipt = finished.result.receipt
    assert (receipt.budget, receipt.granted, receipt.spent, receipt.nfe) == (1.0, 0.5, 0.5, 2)
    assert receipt.samples[0].plan.num_inference_steps == 2


def test_a_key_in_use_is_refused(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    engine.add(request(), key="a")
    with pytest.raises(ValueError, match="a is in the engine"):
        engine.add(request(), key="a")


def test_what_the_model_cannot_do_is_refused_by_name(load_flux: Callable[..., Any]) -> None:
    engine = Engine([load_flux("plain"), load_flux("distilled")])
    with pytest.raises(InvalidRequest, match="no model x") as unknown:
        engine.add(request("x"))
    assert (unknown.value.code, unknown.value.param) == ("unknown_model", "model")
    assert unknown.value.details == {"allowed": ["distilled", "plain"]}
    with pytest.raises(InvalidRequest) as size:
        engine.add(request(width=63))
    assert size.value.param == "input.width"
    with pytest.raises(InvalidRequest) as negative:
        engine.add(request("distilled", negative_prompt="the sun"))
    assert negative.value.param == "input.negative_prompt"
    with pytest.raises(BudgetTooSmall):
        engine.add(request(budget=0.1))
    with pytest.raises(ValidationError, match="colour"):
        engine.add(request(colour="red"))
    assert engine.idle


@pytest.mark.parametrize(("turns", "told"), [(0, 0), (1, 3), (2, 6)])
def test_cancel_takes_effect_at_the_next_turn(load_flux: Callable[..., Any], turns: int, told: int) -> None:
    """Waiting, running, or partly decoded: one terminal event and nothing after it."""
    engine = Engine(load_flux("plain"))
    job = engine.add(request(n=2, num_inference_steps=2))
    before = [event for _ in range(turns) for event in engine.step()]
    assert len(before) == told
    assert engine.cancel(job)
    assert engine.step() == [Cancelled(job)]
    assert engine.idle
    assert not engine.cancel(job)
    assert engine.step() == []


def test_running_counts_samples_by_model(load_flux: Callable[..., Any]) -> None:
    engine = Engine([load_flux("plain"), load_flux("distilled")])
    assert dict(engine.running) == {"plain": 0, "distilled": 0}
    engine.add(request(n=2))
    engine.step()
    assert dict(engine.running) == {"plain": 2, "distilled": 0}
    drain(engine)
    assert dict(engine.running) == {"plain": 0, "distilled": 0}


def test_memory_decides_how_many_fly(load_flux: Callable[..., Any]) -> None:
    """Room for two and a half samples: two fly, the third starts when one has landed; all end."""
    model = load_flux("plain")
    needed = bytes_of(model)
    engine = Engine(model, EngineSettings(memory_bytes=5 * needed // 2))
    assert engine.can_admit(request(n=2))
    assert not engine.can_admit(request(n=3))
    for seed in range(3):
        engine.add(request(seed=seed))
    assert engine.free_bytes == 5 * needed // 2 - 3 * needed
    assert not engine.can_admit(request())
    most = 0
    finished = 0
    while not engine.idle:
        finished += sum(isinstance(event, Finished) for event in engine.step())
        most = max(most, engine.running["plain"])
    assert (most, finished) == (2, 3)
    assert engine.free_bytes == 5 * needed // 2


def test_more_samples_than_memory_holds_still_end(load_flux: Callable[..., Any]) -> None:
    model = load_flux("plain")
    engine = Engine(model, EngineSettings(memory_bytes=bytes_of(model)))
    (result,) = engine.run([request(n=3, seed=5, num_inference_steps=2)])
    assert [sample.seed for sample in result.samples] == [5, 6, 7]


def test_a_sample_larger_than_all_memory_is_refused(load_flux: Callable[..., Any]) -> None:
    model = load_flux("plain")
    engine = Engine(model, EngineSettings(memory_bytes=bytes_of(model) - 1))
    with pytest.raises(OutOfMemory):
        engine.add(request())
    assert engine.idle


def test_slots_limit_samples_too(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"), EngineSettings(max_samples=2))
    assert not engine.can_admit(request(n=3))
    engine.add(request(n=2))
    assert not engine.can_admit(request())


def test_one_decode_a_turn_keeps_the_others_moving(load_flux: Callable[..., Any]) -> None:
    """Three end at once while a fourth runs on: one is decoded a turn, and the fourth moves at each."""
    engine = Engine(load_flux("plain"))
    for seed in range(3):
        engine.add(request(seed=seed, num_inference_steps=1))
    last = engine.add(request(num_inference_steps=5))
    for _ in range(3):
        events = engine.step()
        assert sum(isinstance(event, Finished) for event in events) == 1
        assert "StepDone" in of(events, last)


def test_a_backlog_of_decodes_is_worked_off_faster(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"))
    for seed in range(8):
        engine.add(request(seed=seed, num_inference_steps=1))
    assert sum(isinstance(event, Finished) for event in engine.step()) == 2


def test_encodings_are_spread_over_turns(load_flux: Callable[..., Any]) -> None:
    engine = Engine(load_flux("plain"), EngineSettings(max_encodes=2))
    for seed in range(3):
        engine.add(request(seed=seed, n=2))
    started = [sum(isinstance(event, Started) for event in engine.step()) for _ in range(2)]
    assert started == [2, 1]
    drain(engine)


def test_a_prompt_is_encoded_once_for_all_samples(load_flux: Callable[..., Any]) -> None:
    model = load_flux("plain")
    calls: list[int] = []
    handle = model.pipeline.text_encoder_2.register_forward_hook(lambda *_: calls.append(1))
    Engine(model).run([request(n=4)])
    Engine(model).run([request(n=2, negative_prompt="the sun", guidance_scale=2.0)])
    handle.remove()
    assert len(calls) == 1 + 2


def test_a_schedule_it_would_not_follow_is_refused(load_flux: Callable[..., Any]) -> None:
    scheduler = load_flux("plain").pipeline.scheduler
    scheduler.register_to_config(stochastic_sampling=True)
    try:
        with pytest.raises(ValueError, match="stochastic_sampling"):
            Engine(load_flux("plain"))
    finally:
        scheduler.register_to_config(stochastic_sampling=False)


def test_an_engine_needs_models_of_distinct_names(load_flux: Callable[..., Any]) -> None:
    for models in ([], [load_flux("plain"), load_flux("plain", "bfloat16")]):
        with pytest.raises(ValueError, match="a name of its own"):
            Engine(models)


def test_settings_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError, match="max_row"):
        EngineSettings(max_row=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="memory_bytes"):
        EngineSettings(memory_bytes=0)


def test_threads_are_set_only_if_asked(load_flux: Callable[..., Any]) -> None:
    threads = torch.get_num_threads()
    Engine(load_flux("plain"))
    assert torch.get_num_threads() == threads
    try:
        Engine(load_flux("plain"), EngineSettings(num_threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)

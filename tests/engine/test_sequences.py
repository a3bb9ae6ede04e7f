"""Text and music through the engine: the receipt, the company, what is given, the edges."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch

from protocol.cost import price
from protocol.errors import BudgetTooSmall, InvalidRequest
from protocol.jobs import GenerationRequest
from protocol.methods import SAMPLERS
from protocol.resolve import resolve
from tests.engine.requests import drain, of
from workers.engine import Engine, Failed, SampleFinished, StepDone, self_test
from workers.meter import Meter
from workers.models import Piece
from workers.speed import Speedometer
from workers.warmup import warm_up

Load = Callable[..., Any]


@pytest.fixture(scope="module")
def letters(load_sequences: Load) -> Any:
    return load_sequences("letters")


@pytest.fixture(scope="module")
def voices(load_sequences: Load) -> Any:
    return load_sequences("voices")


def asked(model: str = "letters", *, budget: Any = None, **given: Any) -> dict[str, Any]:
    body = {"model": model, "input": {"seed": 7, **given}}
    return body if budget is None else {**body, "compute_budget": budget}


@pytest.mark.parametrize(("fraction", "evaluations"), [(1.0, 8), (0.5, 4), (0.3, 2), (0.125, 1)])
def test_a_budget_buys_evaluations_to_the_flop(letters: Any, fraction: float, evaluations: int) -> None:
    """Of 8, .3 pays 2.4 and grants 2."""
    (result,) = Engine(letters).run([asked(budget=fraction)])
    request = GenerationRequest.model_validate(asked(budget=fraction))
    cost = price(letters.catalog, resolve(request, letters.catalog))
    receipt = result.receipt
    assert receipt.nfe == evaluations
    assert receipt.spent == receipt.granted == evaluations / 8
    assert receipt.tflops == evaluations * cost.per_step_flop[0] / 1e12
    assert (cost.full_flop, cost.other_flop) == (8 * cost.per_step_flop[0], 0)
    lines = receipt.samples[0].steps
    assert [line.action for line in lines] == ["full"] * evaluations
    assert lines[-1].reason == "denoise"
    assert receipt.samples[0].plan.solver == "blocks"


def test_lines_say_what_evaluations_were_for(letters: Any) -> None:
    (result,) = Engine(letters).run([asked(budget={"methods": ["exact"]})])
    reasons = [line.reason for line in result.receipt.samples[0].steps]
    assert reasons == ["predict", "predict", "correct", "predict", "correct", "predict", "correct", "denoise"]


def test_a_sample_is_the_same_alone_and_among_others(letters: Any, voices: Any) -> None:
    """Others differ in sampler, steps, budget, length and model, and come one turn later."""
    alone = [
        Engine(model).run([body])[0].samples[0].tokens
        for model, body in (
            (letters, asked()),
            (letters, asked(seed=9, budget={"fraction": 0.5, "methods": ["euler"]})),
            (letters, asked(num_inference_steps=3, given={"prefix": "abc"})),
            (voices, asked("voices", given={"soprano": [60, "hold"]})),
        )
    ]
    engine = Engine([letters, voices])
    first = engine.add(asked())
    events = engine.step()
    others = [
        engine.add(asked(seed=9, budget={"fraction": 0.5, "methods": ["euler"]})),
        engine.add(asked(num_inference_steps=3, given={"prefix": "abc"})),
        engine.add(asked("voices", given={"soprano": [60, "hold"]})),
        engine.add(asked(seed=11, length=5)),
    ]
    events += drain(engine)
    made = {event.id: event.result.tokens for event in events if isinstance(event, SampleFinished)}
    assert [made[name] for name in (first, *others[:3])] == alone


def test_rows_of_different_jobs_share_a_forward(letters: Any) -> None:
    engine = Engine(letters)
    for seed, budget in ((1, 1.0), (2, 0.5), (3, {"methods": ["exact"]})):
        engine.add(asked(seed=seed, budget=budget))
    engine.step()
    assert engine.last_turn is not None
    assert engine.last_turn.rows == 3


def test_samples_of_a_job_are_seeds_counted_up(letters: Any) -> None:
    (pair,) = Engine(letters).run([asked(n=2)])
    (second,) = Engine(letters).run([asked(seed=8)])
    assert pair.samples[1].tokens == second.samples[0].tokens
    assert pair.samples[0].tokens != pair.samples[1].tokens


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_spends_what_it_is_granted(letters: Any, sampler: str) -> None:
    (result,) = Engine(letters).run([asked(budget={"fraction": 0.75, "methods": [sampler]})])
    plan = result.receipt.samples[0].plan
    assert (result.receipt.nfe, plan.solver, plan.methods) == (6, sampler, (sampler,))


def test_text_keeps_prefix_and_spans(letters: Any) -> None:
    given = {"prefix": "bad ", "spans": [{"start": 10, "text": "cafe"}, {"start": 31, "text": "j"}]}
    (result,) = Engine(letters).run([asked(given=given, n=3)])
    for sample in result.samples:
        assert sample.text is not None
        assert len(sample.text) == 32
        assert (sample.text[:4], sample.text[10:14], sample.text[31]) == ("bad ", "cafe", "j")


def test_music_keeps_a_voice(voices: Any) -> None:
    melody = [60, "hold", "hold", "hold", 62, "hold", "rest", "rest", 64, *["hold"] * 7]
    (result,) = Engine(voices).run([asked("voices", given={"soprano": melody})])
    piece = result.samples[0].piece
    assert isinstance(piece, Piece)
    soprano = [(note.start, note.length, note.pitch) for note in piece.notes if note.part == 0]
    assert soprano == [(0, 4, 60), (4, 2, 62), (8, 8, 64)]
    assert {note.part for note in piece.notes} <= {0, 1, 2, 3}


def test_all_tokens_given_take_no_evaluation(letters: Any) -> None:
    text = "abcdefghij abcdefghij abcdefghij"
    (result,) = Engine(letters).run([asked(given={"prefix": text})])
    assert result.samples[0].text == text
    assert (result.receipt.nfe, result.receipt.spent) == (0, 0.0)


def test_exact_with_one_evaluation_is_the_denoising(letters: Any) -> None:
    (result,) = Engine(letters).run([asked(budget={"fraction": 0.125, "methods": ["exact"]})])
    assert [line.reason for line in result.receipt.samples[0].steps] == ["denoise"]


def test_one_token_of_two(load_sequences: Load) -> None:
    coin = load_sequences("coin")
    (free, kept) = Engine(coin).run([asked("coin", n=8), asked("coin", given={"tokens": [1]})])
    assert {sample.text for sample in free.samples} <= {"a", "b"}
    assert kept.samples[0].text == "b"


def test_a_shorter_text_costs_less(letters: Any) -> None:
    short, whole = Engine(letters).run([asked(length=5), asked()])
    assert len(short.samples[0].text or "") == 5
    assert short.receipt.full_tflops < whole.receipt.full_tflops


def test_bfloat16_runs_alike_in_company(load_sequences: Load) -> None:
    model = load_sequences("letters", "bfloat16")
    body = asked(budget=0.25, length=8)
    (alone,), together = Engine(model).run([body]), Engine(model).run([body, asked(seed=3, length=8)])
    assert together[0].samples[0].tokens == alone.samples[0].tokens


def test_a_worker_warms_up(letters: Any, voices: Any) -> None:
    inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with inlet, outlet:
        speed = Speedometer()
        warm_up(Engine([letters, voices]), [letters.catalog, voices.catalog], Meter(outlet), speed)
    assert speed.of("letters") > 0
    assert speed.of("voices") > 0


def test_rows_are_proven_isolated(letters: Any, voices: Any) -> None:
    self_test(letters)
    self_test(voices)


def test_a_row_without_numbers_fails_alone(load_sequences: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample's log ratios are spoilt at its second evaluation; its neighbour ends as it does alone."""
    model = load_sequences("letters")
    (alone,) = Engine(model).run([asked(seed=2)])
    head, calls = model.network.head, 0

    def spoilt(stream: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        output = head(stream)
        if calls == 2:
            output[0] = torch.nan
        return output

    monkeypatch.setattr(model.network, "head", spoilt)
    engine = Engine(model)
    bad, good = engine.add(asked(seed=1)), engine.add(asked(seed=2))
    events = drain(engine)
    failed = [event for event in events if isinstance(event, Failed)]
    assert [(event.id, event.error.code) for event in failed] == [(bad, "sample_failed")]
    assert of(events, good)[-1] == "Finished"
    made = [event.result.tokens for event in events if isinstance(event, SampleFinished)]
    assert made == [alone.samples[0].tokens]
    assert len([event for event in events if isinstance(event, StepDone) and event.id == bad]) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (asked(prompt="a cat"), "input.prompt"),
        (asked(width=64), "input.width"),
        (asked(guidance_scale=2.0), "input.guidance_scale"),
        (asked(length=33), "input.length"),
        (asked(given={"prefix": "a" * 33}), "input.given.prefix"),
        (asked(given={"prefix": "A"}), "input.given.prefix"),
        (asked(given={"tokens": [12]}), "input.given.tokens"),
        (asked(budget={"methods": ["softcap"]}), "compute_budget.methods"),
        (asked("voices", length=63), "input.length"),
        (asked("voices", given={"soprano": [77]}), "input.given.soprano"),
    ],
)
def test_what_cannot_be_is_refused_by_name(letters: Any, voices: Any, body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Engine([letters, voices]).add(body)
    assert caught.value.param == param
    assert caught.value.details["allowed"]


def test_less_than_one_evaluation_is_too_small(letters: Any) -> None:
    with pytest.raises(BudgetTooSmall) as caught:
        Engine(letters).add(asked(budget=0.12))
    assert caught.value.details["min_fraction"] == 0.125

"""Clips that start from an image: the pipeline's bit for bit, alone in any company, priced right."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from protocol.errors import InvalidRequest, RheostatError, UnsupportedMediaType
from protocol.receipts import FLOP_PER_TFLOP, Action
from tests.acceleration.support import plan_for, run, run_one
from tests.engine.clips import clip, image_clip, image_reference, picture, same
from tests.engine.test_receipts import counted_run
from workers.engine import Engine

NAMES = ("image", "image-euler")
CASES = (
    {"num_inference_steps": 1, "seed": 0},
    {"num_inference_steps": 2, "seed": 1, "num_frames": 1, "guidance_scale": 1.0},
    {"num_inference_steps": 4, "seed": 3, "num_frames": 9, "width": 48, "negative_prompt": "the sun"},
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_latents_are_the_pipelines(
    load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any], name: str, case: dict[str, Any]
) -> None:
    body = image_clip(name, **case)
    (result,) = Engine(load_wan(name)).run([body])
    assert torch.equal(result.samples[0].latents, image_reference(wan_pipeline(name), body))


def test_bfloat16_latents_are_the_pipelines_as_well(
    load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any]
) -> None:
    body = image_clip(num_inference_steps=2)
    (result,) = Engine(load_wan("image", "bfloat16")).run([body])
    assert torch.equal(result.samples[0].latents, image_reference(wan_pipeline("image", "bfloat16"), body))


def test_frames_are_the_pipelines(load_wan: Callable[..., Any], wan_pipeline: Callable[..., Any]) -> None:
    body, image = image_clip(image=picture(1, 33, 70)), picture(1, 33, 70)
    (result,) = Engine(load_wan("image")).run([body])
    (theirs,) = image_reference(wan_pipeline("image"), body, image, "pil")
    assert result.samples[0].video is not None
    assert np.array_equal(result.samples[0].video, np.stack([np.asarray(frame) for frame in theirs]))


def test_the_image_matters_here(load_wan: Callable[..., Any]) -> None:
    """Else the tests above would not see one image in another's place."""
    one, other = Engine(load_wan("image")).run([image_clip(), image_clip(image=picture(5))])
    assert not torch.allclose(one.samples[0].latents, other.samples[0].latents, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_alone_equals_in_company(load_wan: Callable[..., Any], name: str, size: int) -> None:
    """Neighbours have images, prompts, lanes and steps of their own."""
    model, subject = load_wan(name), image_clip(name, seed=99, prompt="two blue dogs", num_inference_steps=4)
    (alone,) = Engine(model).run([subject])
    others = [
        image_clip(
            name,
            image=picture(index + 1),
            seed=index,
            num_inference_steps=2 + index,
            guidance_scale=1.0 if index % 2 else 3.0,
        )
        for index in range(size - 1)
    ]
    assert same(Engine(model).run([*others, subject])[-1], alone)


def test_both_kinds_of_wan_share_an_engine(load_wan: Callable[..., Any]) -> None:
    models, bodies = [load_wan("unipc"), load_wan("image")], [clip(), image_clip()]
    alone = [Engine(models).run([body])[0] for body in bodies]
    for result, expected in zip(Engine(models).run(bodies), alone, strict=True):
        assert same(result, expected)


@pytest.mark.parametrize("given", [{}, {"guidance_scale": 1.0, "num_frames": 1}, {"num_frames": 9, "n": 2}])
def test_the_receipt_is_torchs_count(load_wan: Callable[..., Any], given: dict[str, Any]) -> None:
    """Both encoders of the image are in `other_tflops`, once a job."""
    engine = Engine(load_wan("image"))
    engine.add(image_clip(num_inference_steps=3, **given))
    result, turns, total = counted_run(engine)
    for counted, said in turns:
        assert said == pytest.approx(counted, rel=1e-9)
    receipt = result.receipt
    assert (receipt.tflops + receipt.other_tflops) * FLOP_PER_TFLOP == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("method", ["softcap", "first-block-cache", "teacache"])
def test_a_cache_saves_and_is_the_same_in_company(load_wan: Callable[..., Any], method: str) -> None:
    model, body = load_wan("image"), image_clip(num_inference_steps=6)
    parameters = {"softcap": None, "first-block-cache": {"threshold": 0.5}, "teacache": {"threshold": 0.6}}
    granted, nodes = (0.5, (0, 2, 4)) if method == "softcap" else (2.0, ())
    plan = plan_for(model, body, method, parameters[method], granted=granted, mode="hard", nodes=nodes)
    plan = plan.model_copy(update={"solver": "unipc"})
    alone = run_one(model, body, plan)
    assert any(line.action is not Action.FULL for line in alone.samples[0].receipt.steps)
    neighbour = image_clip(image=picture(3), seed=1, num_inference_steps=5)
    assert same(run(model, [(neighbour, None), (body, plan)])[1], alone)


def test_an_image_that_was_fetched_stands_for_the_requests_own(load_wan: Callable[..., Any]) -> None:
    model, body = load_wan("image"), image_clip()
    (inline,) = Engine(model).run([body])
    engine = Engine(model)
    engine.add(clip("image", image="stored:public/job/given/a-b.png"), image=picture())
    events = []
    while not engine.idle:
        events += engine.step()
    assert same(events[-1].result, inline)


REFUSED: dict[str, tuple[type[RheostatError], dict[str, Any]]] = {
    "no image": (InvalidRequest, {"image": None}),
    "not base64": (InvalidRequest, {"image": "an apple"}),
    "not an image": (UnsupportedMediaType, {"image": base64.b64encode(b"an apple").decode()}),
    "a reference": (InvalidRequest, {"image": "stored:public/job/given/a-b.png"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(load_wan: Callable[..., Any], name: str) -> None:
    kind, given = REFUSED[name]
    engine = Engine(load_wan("image"))
    with pytest.raises(kind) as caught:
        engine.add(clip("image", **given))
    assert (caught.value.param, engine.idle) == ("input.image", True)

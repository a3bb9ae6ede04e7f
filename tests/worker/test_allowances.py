"""Places and memory kept for the other models, worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.cost.memory import sample_bytes
from protocol.jobs import GenerationRequest
from protocol.records import ModelRoom
from protocol.resolve import resolve
from workers.allowances import Allowances, default_sample_bytes


def make(
    sizes: dict[str, int], places: int = 16, memory_bytes: int = 1600, share: float = 0.25
) -> Allowances:
    return Allowances(sizes, places=places, memory_bytes=memory_bytes, share=share)


def test_one_model_has_it_all() -> None:
    assert make({"image": 10}).rooms(["image"] * 5) == {"image": ModelRoom(11, 0)}


def test_videos_leave_places_and_memory_to_pictures() -> None:
    """A quarter of 16 places is 4, of 1,600 bytes 400: 4 pictures of 10 keep 40; of 300 one video fits."""
    allowances = make({"image": 10, "video": 300})
    assert allowances.rooms([]) == {"image": ModelRoom(12, 300), "video": ModelRoom(12, 40)}
    assert allowances.rooms(["video"] * 12) == {"image": ModelRoom(4, 0), "video": ModelRoom(0, 40)}
    assert allowances.rooms(["video"] * 9 + ["image"]) == {
        "image": ModelRoom(6, 0),
        "video": ModelRoom(3, 30),
    }


def test_what_is_held_is_owed_no_more() -> None:
    """With 4 pictures held nothing is kept for them: videos may have all that is left, and the other way."""
    allowances = make({"image": 10, "video": 300})
    held = ["image"] * 4 + ["video"] * 4
    assert allowances.rooms(held) == {"image": ModelRoom(8, 0), "video": ModelRoom(8, 0)}


def test_three_models_share_what_is_kept() -> None:
    """4 places for two others: 2 each. 400 bytes: 200 each, too little for a video of 300."""
    rooms = make({"image": 10, "video": 300, "text": 1}).rooms([])
    assert rooms == {"image": ModelRoom(12, 2), "video": ModelRoom(12, 22), "text": ModelRoom(12, 20)}


def test_one_place_each_at_least_where_there_are_so_many() -> None:
    assert make({"image": 10, "video": 10}, places=2).rooms([])["video"].jobs == 1
    assert make({"image": 10, "video": 10}, places=1).rooms([])["video"].jobs == 1


def test_nothing_is_kept_if_nothing_shall_be() -> None:
    assert make({"image": 10, "video": 300}, share=0).rooms([])["video"] == ModelRoom(16, 0)


def test_a_sample_is_measured_by_its_default_size(load_wan: Callable[..., Any]) -> None:
    """32 x 32 and 5 frames, as the checkpoint's settings say."""
    entry = load_wan().catalog
    sizes = {"width": 32, "height": 32, "num_frames": 5}
    body = {"model": entry.name, "input": {"prompt": "a", "seed": 0, **sizes}}
    asked = resolve(GenerationRequest.model_validate(body), entry)
    assert default_sample_bytes(entry) == sample_bytes(entry, asked)

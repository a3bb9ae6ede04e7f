"""Videos and captions become shards, and shards become the rows that were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from workers.media import encode_mp4
from workers.models.wan import Wan
from workers.training.pare.precompute import precompute, read_frames
from workers.training.pare.sources import ClipSource, ShardSource

CAPTIONS = ["a red apple", "a blue star", "a green cat"]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three clips of 9 frames of 64 x 64, brighter from one to the next."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for index, caption in enumerate(CAPTIONS):
        frames = np.full((9, 64, 64, 3), 40 + 80 * index, dtype=np.uint8)
        (folder / f"{index}.mp4").write_bytes(encode_mp4(frames, 8.0))
        (folder / f"{index}.txt").write_text(caption + "\n")
    return folder


def test_videos_become_shards_of_what_the_teacher_sees(
    teacher: Wan, teacher_folder: Path, videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shards"
    size = {"width": 32, "height": 32, "num_frames": 9}
    assert precompute(teacher_folder, videos, out, rows=2, **size) == 3
    source = ShardSource(out)
    assert (len(source), source.latent_shape, source.num_slices) == (3, (8, 5, 8, 8), 5)

    rows = torch.tensor([2, 0])
    latents, text = source.latents(rows), source.text(rows)
    assert (latents.shape, latents.dtype) == ((2, 8, 5, 8, 8), torch.float32)
    for place, row in enumerate(rows.tolist()):
        (wanted,) = teacher.encode(CAPTIONS[row], None).tensors
        assert torch.allclose(text[place], wanted[0], atol=2e-2)
        pixels = torch.from_numpy(read_frames(videos / f"{row}.mp4", 32, 32, 9)).permute(3, 0, 1, 2)
        with torch.no_grad():
            encoded = teacher.pipeline.vae.encode(pixels[None].float() / 127.5 - 1).latent_dist.mean
        assert torch.allclose(latents[place], encoded[0], atol=2e-2)
    (empty,) = teacher.encode("", None).tensors
    assert torch.allclose(source.empty, empty, atol=2e-2)

    stamps = {path: path.stat().st_mtime_ns for path in out.glob("shard-*")}
    precompute(teacher_folder, videos, out, rows=2, **size)
    assert {path: path.stat().st_mtime_ns for path in out.glob("shard-*")} == stamps


def test_rows_are_found_across_shards(tmp_path: Path) -> None:
    """Rows 0 to 2 in the first shard, 3 and 4 in the second."""
    numbers = torch.arange(5.0).view(5, 1, 1, 1, 1)
    for start, part in ((0, numbers[:3]), (3, numbers[3:])):
        tensors = {"latents": part.clone(), "prompt_embeds": part.clone().view(-1, 1, 1)}
        save_file(tensors, tmp_path / f"shard-{start:08d}.safetensors")
    save_file({"prompt_embeds": torch.zeros(1, 1, 1)}, tmp_path / "empty.safetensors")
    source = ShardSource(tmp_path)
    assert source.latents(torch.tensor([4, 2, 3, 0])).flatten().tolist() == [4, 2, 3, 0]
    assert source.text(torch.tensor([2, 3])).flatten().tolist() == [2, 3]


def test_what_is_missing_is_named(videos: Path, teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold shard-"):
        ShardSource(tmp_path)
    with pytest.raises(ValueError, match="9 frames, 10 are needed"):
        read_frames(videos / "0.mp4", 32, 32, 10)
    (videos / "1.txt").unlink()
    with pytest.raises(ValueError, match=r"1\.mp4 has no caption"):
        precompute(teacher_folder, videos, tmp_path / "out", width=32, height=32, num_frames=9)
    with pytest.raises(ValueError, match=r"no \.mp4"):
        precompute(teacher_folder, tmp_path, tmp_path / "out", width=32, height=32, num_frames=9)


def test_captions_go_through_the_teachers_text_encoder(teacher: Wan, source: ClipSource) -> None:
    text = source.text(torch.tensor([1]))
    assert text.shape == (1, 24, 64)
    assert not text.requires_grad
    (empty,) = teacher.encode("", None).tensors
    assert torch.allclose(source.empty, empty, atol=1e-6)

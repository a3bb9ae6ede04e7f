"""What came with a job beside its request: fetched from the artifact store before the job starts."""

from __future__ import annotations

import asyncio

from PIL.Image import Image

from protocol.artifacts import ArtifactStore
from protocol.jobs import GenerationRequest
from protocol.start_images import open_kept, path_behind
from workers.patience import insist


async def fetch_image(store: ArtifactStore, request: GenerationRequest) -> Image | None:
    """The image a queued request starts from; None if it starts from none.

    Raises:
        Gone: it is not there any more, or damaged.
        OSError, Unavailable: the store does not answer.
    """
    path = path_behind(request.input.image or "")
    if path is None:
        return None
    data = await insist(lambda: store.get(path), f"the image of a job for {request.model}")
    return await asyncio.to_thread(open_kept, data)

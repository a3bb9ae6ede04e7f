"""What is served."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from protocol.catalog import CatalogEntry, FrameLimits, InputDefaults, LengthLimits, SizeLimits
from protocol.errors import NotFound
from protocol.plan import min_budget
from protocol.vocabularies import Vocabulary
from server.params import caller_of, gateway_of

router = APIRouter(tags=["models"])


class ModelAnswer(BaseModel):
    """One model: OpenAI's four fields, then ours.

    `min_budget` is the least share of full compute at the default number of steps. `frames` and `fps` say how
    long a video may be and how fast it plays; null for models of pictures. `lengths` and `vocabulary` are of
    models of text and music, which have no `sizes`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rheostat"
    family: str
    modality: str
    digest: str
    sizes: SizeLimits | None
    frames: FrameLimits | None
    fps: float | None
    lengths: LengthLimits | None = None
    vocabulary: Vocabulary | None = None
    defaults: InputDefaults
    max_steps: int
    max_samples: int
    methods: tuple[str, ...]
    calibrated_budgets: tuple[float, ...]
    min_budget: float
    input_fields: tuple[str, ...]
    required_fields: tuple[str, ...]
    loras: tuple[str, ...] = ()


class ModelPage(BaseModel):
    model_config = ConfigDict(frozen=True)

    object: Literal["list"] = "list"
    data: tuple[ModelAnswer, ...]


@router.get("/v1/models", responses={200: {"model": ModelPage}})
async def list_models(request: Request) -> Response:
    """Every catalogued model this key may use, also those no worker serves at the moment."""
    caller = caller_of(request)
    entries = await gateway_of(request).catalog.all()
    allowed = [entry for entry in entries if caller.models is None or entry.name in caller.models]
    shown = tuple(_shown(entry) for entry in sorted(allowed, key=lambda entry: entry.name))
    return Response(ModelPage(data=shown).model_dump_json(), media_type="application/json")


@router.get("/v1/models/{name:path}", responses={200: {"model": ModelAnswer}})
async def get_model(request: Request) -> Response:
    """One model."""
    caller, name = caller_of(request), request.path_params["name"]
    known = {entry.name: entry for entry in await gateway_of(request).catalog.all()}
    if name not in known:
        raise NotFound(
            "there is no such model",
            param="model",
            code="unknown_model",
            details={"allowed": [*sorted(known)]},
        )
    caller.require_model(name)
    return Response(_shown(known[name]).model_dump_json(), media_type="application/json")


def _shown(entry: CatalogEntry) -> ModelAnswer:
    same = entry.model_dump(include=set(ModelAnswer.model_fields))
    return ModelAnswer(
        id=entry.name, min_budget=min_budget(entry), calibrated_budgets=entry.calibrated_budgets, **same
    )

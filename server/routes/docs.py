"""The interface, readable without the internet: one page that renders `/openapi.json` itself."""

from __future__ import annotations

from functools import cache
from importlib import resources

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(_: Request) -> Response:
    return HTMLResponse(_page())


@cache
def _page() -> str:
    return resources.files("server.pages").joinpath("docs.html").read_text("utf-8")

"""The web application around a gateway. Nothing is read, opened or made at import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from protocol.artifacts import ArtifactStore
from protocol.jobqueue import Catalog, EventHub, JobQueue
from server import errors, openapi
from server.gateway import Gateway
from server.middleware import Envelope
from server.routes import routers
from server.settings import ServerSettings


def create_app(settings: ServerSettings, jobqueue: JobQueue, store: ArtifactStore) -> FastAPI:
    """The gateway as an ASGI application; `jobqueue` stays the caller's to close."""
    gateway = Gateway(settings, jobqueue, Catalog(jobqueue), EventHub(jobqueue), store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()

    app = FastAPI(
        title="Rheostat",
        version=_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.gateway = gateway
    for router in routers():
        app.include_router(router)
    errors.install(app)
    openapi.install(app)
    app.add_middleware(Envelope, metrics=gateway.metrics, tracing=gateway.tracing)
    return app


def _version() -> str:
    try:
        return version("rheostat")
    except PackageNotFoundError:
        return "0"

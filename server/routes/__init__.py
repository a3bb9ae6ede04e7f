"""The routes, one file a resource."""

from __future__ import annotations

from fastapi import APIRouter

from server.routes import artifacts, docs, events, generations, health, images, models, videos


def routers() -> list[APIRouter]:
    return [
        generations.router,
        events.router,
        images.router,
        videos.router,
        models.router,
        artifacts.router,
        health.router,
        docs.router,
    ]

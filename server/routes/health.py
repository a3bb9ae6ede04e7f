"""Whether this gateway lives, whether it can serve, and what it counted."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from protocol.errors import Unavailable
from server.params import gateway_of

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez(_: Request) -> Response:
    """Alive, whatever Redis or the workers do."""
    return JSONResponse({"status": "alive", "server": "rheostat"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """200 when requests can be served, else 503 with what is missing."""
    checks = await gateway_of(request).checks()
    if all(verdict == "ok" for verdict in checks.values()):
        return JSONResponse({"status": "ready", "checks": checks})
    raise Unavailable("not ready", code="not_ready", details={"checks": {**checks}}, retry_after_s=1)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text or OpenMetrics, as asked; gauges of the queue are read from Redis now."""
    gateway = gateway_of(request)
    accept = request.headers.get("accept", "")
    page = await gateway.metrics.render(gateway.jobqueue, gateway.catalog, accept)
    return Response(page.body, headers={"Content-Type": page.content_type})

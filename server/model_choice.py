"""Which model a request in OpenAI's shape means."""

from __future__ import annotations

from pydantic import JsonValue

from protocol.catalog import CatalogEntry
from protocol.errors import InvalidRequest
from server.gateway import Gateway


async def choose_model(gateway: Gateway, named: str | None, modality: str) -> CatalogEntry:
    """The model named, else the configured one if it makes what is asked for, else the only one that does.

    Raises:
        InvalidRequest: there is no such model, it makes something else, or none is named and not just one
            would do.
    """
    entry = await gateway.admission.entry(named) if named else await _default(gateway, modality)
    if entry.modality != modality:
        raise InvalidRequest(
            f"{entry.name} makes {entry.modality}, not {modality}",
            param="model",
            details={"allowed": _names(await _able(gateway, modality))},
        )
    return entry


async def _default(gateway: Gateway, modality: str) -> CatalogEntry:
    able = await _able(gateway, modality)
    preferred = [entry for entry in able if entry.name == gateway.settings.default_model] or able
    if len(preferred) != 1:
        raise InvalidRequest(
            "name a model", param="model", code="missing_field", details={"allowed": _names(able)}
        )
    return preferred[0]


async def _able(gateway: Gateway, modality: str) -> list[CatalogEntry]:
    return [entry for entry in await gateway.catalog.all() if entry.modality == modality]


def _names(entries: list[CatalogEntry]) -> list[JsonValue]:
    return [entry.name for entry in entries]

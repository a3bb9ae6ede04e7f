"""Tokens that a discrete model is to keep: as callers write them, and as a job carries them.

Text:   {"prefix": "the act of "}   {"spans": [{"start": 40, "text": "a small"}]}
Music:  {"soprano": [72, "hold", "hold", "rest", null, ...], "bass": [...]}, an entry a sixteenth: a MIDI
        pitch (a note begins), "hold", "rest", or null where the model is free, as it is beyond the list's end
        {"midi": "<base64>"}, with "voices": ["soprano"] and "bars": [1, 2] (first and last, from 1) where not
        all that the file holds is to be kept; silence is kept as well
Both:   {"tokens": [5, null, 7]}, null likewise; this is what a job carries

Entries may stand together as long as they do not say two things of one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from protocol.errors import InvalidRequest
from protocol.notes import HOLD, REST, STEPS_PER_BAR, NotationError, Note, token_of
from protocol.start_images import inline_bytes
from protocol.vocabularies import CharacterVocabulary, ChoraleVocabulary

PARAM = "input.given"
VOICES = ("soprano", "alto", "tenor", "bass")
Kept = list[int | None]
"""A token a place, None where the model is free."""

_MAX_SPANS = 256
_Asked = TypeVar("_Asked", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Span(_Strict):
    start: Annotated[int, Field(ge=0)]
    text: str


class _Text(_Strict):
    prefix: str | None = None
    spans: Annotated[list[_Span], Field(max_length=_MAX_SPANS)] = []
    tokens: Kept | None = None


Voice = Literal["soprano", "alto", "tenor", "bass"]
_Events = list[int | Literal["hold", "rest"] | None]


class _Music(_Strict):
    soprano: _Events | None = None
    alto: _Events | None = None
    tenor: _Events | None = None
    bass: _Events | None = None
    midi: str | None = None
    voices: Annotated[list[Voice], Field(min_length=1)] | None = None
    bars: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    tokens: Kept | None = None


def read_given(
    given: Mapping[str, JsonValue] | None, vocabulary: CharacterVocabulary | ChoraleVocabulary, length: int
) -> dict[str, JsonValue] | None:
    """What a job carries of it: `{"tokens": [...]}` of `length` places, or None if nothing is kept.

    Reading it again changes nothing.

    Raises:
        InvalidRequest: it does not fit the model or its length, or says two things of one place.
    """
    if given is None:
        return None
    places: Kept = [None] * length
    if isinstance(vocabulary, CharacterVocabulary):
        _keep_text(places, _asked(_Text, given), vocabulary)
    else:
        _keep_music(places, _asked(_Music, given), vocabulary)
    return {"tokens": [*places]} if any(token is not None for token in places) else None


def kept_tokens(given: Mapping[str, Any] | None) -> Kept:
    """The tokens of a `given` that was read; empty where nothing is kept."""
    return list(given["tokens"]) if given is not None else []


def _asked(kind: type[_Asked], given: Mapping[str, JsonValue]) -> _Asked:
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        at = str(fault["loc"][0])
        if fault["type"] == "extra_forbidden":
            known: list[JsonValue] = [*kind.model_fields]
            raise InvalidRequest(
                "this model keeps nothing of that name",
                param=f"{PARAM}.{at}",
                code="unknown_field",
                details={"allowed": known},
            ) from None
        raise InvalidRequest(fault["msg"].replace("Input should", "must"), param=f"{PARAM}.{at}") from None


def _keep_text(places: Kept, asked: _Text, vocabulary: CharacterVocabulary) -> None:
    texts = [("prefix", 0, asked.prefix or ""), *(("spans", span.start, span.text) for span in asked.spans)]
    for name, start, text in texts:
        try:
            tokens = vocabulary.encode(text)
        except ValueError as error:
            allowed: dict[str, JsonValue] = {"allowed": vocabulary.characters}
            raise InvalidRequest(str(error), param=f"{PARAM}.{name}", details=allowed) from None
        _keep(places, name, enumerate(tokens, start))
    _keep_tokens(places, asked.tokens, vocabulary.size)


def _keep_music(places: Kept, asked: _Music, vocabulary: ChoraleVocabulary) -> None:
    for voice, name in enumerate(VOICES):
        events = getattr(asked, name) or []
        _check_length(name, len(events), vocabulary.steps)
        start = voice * vocabulary.steps
        tokens = (_token(name, event, vocabulary) for event in events)
        _keep(places, name, enumerate(tokens, start))
    if asked.midi is not None:
        _keep_midi(places, asked, vocabulary)
    elif asked.voices is not None or asked.bars is not None:
        name = "voices" if asked.voices is not None else "bars"
        raise InvalidRequest("this is said of a midi file, and there is none", param=f"{PARAM}.{name}")
    _keep_tokens(places, asked.tokens, vocabulary.size)


def _keep_midi(places: Kept, asked: _Music, vocabulary: ChoraleVocabulary) -> None:
    """The cells of the voices and bars chosen; silence in them is kept as well."""
    from protocol.midi import read_midi

    assert asked.midi is not None
    param = f"{PARAM}.midi"
    try:
        notes = read_midi(inline_bytes(asked.midi, param))
        tokens = vocabulary.encode(_within(notes, vocabulary.steps))
    except NotationError as error:
        raise InvalidRequest(str(error), param=param) from error
    steps = _bars(asked.bars, vocabulary.steps)
    for voice in _voices(asked.voices, notes):
        start = voice * vocabulary.steps
        _keep(places, "midi", ((start + step, tokens[start + step]) for step in steps))


def _within(notes: Iterable[Note], steps: int) -> list[Note]:
    """The notes themselves, if there are any and none lies beyond the piece's end."""
    listed = list(notes)
    if not listed:
        raise NotationError("the file holds no notes")
    if max(note.end for note in listed) > steps:
        raise NotationError(f"the file is longer than the model's {steps} sixteenths")
    return listed


def _voices(named: list[Voice] | None, notes: Iterable[Note]) -> list[int]:
    there = {note.part for note in notes}
    if named is None:
        return sorted(there)
    wanted = [VOICES.index(name) for name in named]
    if set(wanted) - there:
        allowed: list[JsonValue] = [VOICES[part] for part in sorted(there)]
        raise InvalidRequest(
            "the file has no such voice", param=f"{PARAM}.voices", details={"allowed": allowed}
        )
    return wanted


def _bars(asked: list[int] | None, steps: int) -> range:
    count = -(-steps // STEPS_PER_BAR)
    first, last = asked or (1, count)
    if not 1 <= first <= last <= count:
        raise InvalidRequest(
            "bars are counted from 1, the first before the last",
            param=f"{PARAM}.bars",
            details={"allowed": {"min": 1, "max": count}},
        )
    return range((first - 1) * STEPS_PER_BAR, min(last * STEPS_PER_BAR, steps))


def _token(name: str, event: int | str | None, vocabulary: ChoraleVocabulary) -> int | None:
    if event is None or isinstance(event, str):
        return {None: None, "hold": HOLD, "rest": REST}[event]
    try:
        return token_of(event, vocabulary.lowest, vocabulary.highest)
    except NotationError:
        raise InvalidRequest(
            "a pitch is out of the model's range",
            param=f"{PARAM}.{name}",
            details={"allowed": {"min": vocabulary.lowest, "max": vocabulary.highest}},
        ) from None


def _keep_tokens(places: Kept, tokens: Kept | None, size: int) -> None:
    listed = tokens or []
    if any(token is not None and not 0 <= token < size for token in listed):
        raise InvalidRequest(
            "a token is out of the vocabulary's range",
            param=f"{PARAM}.tokens",
            details={"allowed": {"min": 0, "max": size - 1}},
        )
    _keep(places, "tokens", enumerate(listed))


def _keep(places: Kept, name: str, cells: Iterable[tuple[int, int | None]]) -> None:
    listed = list(cells)
    _check_length(name, max((place for place, _ in listed), default=-1) + 1, len(places))
    for place, token in listed:
        if token is None:
            continue
        if places[place] not in (None, token):
            raise InvalidRequest(f"two things are said of place {place}", param=f"{PARAM}.{name}")
        places[place] = token


def _check_length(name: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidRequest(
            f"it reaches beyond the {most} places there are",
            param=f"{PARAM}.{name}",
            details={"allowed": {"max": most}},
        )

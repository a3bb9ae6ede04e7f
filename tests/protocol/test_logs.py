"""Log lines: what stands in them, what never does."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import warnings
from typing import Any

import pytest
from pydantic import ValidationError

from protocol.jobs import GenerationRequest
from protocol.logs import about, mention, of_job, set_up

LOG = logging.getLogger("rheostat.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object(written: io.StringIO) -> None:
    LOG.info("two\nlines of %s", "text", extra={"seconds": 0.5})
    [line] = lines(written)
    assert line["message"] == "two\nlines of text"
    assert (line["level"], line["logger"], line["seconds"]) == ("info", "rheostat.test", 0.5)
    assert line["time"].endswith("+00:00")


def test_below_the_level_nothing_is_written(written: io.StringIO) -> None:
    LOG.debug("quiet")
    assert lines(written) == []


async def test_lines_carry_the_ids_of_what_goes_on(written: io.StringIO) -> None:
    async def work(name: str) -> None:
        with about(**of_job(name)):
            await asyncio.sleep(0)
            LOG.info("inside")

    with about(request_id="r"):
        mention(trace_id="t")
        await asyncio.gather(work("anna/a"), work("bert/b#token/0"))
        LOG.info("between")
    LOG.info("outside")
    common = {"request_id": "r", "trace_id": "t"}
    ids = [{name: line[name] for name in ("request_id", "trace_id", "tenant", "job_id") if name in line}
           for line in lines(written)]  # fmt: skip
    assert ids == [
        {**common, "tenant": "anna", "job_id": "a"},
        {**common, "tenant": "bert", "job_id": "b"},
        common,
        {},
    ]


def test_an_engine_alone_has_no_tenants() -> None:
    assert of_job("job-1") == {"job_id": "job-1"}


def test_exceptions_and_warnings_and_last_words_are_lines(written: io.StringIO) -> None:
    try:
        raise KeyError("key")
    except KeyError as error:
        LOG.exception("caught")
        sys.excepthook(KeyError, error, error.__traceback__)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", stacklevel=1)
        logging.captureWarnings(False)
    caught, last, warned = lines(written)
    assert "KeyError: 'key'" in caught["exception"]
    assert (last["level"], last["message"]) == ("critical", "the process ends by an error")
    assert "old" in warned["message"]


def test_text_where_somebody_reads_along() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        set_up("auto", "info", stream)
        with about(job_id="a"):
            LOG.warning("careful")
    assert terminal.getvalue().endswith(": careful [job_id=a]\n")
    assert lines(file)[0]["job_id"] == "a"


@pytest.mark.parametrize("where", [{"prompt": "my secret", "width": "wide"}, {"prompt": ["my secret"]}])
def test_what_is_said_of_a_request_leaves_its_prompt_out(where: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerationRequest.model_validate_json(json.dumps({"model": "m", "input": where}))
    assert "secret" not in str(caught.value)

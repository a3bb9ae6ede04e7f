"""For `benchmarks.telemetry_overhead`: a supervisor's registry and spans, their receiver, and a scraper.

    python -m benchmarks.telemetry_receivers FD

Prints `ready URL`, where spans go, then runs until it is ended. The receiver of spans and the
scraper share a process of their own, so that what is measured pays for neither.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

from protocol.tracing import TracingSettings
from workers.metrics import WorkerMetrics, listen
from workers.spans import Spans

READY = "ready"
_SCRAPE_EVERY_S = 1.0


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def collect(told: Connection) -> None:
    """Take spans, tell where, and scrape the address that comes back."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told.send(f"http://127.0.0.1:{server.server_port}")
    metrics = told.recv()
    while True:
        time.sleep(_SCRAPE_EVERY_S)
        urllib.request.urlopen(metrics, timeout=10).read()


async def keep(inlet: socket.socket, told: Connection) -> None:
    """Be the supervisor's half."""
    url, metrics = told.recv(), WorkerMetrics()
    spans = Spans(TracingSettings(endpoint=url), "worker")
    port = _free_port()
    stop = metrics.serve("127.0.0.1", port)
    told.send(f"http://127.0.0.1:{port}/metrics")
    listen(inlet, metrics, spans.hear)
    print(READY, url, flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    collector = context.Process(target=collect, args=(theirs,), daemon=True)
    collector.start()
    asyncio.run(keep(socket.socket(fileno=int(sys.argv[1])), ours))
    collector.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Two ranks on gloo, forked after one import as a zygote does it: rank 0 runs an engine, rank 1 follows.

    python -m tests.ranks.program CHECKPOINTS OUT < cases.json

A case is `{"root", "model", "lanes", "tokens", "jobs": [[body, plan or null], ...]}`. Each writes its
results' latents and receipts to OUT/<place>.pt.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from protocol.plan import Plan
from workers.engine import Engine, EngineSettings, Finished, Follower, self_test
from workers.engine_process import import_ahead
from workers.models import LoadOptions, load
from workers.models.mesh import MeshShape
from workers.place import Place, open_listener
from workers.rendezvous import join

TIMEOUT_S = 60.0
SETTINGS = EngineSettings(num_threads=1)


def rank(place: Place, case: dict[str, Any], root: Path, out: Path) -> None:
    mesh = join(place, MeshShape(case["lanes"], case["tokens"]), torch.device("cpu"), TIMEOUT_S)
    model = load(root / case["model"], dtype="float32", options=LoadOptions(mesh=mesh))
    self_test(model)
    if place.rank:
        Follower(model, SETTINGS.max_forecasts).run()
        return
    engine = Engine(model, SETTINGS)
    for body, plan in case["jobs"]:
        engine.add(body, plan=None if plan is None else Plan.model_validate(plan))
    results = {}
    while not engine.idle:
        for event in engine.step():
            if isinstance(event, Finished):
                results[event.id] = event.result
    engine.leader.stop()
    told = [
        (result.samples[0].latents, result.receipt.model_dump(mode="json"))
        for _, result in sorted(results.items())
    ]
    torch.save(told, out)


def run(case: dict[str, Any], root: Path, out: Path) -> None:
    """Fork both ranks and wait for them; whoever fails takes the other along."""
    children = []
    with open_listener() as listener:
        for number in range(2):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    rank(Place(number, 2, listener), case, root, out)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            children.append(pid)
    for _ in children:
        pid, status = os.wait()
        if status:
            for other in children:
                if other != pid:
                    os.kill(other, 9)
            raise SystemExit(f"a rank of {case['model']} ended with {status}")


def main() -> None:
    root, out = map(Path, sys.argv[1:])
    import_ahead()
    for place, case in enumerate(json.load(sys.stdin)):
        run(case, root / case["root"], out / f"{place}.pt")


if __name__ == "__main__":
    main()

"""The machines: who is up, how fast, how full, how often replaced."""

from __future__ import annotations

from deploy.observability.panels import MODEL, RATE, SHARE, TFLOPS_PER_SECOND, Board, Panel, Query, Row
from protocol import metrics

_ENTRY = "reading-fleet"
_ALL_JOBS = 'job=~"rheostat.*"'

WORKERS = Row(
    "Workers",
    (
        Panel(
            "Workers by state",
            "Starting, warming, ready, draining.",
            "short",
            (Query(f"sum by (state) ({metrics.WORKER_STATE.name})", "{{state}}"),),
            "RheostatNobodyServes",
            "stacked",
        ),
        Panel(
            "Speed",
            "TFLOPs a second of each worker, as measured on its own turns.",
            TFLOPS_PER_SECOND,
            (Query(f"{metrics.WORKER_SPEED.name}{{{MODEL}}}", "{{instance}} {{model}}"),),
            "RheostatLatencyBurnsSlowly",
        ),
        Panel(
            "Speed in the catalog",
            "What gateways quote and scale by; outlives the workers.",
            TFLOPS_PER_SECOND,
            (Query(f"max by (model) ({metrics.MODEL_SPEED.name}{{{MODEL}}})", "{{model}}"),),
            "RheostatLatencyBurnsSlowly",
        ),
        Panel(
            "Samples in flight",
            "Pictures and clips between two steps.",
            "short",
            (
                Query(
                    f"sum by (instance, model) ({metrics.RUNNING_SAMPLES.name}{{{MODEL}}})",
                    "{{instance}} {{model}}",
                ),
            ),
            _ENTRY,
            "stacked",
        ),
        Panel(
            "Busy",
            "Share of the time each worker's engine computes evaluations. Near 1 for long: add workers.",
            SHARE,
            (
                Query(
                    f"sum by (instance) (rate({metrics.STEP_SECONDS.name}_sum{{{MODEL}}}[{RATE}]))",
                    "{{instance}}",
                ),
            ),
            "RheostatQueueOverdue",
        ),
        Panel(
            "Engines replaced",
            "In an hour: one that was ready crashed, one never became ready (unfit).",
            "short",
            (
                Query(
                    f"sum by (instance, reason) (increase({metrics.RESTARTS.name}[1h]))",
                    "{{instance}} {{reason}}",
                    "no engine ended unasked",
                ),
            ),
            "RheostatWorkerFlaps",
        ),
    ),
)

MACHINES = Row(
    "Machines",
    (
        Panel(
            "Memory of engines",
            "Resident memory of the engine process; on a GPU its weights are not in it.",
            "bytes",
            (Query("rheostat_engine_process_resident_memory_bytes", "{{instance}}"),),
            _ENTRY,
        ),
        Panel(
            "Memory left for samples",
            "Of the device, as the engine reckons before it lets a job in.",
            "bytes",
            (Query(metrics.WORKER_FREE.name, "{{instance}}"),),
            _ENTRY,
        ),
        Panel(
            "Memory of gateways and supervisors",
            "Resident memory.",
            "bytes",
            (Query(f"process_resident_memory_bytes{{{_ALL_JOBS}}}", "{{job}} {{instance}}"),),
            _ENTRY,
        ),
        Panel(
            "Processor time",
            "Cores used: engines, gateways and supervisors.",
            "short",
            (
                Query(f"rate(rheostat_engine_process_cpu_seconds_total[{RATE}])", "engine {{instance}}"),
                Query(f"rate(process_cpu_seconds_total{{{_ALL_JOBS}}}[{RATE}])", "{{job}} {{instance}}"),
            ),
            _ENTRY,
        ),
        Panel(
            "Up",
            "1 where Prometheus gets an answer.",
            "short",
            (Query(f"up{{{_ALL_JOBS}}}", "{{job}} {{instance}}"),),
            "RheostatScrapeMissing",
        ),
        Panel(
            "Redis",
            "1 where a gateway gets an answer from Redis.",
            "short",
            (Query(metrics.REDIS_UP.name, "{{instance}}"),),
            "RheostatRedisDown",
        ),
        Panel(
            "Hours since the start",
            "Of gateways, supervisors and engines: a saw is something that starts again and again.",
            "h",
            (
                Query(f"(time() - process_start_time_seconds{{{_ALL_JOBS}}}) / 3600", "{{job}} {{instance}}"),
                Query("(time() - rheostat_engine_process_start_time_seconds) / 3600", "engine {{instance}}"),
            ),
            "RheostatWorkerFlaps",
        ),
    ),
)

FLEET = Board(
    "rheostat-fleet",
    "Rheostat / Fleet",
    "Workers and gateways: states, speed, memory, restarts.",
    (WORKERS, MACHINES),
)

"""From ledgers to receipts."""

from __future__ import annotations

from protocol.receipts import FLOP_PER_TFLOP, MFLOP_PER_TFLOP, PlanSummary, Receipt, SampleReceipt
from workers.engine.job import Flight, Job
from workers.engine.results import Result, SampleResult


def sample_receipt(flight: Flight) -> SampleReceipt:
    """One sample's account, in TFLOPs of the denoiser."""
    plan, ledger = flight.job.plan, flight.state.ledger
    return SampleReceipt(
        seed=flight.seed,
        granted=ledger.granted_flop / FLOP_PER_TFLOP,
        spent=ledger.spent_flop / FLOP_PER_TFLOP,
        nfe=ledger.nfe,
        plan=PlanSummary(
            methods=plan.methods,
            num_inference_steps=plan.num_inference_steps,
            solver=plan.solver,
            calibration=plan.calibration,
            parameters=plan.parameters,
            nodes=plan.nodes,
            depths=plan.depths,
            expected_distance=plan.expected_distance,
        ),
        steps=tuple(ledger.lines),
    )


def job_result(job: Job, samples: tuple[SampleResult, ...], wall_s: float) -> Result:
    """The job's end: its samples and the whole account. Shares are of the full compute of all samples."""
    full_flop = job.price.full_flop
    spent_flop = sum(flight.state.ledger.spent_flop for flight in job.flights)
    receipt = Receipt(
        budget=job.request.compute_budget.share_of(full_flop * MFLOP_PER_TFLOP // FLOP_PER_TFLOP),
        granted=job.plan.granted,
        spent=spent_flop / full_flop,
        full_tflops=full_flop / FLOP_PER_TFLOP,
        tflops=spent_flop / FLOP_PER_TFLOP,
        other_tflops=(job.price.other_flop + job.preview_flop) / FLOP_PER_TFLOP,
        nfe=sum(sample.receipt.nfe for sample in samples),
        wall_s=wall_s,
        samples=tuple(sample.receipt for sample in samples),
    )
    return Result(job.id, samples, receipt, dict(job.stage_seconds))

"""One run over several processes: each simulates some of the models, the results add up.

Models meet only in what bounds all of them together (``max_queued_requests`` and bytes,
``Capacity``): a run with capacity is not divided, and the bounds on what is held hold in each
process. Two pokes within 20 ms are decided upon together, in a running Stoker as well: with
fewer models a decision may come that much earlier. All end at the same moment, when the last
of them has nothing under way: until then every replica costs.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait

from simulations.engine import Progress, Run, simulate
from simulations.result import Result
from stoker.errors import WorkerError

SAID_EVERY = 60.0
"""Virtual seconds between two words of a shard about how far it is."""


def simulate_in(jobs: int, run: Run, progress: Progress | None = None) -> Result:
    """``simulate`` in up to ``jobs`` processes. Raises what a shard raised, and WorkerError
    where one was killed.
    """
    models = run.source.models if run.only is None else tuple(run.only)
    jobs = min(jobs, len(models))
    if jobs <= 1 or run.world.capacity.replicas:
        return simulate(run, progress)
    # Forked: the trace is there already, and need not be sent.
    context = multiprocessing.get_context("fork")
    pipes: dict[Connection, multiprocessing.process.BaseProcess] = {}
    for number in range(jobs):
        ours, theirs = context.Pipe()
        part = replace(run, only=models[number::jobs])
        process: multiprocessing.process.BaseProcess
        args = (theirs, [*pipes, ours], part)
        process = context.Process(target=_work, args=args, daemon=True)
        process.start()
        theirs.close()
        pipes[ours] = process
    try:
        return _gathered(pipes, progress)
    finally:
        for process in pipes.values():
            process.kill()
            process.join()


@dataclass(frozen=True, slots=True)
class _Ended:
    """A shard has nothing under way from this second on, and waits for the others' ends."""

    at: float


def _work(pipe: Connection, inherited: Sequence[Connection], run: Run) -> None:
    """One shard. Ctrl-C is its parent's to act upon; a parent that is gone ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in inherited:
        other.close()  # or the pipe would seem to be read for as long as this process lives
    said = 0.0

    def say(second: float) -> None:
        nonlocal said
        if second >= said:
            said = second + SAID_EVERY
            pipe.send(second)

    def together(second: float) -> float:
        pipe.send(_Ended(second))
        return float(pipe.recv())

    try:
        pipe.send(simulate(run, say, together))
    except (BrokenPipeError, EOFError):
        return
    except Exception as error:
        pipe.send(error)


def _gathered(
    pipes: dict[Connection, multiprocessing.process.BaseProcess], progress: Progress | None
) -> Result:
    reached = dict.fromkeys(pipes, 0.0)
    ends: dict[Connection, float] = {}
    results: dict[Connection, Result] = {}
    while len(results) < len(pipes):
        for ready in wait([pipe for pipe in pipes if pipe not in results]):
            assert isinstance(ready, Connection)
            try:
                said = ready.recv()
            except EOFError:
                raise WorkerError(
                    "a process that simulated was killed, perhaps for want of memory:"
                    " try fewer with --jobs"
                ) from None
            if isinstance(said, Exception):
                raise said
            if isinstance(said, Result):
                results[ready] = said
                continue
            if isinstance(said, _Ended):
                ends[ready] = said.at
                if len(ends) == len(pipes):
                    for pipe in pipes:
                        pipe.send(max(ends.values()))
                continue
            reached[ready] = said
            if progress is not None:
                progress(min(reached[pipe] for pipe in pipes if pipe not in results))
    return merged([results[pipe] for pipe in pipes])


def merged(results: Sequence[Result]) -> Result:
    """Results of other models over the same time as one."""
    first, *rest = results
    models = dict(first.models)
    for other in rest:
        first.totals.merge(other.totals)
        first.waits.merge(other.waits)
        first.latencies.merge(other.latencies)
        first.cold_waits.merge(other.cold_waits)
        first.series.merge(other.series)
        first.money.dollars += other.money.dollars
        first.money.gpu_hours += other.money.gpu_hours
        first.decisions += other.decisions
        first.duration = max(first.duration, other.duration)
        models.update(other.models)
    first.models = models
    return first

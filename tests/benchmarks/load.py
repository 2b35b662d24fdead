"""A cluster that is not there: many simulated nodes that speak the real protocol to a real broker and writer.

In: `python -m tests.benchmarks.load [--nodes 1 10 100 1000] [--workers 128] [--seconds 20] [--postgres] [--json
FILE]`. Out: at each step the broker's connections, memory and CPU of every service, delay and loss.

A simulated node is an agent's own publisher with a connection of its own, which ships what an agent of a node with so
many workers would: the begin and end of each task (30 s each), a sample of each every ten seconds, one of the node;
at the pace of an agent, every class by itself, confirmed. A few processes hold all nodes. The kernel's records
(described, pending, launched, done) come from the first node of each process. A task in 50 is looked for in the
database; its delay counts from the moment at which its node ships.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import msgspec

from heliograph.bus import BusFull, BusUnavailable, Outgoing, Publisher, open_publisher
from heliograph.bus.amqp.topology import declare
from heliograph.messages import (
    CLASS_OF,
    SCHEMA_VERSION,
    Batch,
    Class,
    NodeSample,
    Record,
    RunStarted,
    Source,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
    encode,
)
from tests.benchmarks.frame import Figure, at_least, at_most, report, told
from tests.benchmarks.probes import Probe, Prober, percentile
from tests.benchmarks.services import Stored, Usage, postgres, rabbitmq, until, writers
from tests.fixtures.broker import Broker

TASK_SECONDS = 30.0
SAMPLE_EVERY = 10.0
TICK = 1.0
"""Seconds between two parcels of a class. A real agent sends up to four a second while much happens."""
PROBE = 50
THREADS = 25
CONNECT = 75.0
"""Seconds that all nodes have to connect."""
HOLDERS = 2
STATES = ("pending", "launched", "running", "running_ended", "exec_done")
MEBI = 1 << 20


@dataclass
class Node:
    """One simulated node: its agent's connection and what its workers do."""

    run: str
    number: int
    workers: int
    publisher: Publisher
    random: random.Random
    tasks: dict[int, float] = field(default_factory=dict)
    """Tasks under way, with the time of their end."""
    offset: int = 0
    due: float = 0.0
    sample_due: float = 0.0
    first: int = 0
    waiting: list[Record] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"node{self.number:05d}.cluster.example"


@dataclass
class Told:
    """What a process of the generator did."""

    states: int = 0
    samples: int = 0
    refused: int = 0
    late: float = 0.0
    """Most seconds that a node shipped after its time: above one, the generator is the bottleneck."""


def hold(  # noqa: PLR0917
    run: str,
    url: str,
    numbers: range,
    workers: int,
    seconds: float,
    probes: Queue[Any],
    told_to: Queue[Any],
    ready: Any,
) -> None:
    """A process that holds some of the nodes, for so many seconds."""
    pick = random.Random(numbers.start)
    nodes = [Node(run, n, workers, open_publisher(url, name=f"node-{n}"), random.Random(n)) for n in numbers]
    for node in nodes:
        node.publisher.publish([])  # connects
        # What runs already when this begins: a cluster in the middle of its work, not one whose workers start at once.
        node.tasks = {node.number * 1_000_000 + n: 0.0 for n in range(workers)}
        node.first = node.number * 1_000_000 + workers
    ready.wait(CONNECT)
    began = time.time()
    for node in nodes:
        node.due = began + pick.random() * TICK
        node.sample_due = began + pick.random() * SAMPLE_EVERY
        node.tasks = {task: began + pick.random() * TASK_SECONDS for task in node.tasks}
    # Waiting for a confirm is most of what a node does, and real nodes do it at the same time.
    with ThreadPoolExecutor(THREADS) as pool:
        tells = list(pool.map(lambda some: _drive(some, began + seconds, probes), _shared(nodes, THREADS)))
    told_to.put(
        Told(
            states=sum(t.states for t in tells),
            samples=sum(t.samples for t in tells),
            refused=sum(t.refused for t in tells),
            late=max(t.late for t in tells),
        )
    )


def _shared(nodes: list[Node], among: int) -> list[list[Node]]:
    return [some for first in range(among) if (some := nodes[first::among])]


def _drive(nodes: list[Node], end: float, probes: Queue[Any]) -> Told:
    """Ship for these nodes, each at its time; a thread's work."""
    tell = Told()
    while (node := min(nodes, key=lambda n: n.due)).due < end:
        time.sleep(max(0.0, node.due - time.time()))
        tell.late = max(tell.late, time.time() - node.due)
        _ship(node, list(_events(node, node.due, probes)), tell)
        node.due += TICK
    for node in nodes:
        node.publisher.close()
    return tell


def _events(node: Node, now: float, probes: Queue[Any]) -> Iterator[Record]:
    """What happened on this node in the last tick, and what the submitting node told of its tasks."""
    for task, ends in list(node.tasks.items()):
        if ends <= now:
            del node.tasks[task]
            yield from _end(node, task, int(ends * 1e6))
    while len(node.tasks) < node.workers:
        began = now - node.random.random() * TICK
        task, node.first = node.first, node.first + 1
        node.tasks[task] = now + TASK_SECONDS * node.random.uniform(0.8, 1.2)
        yield from _begin(node, task, int(began * 1e6))
        if task % PROBE == 0:
            probes.put(Probe(run=node.run, task=task, state="running", at=time.time()))
    if now >= node.sample_due:
        node.sample_due += SAMPLE_EVERY
        yield from _samples(node, int(now * 1e6))


def _begin(node: Node, task: int, at: int) -> Iterator[Record]:
    head: dict[str, Any] = {"origin": "parsl", "number": task}
    yield TaskDescribed(at=at, app=f"app_{task % 8}", executor="htex", **head)
    yield TaskState(at=at, try_=0, state="pending", fail_count=0, fail_cost=0.0, **head)
    yield TaskState(at=at, try_=0, state="launched", executor="htex", launched=at, **head)
    yield TaskRunning(at=at, mono=at, try_=0, host=node.host, pid=2000 + task % node.workers,
                      create_time=77, worker=str(task % node.workers), pool=f"pool-{node.number}", block="0",
                      executor="htex", **head)  # fmt: skip


def _end(node: Node, task: int, at: int) -> Iterator[Record]:
    head: dict[str, Any] = {"origin": "parsl", "number": task}
    yield TaskEnded(at=at, mono=at, try_=0, host=node.host, pid=2000 + task % node.workers, ok=True, elapsed=29_000_000,
                    cpu_user=21_000_000, cpu_system=800_000, peak_rss=800 * MEBI, peak_exact=True, **head)  # fmt: skip
    yield TaskState(at=at, try_=0, state="exec_done", returned=at, **head)


def _samples(node: Node, at: int) -> Iterator[Record]:
    for task in node.tasks:
        yield TaskSample(at=at, origin="parsl", number=task, try_=0, host=node.host, pid=2000 + task % node.workers,
                         cpu_user=at % 30_000_000, cpu_system=at % 1_000_000, rss=700 * MEBI, peak_rss=800 * MEBI,
                         vms=3000 * MEBI, threads=4, children=0, read_bytes=at % 10**9, write_bytes=at % 10**8,
                         memory_percent=0.5, status="running", cpu_num=3, interval=SAMPLE_EVERY)  # fmt: skip
    yield NodeSample(at=at, host=node.host, cpu_count=128, cpu_percent=93.0, load1=120.0, memory_total=512 << 30,
                     memory_used=200 << 30, processes=900)  # fmt: skip


def _ship(node: Node, records: list[Record], tell: Told) -> None:
    """Parcels as an agent makes them: one class each; what is refused is sent again with the next."""
    for cls in (Class.STATES, Class.SAMPLES):
        some = [r for r in [*node.waiting, *records] if CLASS_OF[type(r)] is cls]
        node.waiting = [r for r in node.waiting if CLASS_OF[type(r)] is not cls]
        if not some:
            continue
        batch = Batch(
            version=SCHEMA_VERSION, run=node.run, cls=cls.value, agent=f"node-{node.number}", host=node.host, boot="b",
            sources=[Source(f"journal-{node.number}", list(range(node.offset, node.offset + len(some))))],
            records=[msgspec.Raw(encode(r)) for r in some],
        )  # fmt: skip
        node.offset += len(some)
        try:
            node.publisher.publish([Outgoing(run=node.run, cls=cls, body=encode(batch))])
        except (BusFull, BusUnavailable):
            node.waiting += some
            tell.refused += 1
            continue
        # A description leaves no time in `tries`; each of the others leaves exactly one.
        tell.states += sum(not isinstance(r, TaskDescribed) for r in some) if cls is Class.STATES else 0
        tell.samples += len(some) if cls is Class.SAMPLES else 0


def _start(run: str, url: str) -> None:
    record = encode(RunStarted(at=time.time_ns() // 1000, name=run, owner="ada", host="login1"))
    batch = Batch(version=SCHEMA_VERSION, run=run, cls="control", agent="k", host="login1", boot="b",
                  sources=[Source("kernel", [0])], records=[msgspec.Raw(record)])  # fmt: skip
    with closing(open_publisher(url, name="kernel")) as publisher:
        publisher.publish([Outgoing(run=run, cls=Class.CONTROL, body=encode(batch))])


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of the load showed. CPU in percent of one core, memory in MiB, times in seconds."""

    nodes: int
    workers: int
    records_per_second: float
    connections: int
    cpu: dict[str, float]
    memory: dict[str, float]
    p50: float
    p99: float
    lost: int
    late: float


def step(broker: Broker, database: str, server: int | None, nodes: int, workers: int, seconds: float) -> Step:  # noqa: PLR0917
    """So many nodes for so many seconds, and then until everything is stored."""
    bus, run = broker.new_url(), f"load-{nodes}"
    declare(bus)
    context = multiprocessing.get_context("spawn")
    probes, told_by = context.Queue(), context.Queue()
    ready = context.Barrier(min(HOLDERS, nodes) + 1)
    parts = [range(i, nodes, HOLDERS) for i in range(min(HOLDERS, nodes))]
    with tempfile.TemporaryDirectory() as name, writers(Path(name), bus, database, [0]) as (writer,):
        _start(run, bus)
        holders = [
            context.Process(target=hold, args=(run, bus, part, workers, seconds, probes, told_by, ready), daemon=True)
            for part in parts
        ]
        for holder in holders:
            holder.start()
        ready.wait(CONNECT)  # until all nodes are connected
        usage = Usage({"broker": broker.pid, "writer": writer.pid} | ({"postgresql": server} if server else {}))
        prober, began, tells = Prober(database), time.monotonic(), list[Told]()
        connections, memory, cpu, took = 0, {}, {}, 1.0
        while len(tells) < len(holders):
            while not probes.empty():
                prober.add(probes.get())
            while not told_by.empty():
                tells.append(told_by.get())
            if not connections and time.monotonic() - began > seconds * 0.7:
                connections, memory = len(broker.admin("GET", "connections")), usage.memory()
                cpu, took = usage.cpu(), time.monotonic() - began
            time.sleep(0.05)
        prober.finish()
        states, samples = sum(t.states for t in tells), sum(t.samples for t in tells)
        with closing(Stored(database)) as stored:
            until(lambda: stored.times(*STATES) >= states and stored.samples() >= samples, 120, pause=1)
            lost = states + samples - stored.times(*STATES) - stored.samples()
    described = states // 5
    return Step(
        nodes=nodes, workers=workers, records_per_second=(states + samples + described) / seconds,
        connections=connections, cpu={n: 100 * s / took for n, s in cpu.items()},
        memory={n: b / MEBI for n, b in memory.items()}, p50=percentile(prober.delays(), 50),
        p99=percentile(prober.delays(), 99), lost=lost, late=max(t.late for t in tells),
    )  # fmt: skip


def steps(nodes: Sequence[int], workers: int, seconds: float, *, on_postgres: bool = False) -> list[Step]:
    """Each step on a database of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65_536), hard))
    found = []
    with rabbitmq() as broker, tempfile.TemporaryDirectory() as name:
        for count in nodes:
            try:
                if on_postgres:
                    with postgres() as server:
                        found.append(step(broker, server.create(), server.pid, count, workers, seconds))
                else:
                    found.append(step(broker, f"sqlite:///{name}/{count}.db", None, count, workers, seconds))
            except (TimeoutError, BrokenBarrierError) as error:
                # Too much for this machine: what the smaller steps showed is worth having all the same.
                print(f"{count} nodes: {type(error).__name__} {error}", file=sys.stderr, flush=True)
                break
            print(line(found[-1]), file=sys.stderr, flush=True)
    return found


def line(one: Step) -> str:
    services = ", ".join(f"{n} {one.cpu[n]:.0f} % and {one.memory.get(n, 0):.0f} MiB" for n in one.cpu)
    return (
        f"{one.nodes:5} nodes of {one.workers} workers: {one.records_per_second:8,.0f} records/s, "
        f"{one.connections} connections; {services}; delay p50 {one.p50:.2f} s p99 {one.p99:.2f} s; lost {one.lost}"
    )


def figures(quick: bool) -> list[Figure]:
    wanted = [1, 10] if quick else [1, 10, 100, 1000]
    taken = steps(wanted, 32 if quick else 128, 8 if quick else 20)
    most = taken[-1].nodes if taken else 0
    found = [at_least(7, "nodes that this machine could hold at once", most, "nodes", wanted[-1])]
    for one in taken:
        about = f"{one.connections} connections, {one.records_per_second:,.0f} records/s"
        found += [
            at_most(7, f"{one.nodes} nodes: records lost or counted twice", abs(one.lost), "records", 0, about),
            told(7, f"{one.nodes} nodes: event to committed row, p99", one.p99, "s",
                 f"p50 {one.p50:.2f} s, the generator itself up to {one.late:.2f} s late"),
            *(told(7, f"{one.nodes} nodes: {name}", percent, "% of a core", f"{one.memory[name]:.0f} MiB")
              for name, percent in one.cpu.items()),
        ]  # fmt: skip
    if len(taken) < 2 or not taken[-2].cpu["writer"]:  # one step shows no growth
        return found
    last, before = taken[-1], taken[-2]
    growth = (last.cpu["writer"] / last.records_per_second) / (before.cpu["writer"] / before.records_per_second)
    return [*found, at_most(7, f"writer's CPU a record, {last.nodes} by {before.nodes} nodes", growth, "times", 1.3)]


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or set(words) & {"--quick"} or words[0] == "--json":
        return report(figures, __doc__, argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--workers", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(words)
    taken = steps(chosen.nodes, chosen.workers, chosen.seconds, on_postgres=chosen.postgres)
    if chosen.json:
        chosen.json.write_text(json.dumps([vars(one) for one in taken], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

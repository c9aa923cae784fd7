"""Measures this worker, beside what it is compared with.

    make bench                             or     python -m tests.bench [speed] [--units N] [--repeat N] [--only WHO …]
    make bench ARGS=restart                       python -m tests.bench BENCH, one of those below
    python -m tests.bench COMMAND --help          what is measured, and how

speed    the reference job by this worker and its peers: bare aiokafka, Kafka Streams, quixstreams, Faust
restart  restoring, stopping and being killed with a large state; what an idle worker uses
latency  from a reward sent to the weights in a router that contain it
cost     what an event costs with more experiments, metrics and partitions
bounded  memory, disk and /ready over ten million units
experiments  a hundred experiments at 20 000 events/s: how old is what routers know
quadrature  what P(best) costs beside Monte Carlo, and how exact it is; needs no broker
decide   what a decision costs by arms, metrics, segments and policy; needs no broker
simulate the simulator beside loops over river's and obp's Thompson sampling; needs no broker

Compare ratios, and only within one run. Absolute figures follow the machine and whatever else runs on it (repeats differ by 40
%); CPU seconds an event move least. Every answer is checked: what says WRONG has no speed worth comparing, and the exit code is
then 1.

Needs Java 17 and Maven (as the tests do), unless --bootstrap names a broker to use; the bench's topics are removed at the end.
"""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from deploy.kafka.broker import BrokerError
from tests.bench import bounded, cost, decide, experiments, latency, quadrature, restart, simulate, speed
from tests.bench.report import progress

BENCHES = {
    "speed": speed,
    "restart": restart,
    "latency": latency,
    "cost": cost,
    "bounded": bounded,
    "experiments": experiments,
    "quadrature": quadrature,
    "decide": decide,
    "simulate": simulate,
}


def main(arguments: list[str]) -> int:
    """Run one bench. Returns the exit code: 1 for a wrong answer or none."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        right = BENCHES[options.bench].main(options)
    except (speed.BenchError, BrokerError, AssertionError) as error:
        progress.print(error, style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        progress.print("interrupted")
        return 1
    return 0 if right else 1


def _end(_signal: int, _frame: FrameType | None) -> None:
    """As ctrl-C does: through everything that has to be cleaned up."""
    raise KeyboardInterrupt


def _options(arguments: list[str]) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__, formatter_class=form)
    benches = parser.add_subparsers(dest="bench", required=True)
    for name, module in BENCHES.items():
        own = benches.add_parser(name, description=module.__doc__, formatter_class=form)
        own.add_argument("--bootstrap", help="a broker to use; without it one is started and removed")
        own.add_argument("--json", action="store_true", help="print JSON, for programs")
        module.add_options(own)
    bare = not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help"})
    return parser.parse_args(["speed", *arguments] if bare else arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

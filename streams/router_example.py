"""The smallest router: prints every new version of an experiment's weights, and serves units by them.

python -m streams.router_example --bootstrap localhost:9092 --experiment chat --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from itertools import count

from allocator.errors import AllocatorError
from streams.router import Router


async def follow(router: Router, experiment: str) -> None:
    """A line for each version, as soon as it is in force here."""
    version = 0
    while True:
        weights = await router.changed(experiment, after_version=version)
        version = weights.version
        shares = ", ".join(f"{arm.id} {arm.ppm / 1e4:.1f} %" for arm in weights.arms)
        print(f"version {version}, {router.staleness_s(experiment):.3f} s old: {shares}", flush=True)


async def serve(router: Router, experiment: str) -> None:
    """A hundred units a second: assign, answer the request with that arm, log the exposure."""
    await router.changed(experiment)
    for i in count():
        assignment = router.assign(experiment, unit=f"u-{i}")
        router.expose(assignment)
        await asyncio.sleep(0.01)


async def run(arguments: argparse.Namespace) -> None:
    """Serve and print until the time is up."""
    async with Router(arguments.bootstrap, prefix=arguments.prefix) as router:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(arguments.seconds):
                await asyncio.gather(follow(router, arguments.experiment), serve(router, arguments.experiment))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Follow an experiment's weights and route synthetic units by them.")
    parser.add_argument("--bootstrap", help="HOST:PORT of Kafka (default: ALLOCATOR_BOOTSTRAP, or localhost:9092)")
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--prefix", default="allocator", help="of the topics' names (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="when to stop (default: never)")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(run(parser.parse_args()))
        except AllocatorError as error:
            sys.exit(str(error))

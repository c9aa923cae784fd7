"""A made-up shop for the tutorial: customers come, see a checkout, may buy, and may send back what they bought.

python -m streams.shop_example --bootstrap localhost:9092 --seconds 300

It is a router and a producer in one process: `assign`, `expose`, and a reward for what happened. What customers do is drawn from
`BOUGHT` and `RETURNED`, with a seed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
from itertools import count

from allocator.errors import AllocatorError
from streams.producer import EventProducer
from streams.router import Router

__all__ = ["BOUGHT", "RETURNED", "run"]

EXPERIMENT = "checkout"
BOUGHT = {"classic": 0.30, "short": 0.36, "pushy": 0.40}
RETURNED = {"classic": 0.02, "short": 0.02, "pushy": 0.10}
"""By customer, whether they bought or not, to keep it simple."""
TICK_S = 0.05
THINK_S = 2.0
"""Customers take up to this long."""


async def serve(router: Router, events: EventProducer, rate: float, seed: int) -> None:
    """Send customers through the checkout, `rate` a second."""
    draws, loop = random.Random(seed), asyncio.get_running_loop()
    await router.changed(EXPERIMENT)
    began = loop.time()
    async with asyncio.TaskGroup() as customers:
        for i in count():
            if i >= rate * (loop.time() - began):
                await asyncio.sleep(TICK_S)
            customers.create_task(shop(router, events, f"customer-{seed}-{i}", draws))


async def shop(router: Router, events: EventProducer, customer: str, draws: random.Random) -> None:
    """One customer: which checkout, and what came of it."""
    assignment = router.assign(EXPERIMENT, unit=customer)
    router.expose(assignment)
    await asyncio.sleep(draws.uniform(0.1, THINK_S))
    for metric, rates in (("bought", BOUGHT), ("returned", RETURNED)):
        if draws.random() < rates[assignment.arm]:
            events.reward(customer, metric, 1)


async def follow(router: Router) -> None:
    """A line whenever what is said of the weights changes."""
    version, last = 0, ""
    while True:
        weights = await router.changed(EXPERIMENT, after_version=version)
        version = weights.version
        shares = ", ".join(f"{arm.id} {arm.ppm / 1e4:.0f} %" for arm in weights.arms)
        if shares != last:
            print(f"{shares}: {weights.reason}", flush=True)
        last = shares


async def run(bootstrap: str | None, prefix: str, seconds: float | None, rate: float, seed: int) -> None:
    """Until the time is up."""
    async with EventProducer(bootstrap, prefix=prefix) as events, Router(bootstrap, prefix=prefix, events=events) as router:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(follow(router), serve(router, events, rate, seed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Customers for the tutorial's experiment, made up.")
    parser.add_argument("--bootstrap", help="HOST:PORT of Kafka (default: ALLOCATOR_BOOTSTRAP, or localhost:9092)")
    parser.add_argument("--prefix", default="allocator", help="of the topics' names (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="when to stop (default: never)")
    parser.add_argument("--rate", type=float, default=300.0, help="customers a second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what they do (default: %(default)s)")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(run(options.bootstrap, options.prefix, options.seconds, options.rate, options.seed))
        except AllocatorError as error:
            sys.exit(str(error))

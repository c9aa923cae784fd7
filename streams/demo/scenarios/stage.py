"""Puts a scenario on: the setting, its experiments, its player; follows them, judges what was found, and leaves nothing behind.

As in the other demo, the parent only watches: people are routed by the player's router, by the weights as they are published.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import orjson
from rich.console import Console

from allocator.experiment import Experiment
from allocator.spec import load_experiment
from allocator.weights import Weights
from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.decisions import read_decisions
from streams.demo import Options
from streams.demo.children import Child
from streams.demo.following import POLL_S, follow
from streams.demo.live import Screen, number
from streams.demo.scenarios import SCENARIOS
from streams.demo.scenarios.live import ScenarioView, line_of, render_scenario
from streams.demo.scenarios.player import Played, PlayerOptions
from streams.demo.scenarios.report import Summary, events_of, print_summary, summarise
from streams.demo.scenarios.scenario import Found, Scenario
from streams.demo.scenarios.world import DAY_S
from streams.demo.setting import Setting, cancel_on_sigterm, play_out
from streams.demo.summary import State
from streams.demo.worker_api import WorkerApi
from streams.experiments import apply
from streams.report import Inputs, Report, make_report
from streams.totals import read_totals
from streams.weights_table import WeightsTable

__all__ = ["run"]

SETTLE_WAIT_S = 20.0
"""How long nothing may be counted and no weights published before what is missing counts as lost."""
AT_REST_S = 2.0
"""Weights that have not changed for so long, with everything counted, are the last: ten publish intervals."""

OVER_DAYS = 2
"""How long the world has been over, so that every window is."""

_decode = msgspec.json.Decoder(Played).decode


def run(options: Options) -> int:
    """Play `options.scenario`; the exit code: 0, 1 if something was not found out or not counted, 130 if interrupted before."""
    return play_out(ScenarioStage, options)


class ScenarioStage:
    """One play. `exit_code` is None until the summary is out."""

    def __init__(self, options: Options, console: Console) -> None:
        self.exit_code: int | None = None
        self._options, self._console = options, console
        assert options.scenario is not None, "the other stage plays matrices"
        self._scenario = SCENARIOS[options.scenario]
        self._setting = Setting(options.bootstrap, options.prefix, options.web_port, console)

    async def play(self) -> None:
        """All of it."""
        cancel_on_sigterm()
        setting, scenario = self._setting, self._scenario
        setting.say("story", scenario.title)
        async with AsyncExitStack() as stack:
            home = Path(stack.enter_context(TemporaryDirectory(prefix="allocator-demo-")))
            connection = await setting.broker(stack)
            worker, api = await setting.worker(stack, connection, home)
            chosen = self._chosen(connection)
            published = await self._weights(stack, connection)
            experiments = {name: self._experiment(name, there) for name, there in chosen.experiments.items()}
            for experiment in experiments.values():
                await apply(connection, setting.topics, experiment)
            arguments = [msgspec.json.encode(chosen).decode()]
            module = "streams.demo.scenarios.player"
            player = await stack.enter_async_context(
                Child("router", module, arguments, setting.environment(), home / "player.log", talks=True)
            )
            setting.say(
                "router",
                f"in a process of its own; {number(scenario.world.people)} people in {scenario.world.days:g} days come to it",
            )
            follower = ScenarioFollower(scenario, chosen, published, api, worker, player)
            with Screen(self._console, render_scenario, line_of) as screen:
                await follower.follow(screen)
            reports = {
                name: await self._report(connection, e, published, follower.published_at(name)) for name, e in experiments.items()
            }
            found = follower.found(reports)
            self._conclude(summarise(scenario, follower.played, found), api.url)
            if self._options.serve:
                await setting.serve(worker, api)

    def _chosen(self, connection: Connection) -> PlayerOptions:
        """On a real Kafka an earlier run may have left its experiments: these must count from nothing."""
        options, scenario = self._options, self._scenario
        run = f"{time.time_ns() // 1_000_000:x}"
        names = {name: name if options.bootstrap is None else f"{name}-{run}" for name in scenario.experiments}
        return PlayerOptions(
            bootstrap=connection.bootstrap,
            prefix=options.prefix,
            scenario=scenario.name,
            experiments=names,
            run=run,
            begins_at=time.time() - (scenario.world.days + OVER_DAYS) * DAY_S,
            rate=scenario.rate * options.speed,
            seed=options.seed,
        )

    async def _weights(self, stack: AsyncExitStack, connection: Connection) -> dict[str, Weights]:
        """Published weights under their keys, kept up to date."""
        published: dict[str, Weights] = {}
        topic = CompactedTopic(connection, self._setting.topics.weights, WeightsTable(published).take)
        await topic.start()
        stack.push_async_callback(topic.stop)
        return published

    def _experiment(self, name: str, there: str) -> Experiment:
        """The scenario's experiment under the name that it has there."""
        spec = next(spec for spec in self._scenario.specs if spec["experiment"] == name)
        return load_experiment({**spec, "experiment": there})

    async def _report(
        self, connection: Connection, experiment: Experiment, published: Mapping[str, Weights], published_at: Mapping[int, float]
    ) -> Report:
        """As `allocator report` makes it, with decisions at the world's time, by version, as the events are."""
        name, topics = experiment.experiment, self._setting.topics
        totals = await read_totals(connection, topics, [name])
        weights = [each for each in published.values() if each.experiment == name]
        decisions = [
            msgspec.structs.replace(decision, ts=published_at[decision.version])
            for decision in await read_decisions(connection, topics, name)
            if decision.version in published_at
        ]
        return make_report(Inputs.of(experiment, totals[name], weights, decisions, time.time()))

    def _conclude(self, summary: Summary, url: str) -> None:
        """Say the summary; from here on the exit code is known."""
        if self._options.as_json:
            document = msgspec.to_builtins(summary) | {"broker": self._options.bootstrap or "embedded", "right": summary.right}
            sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
            sys.stdout.flush()
        else:
            print_summary(self._console, summary)
            if not self._options.serve:
                self._console.print(f"The dashboard was at {url}/; with --serve it stays.")
        self.exit_code = 0 if summary.right else 1


class ScenarioFollower:
    """Follows the player and the worker until all is played, counted and at rest."""

    def __init__(
        self,
        scenario: Scenario,
        chosen: PlayerOptions,
        published: Mapping[str, Weights],
        api: WorkerApi,
        worker: Child,
        player: Child,
    ) -> None:
        self.played = Played()
        self._scenario, self._names, self._published = scenario, chosen.experiments, published
        self._api, self._worker, self._player = api, worker, player
        self._begins_at = chosen.begins_at
        self._states: dict[str, State] = {}
        self._screen: Screen[ScenarioView]

    async def follow(self, screen: Screen[ScenarioView]) -> None:
        """Until nothing moves any more. Raises what `following.follow` does."""
        self._screen = screen
        await follow(self._worker, self._player, self)
        moved, seen = time.monotonic(), self.progress()
        while True:
            self._worker.check()
            await self.look()
            now = time.monotonic()
            if seen != (seen := self.progress()):
                moved = now
            counted = events_of(self.played, self._states).add_up
            if now - moved > (AT_REST_S if counted else SETTLE_WAIT_S):
                return
            await asyncio.sleep(POLL_S)

    async def look(self) -> int:
        """See `following.Watched`."""
        for name, there in self._names.items():
            self._states[name] = await self._api.state(there) or self._states.get(name, State())
        self._screen.show(ScenarioView(self._scenario, self.played, self._weights(), self._states), time.monotonic())
        return sum(sum(state.counters.values()) for state in self._states.values())

    def take(self, line: bytes) -> bool:
        """See `following.Watched`."""
        self.played = _decode(line)
        return self.played.done

    def progress(self) -> object:
        """See `following.Watched`."""
        shares = [weights.arms for slices in self._weights().values() for weights in slices.values()]
        return self.played.people, [state.counters for state in self._states.values()], shares

    def _weights(self) -> dict[str, dict[str | None, Weights]]:
        """By the scenario's name of the experiment and by segment, the whole first."""
        found: dict[str, dict[str | None, Weights]] = {}
        for name, there in self._names.items():
            own = [weights for weights in self._published.values() if weights.experiment == there]
            found[name] = {weights.segment: weights for weights in sorted(own, key=lambda w: w.segment or "")}
        return found

    def published_at(self, name: str) -> dict[int, float]:
        """Version of the experiment's weights → the world's time when the router heard of it, seconds since the epoch."""
        return {version: self._begins_at + day * DAY_S for version, day in self.played.books[name].since.items()}

    def found(self, reports: Mapping[str, Report]) -> dict[str, Found]:
        """What was found in each experiment."""
        weights = self._weights()
        return {
            name: Found(books.served(), weights[name], self._states[name], reports[name])
            for name, books in self.played.books.items()
        }

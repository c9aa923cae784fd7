"""The ramp of enrolment: in which stage an experiment is, and what takes it to another.

`TABLE` is the whole of it. Its rules are asked in their order; the first one that holds names the state and what is done. A stage
is left for the next one when its gate holds: so much time and so many units since it was entered, no breach that stands, the
sample ratio clean, and, where the stage says manual, a person's word. It is left for the one before at a breach that is younger
than the stage, or by a person's word. After that the gate has to hold anew, and it does not while the breach stands.

Where an experiment is, is part of its published weights (`allocator.standing`). A stage is known by its enrolment, so when the
list of stages changes, the experiment stays at the one whose enrolment is in force; if there is none, it enters the largest below
that, or the first. So no edit of the list takes an experiment further up than it was, unless it is below the first stage.

Time, units and the verdict on the sample ratio come in as arguments, and the verdict is asked for only where all else holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from allocator.durations import format_duration
from allocator.errors import SpecError, SpecErrors
from allocator.ramp import Stage, Word
from allocator.schedule import closed
from allocator.standing import Breach, Standing

if TYPE_CHECKING:  # an experiment is made of stages
    from allocator.experiment import Experiment

__all__ = ["TABLE", "Moment", "Move", "Rule", "State", "Step", "next_standing", "opens_at", "said"]

State = Literal[
    "unstaged", "over", "shut", "new", "changed", "paused", "broken", "recalled",
    "last", "young", "short", "breached", "unspoken", "skewed", "open",
]  # fmt: skip
Move = Literal["stay", "enter", "advance", "wait for a person", "roll back"]

PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """What the rules are asked about.

    Parameters
    ----------
    experiment, standing : the breaches found by now are in the latter, the stage is that of the last decision.
    published_ppm : the enrolment of the last weights; None before the first ones. Asked for only where no stage was entered yet.
    units : of all arms, those held back left out.
    now : seconds since the epoch.
    ratio_clean : whether the arms get the units they are promised.
    """

    experiment: Experiment
    standing: Standing
    published_ppm: int | None
    units: int
    now: float
    ratio_clean: Callable[[], bool]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The ramp."""
        return self.experiment.stages

    @property
    def stage(self) -> Stage:
        """The one in force. Only where `known`."""
        return self.stages[self.standing.stage]

    @property
    def known(self) -> bool:
        """Whether the stage that stands is that of the spec at its place."""
        standing = self.standing
        return self.entered and standing.stage < len(self.stages) and self.stages[standing.stage].ppm == standing.stage_ppm

    @property
    def entered(self) -> bool:
        """Whether there is a stage that stands."""
        return self.standing.stage_since > 0

    @property
    def in_force_ppm(self) -> int:
        """The enrolment of the stage that stands, else the published one."""
        return self.standing.stage_ppm if self.entered else self.published_ppm or 0

    @property
    def age_s(self) -> float:
        """Since the stage was entered."""
        return self.now - self.standing.stage_since

    @property
    def entered_units(self) -> int:
        """Since the stage was entered. Units can be taken back, so it may be that there are fewer than then."""
        return max(0, self.units - self.standing.stage_units)

    @property
    def breach(self) -> Breach | None:
        """The newest one that stands and is more than an alert."""
        standing = [breach for breach in self.standing.breaches if breach.action != "alert"]
        return max(standing, key=lambda breach: breach.ts, default=None)

    @property
    def ceiling(self) -> int:
        """Place of the highest stage that a person's last word allows."""
        word = self.experiment.word
        if word is None or word.go != "back":
            return len(self.stages) - 1
        return max(0, sum(stage.enrolment < word.enrolment for stage in self.stages) - 1)

    @property
    def word(self) -> Word | None:
        """A person's leave to go on, if it was said of this stay in this stage."""
        word, stay = self.experiment.word, (self.stage.enrolment, self.standing.stage_since)
        return word if word is not None and word.go == "advance" and (word.enrolment, word.since) == stay else None

    @property
    def released(self) -> bool:
        """Whether somebody said a word, or nobody has to."""
        return self.word is not None or (self.stage.advance == "auto" and self.standing.stage < self.ceiling)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table.

    Parameters
    ----------
    state : its name.
    holds : whether the ramp is in this state, none of the lines above holding.
    move : what is done.
    when : `holds` in words.
    """

    state: State
    holds: Callable[[Moment], bool]
    move: Move
    when: str


TABLE: tuple[Rule, ...] = (
    Rule("unstaged", lambda m: not m.stages, "stay", "the experiment has no stages"),
    Rule("over", lambda m: m.experiment.status not in ("running", "paused"), "stay", "the experiment does not run"),
    Rule("shut", lambda m: closed(m.experiment.schedule, m.now) is not None, "stay", "the schedule lets nobody in"),
    Rule("new", lambda m: not m.entered and not m.published_ppm, "enter", "nobody was enrolled yet"),
    Rule("changed", lambda m: not m.known, "enter", "the enrolment in force is not that of the stage: the list was changed"),
    Rule("paused", lambda m: m.experiment.status == "paused", "stay", "the experiment is paused"),
    Rule(
        "broken",
        lambda m: m.breach is not None and m.breach.ts > m.standing.stage_since,
        "roll back",
        "a guardrail was broken since the stage was entered",
    ),
    Rule("recalled", lambda m: m.standing.stage > m.ceiling, "roll back", "a person said: back"),
    Rule("last", lambda m: m.standing.stage == len(m.stages) - 1, "stay", "there is no further stage"),
    Rule("young", lambda m: m.age_s < m.stage.min_time_s, "stay", "min_time has not passed since the stage was entered"),
    Rule("short", lambda m: m.entered_units < m.stage.min_units, "stay", "fewer than min_units since the stage was entered"),
    Rule("breached", lambda m: m.breach is not None, "stay", "a breach stands that nobody has overruled"),
    Rule("unspoken", lambda m: not m.released, "wait for a person", "it takes a person's word, and nobody has said it"),
    Rule("skewed", lambda m: not m.ratio_clean(), "stay", "the arms do not get the units they are promised"),
    Rule("open", lambda m: True, "advance", "all of the gate holds"),
)
"""In the order in which they are asked."""


@dataclass(frozen=True, slots=True)
class Step:
    """What became of the ramp.

    Parameters
    ----------
    standing : after the move.
    state : before it, by the table.
    move : what was done.
    reason : of a move, why; else what is waited for. Empty where there is nothing to say.
    enrolled_ppm : the share of units that takes part from now on, where the schedule lets them.
    """

    standing: Standing
    state: State
    move: Move
    reason: str
    enrolled_ppm: int

    @property
    def moved(self) -> bool:
        """Whether a stage was entered."""
        return self.move not in ("stay", "wait for a person")


def next_standing(
    experiment: Experiment, standing: Standing, published_ppm: int | None, units: int, now: float, ratio_clean: Callable[[], bool]
) -> Step:
    """One step of the ramp; the arguments are those of `Moment`. At most one stage is passed at a time."""
    moment = Moment(experiment, standing, published_ppm, units, now, ratio_clean)
    rule = next(rule for rule in TABLE if rule.holds(moment))
    if rule.move in ("stay", "wait for a person"):
        return _staying(moment, rule)
    place, why = _MOVES[rule.state](moment)
    stage = experiment.stages[place]
    kept = rule.state == "changed" and moment.entered and stage.ppm == standing.stage_ppm  # the same stage at another place
    entered = msgspec.structs.replace(standing, stage=place, stage_ppm=stage.ppm)
    if not kept:
        entered = msgspec.structs.replace(entered, stage_since=now, stage_units=units)
    return Step(entered, rule.state, rule.move, f"{_named(experiment, place)}: {_percent(stage)} enrolled{why}", stage.ppm)


def opens_at(experiment: Experiment, standing: Standing) -> float:
    """When the gate of the stage in force may hold by time alone; infinite where no time is waited for."""
    if experiment.status != "running" or not standing.stage_since or standing.stage >= len(experiment.stages) - 1:
        return float("inf")
    return standing.stage_since + experiment.stages[standing.stage].min_time_s


def said(experiment: Experiment, standing: Standing, go: Literal["advance", "back"], why: str) -> Experiment:
    """The next revision of an experiment, with a person's word about the stage it is in.

    Raises
    ------
    SpecErrors : no stages, none in force yet, none to go to, or the experiment does not run any more.
    """
    place, last = standing.stage, len(experiment.stages) - 1
    expected = ""
    if last < 0:
        expected = "an experiment with stages"
    elif experiment.status not in ("running", "paused"):
        expected = f"an experiment that runs: this one is {experiment.status}"
    elif not standing.stage_since or place > last:
        expected = "weights that know the stages, which a worker publishes within a second"
    elif go == "advance" and place == last:
        expected = f"a stage that is not the last one, {_named(experiment, place)}"
    elif go == "back" and place == 0:
        expected = "a stage that is not the first one; allocator pause holds it, allocator stop ends it"
    if expected:
        raise SpecErrors([SpecError("stages", go, expected)])
    word = Word(go=go, enrolment=experiment.stages[place].enrolment, since=standing.stage_since, why=why)
    return msgspec.structs.replace(experiment, word=word, revision=experiment.revision + 1)


# -- moves: where to, and why ----------------------------------------------------------------------------------------------------


def _first(moment: Moment) -> tuple[int, str]:
    return 0, ""


def _adopted(moment: Moment) -> tuple[int, str]:
    """The stage whose enrolment is in force, else the largest below that, else the first."""
    return max(0, sum(stage.ppm <= moment.in_force_ppm for stage in moment.stages) - 1), ", as the stages are now"


def _before(moment: Moment) -> tuple[int, str]:
    breach, place = moment.breach, moment.standing.stage
    assert breach is not None  # the rule says so
    what = "rolled back" if place else "begins anew"
    return max(0, place - 1), f", {what}: {_broken(breach)}"


def _recalled(moment: Moment) -> tuple[int, str]:
    word = moment.experiment.word
    return moment.ceiling, ", rolled back by a person" + (f": {word.why}" if word and word.why else "")


def _after(moment: Moment) -> tuple[int, str]:
    stage, word = moment.stage, moment.word
    held = [f"{_grouped(moment.entered_units)} units", "guardrails clean", "sample ratio clean"]
    if stage.min_time_s:
        held.insert(0, format_duration(stage.min_time_s))
    if word is not None:
        held.append("a person's word" + (f": {word.why}" if word.why else ""))
    return moment.standing.stage + 1, f" after {', '.join(held)}"


_MOVES: dict[State, Callable[[Moment], tuple[int, str]]] = {
    "new": _first, "changed": _adopted, "broken": _before, "recalled": _recalled, "open": _after,
}  # fmt: skip


# -- staying: what is waited for -------------------------------------------------------------------------------------------------


def _staying(moment: Moment, rule: Rule) -> Step:
    experiment, standing = moment.experiment, moment.standing
    if rule.state == "unstaged":
        none = msgspec.structs.replace(standing, stage=0, stage_since=0.0, stage_units=0, stage_ppm=0)
        return Step(none, rule.state, rule.move, "", round(experiment.enrolment * PPM))
    return Step(standing, rule.state, rule.move, _awaited(moment, rule), moment.in_force_ppm or experiment.stages[0].ppm)


def _awaited(moment: Moment, rule: Rule) -> str:
    if rule.state == "young":
        return f"until {format_duration(moment.stage.min_time_s)} have passed"
    if rule.state == "short":
        return f"{_grouped(moment.entered_units)} of {_grouped(moment.stage.min_units)} units"
    if rule.state == "breached" and moment.breach is not None:
        return f"{_broken(moment.breach)}, and nobody has overruled it"
    if rule.state == "unspoken":
        return f"waits for a person: allocator advance {moment.experiment.experiment}"
    return rule.when


def _broken(breach: Breach) -> str:
    return f"{breach.arm} broke {breach.metric} ({breach.action})"


def _named(experiment: Experiment, place: int) -> str:
    name = experiment.stages[place].name
    return f"stage {place + 1} of {len(experiment.stages)}" + (f", {name}" if name else "")


def _percent(stage: Stage) -> str:
    return f"{100 * stage.enrolment:.3g} %"


def _grouped(units: int) -> str:
    return f"{units:,}".replace(",", " ")

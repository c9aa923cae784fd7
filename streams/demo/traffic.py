"""What happens to each request: which row of the matrix it is, when its rewards come, what is sent twice or out of order. Pure.

Everything follows from a seed; which model a request is routed to does not, for that depends on the weights of the moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from msgspec import Struct

__all__ = ["DELAY_MAX_S", "Pace", "Request", "traffic"]

DELAY_MEAN_S = 0.05
DELAY_MAX_S = 0.5
EARLY_SHARE = 0.01
EARLY_BY_S = 0.1
DOUBLED_SHARE = 0.01


class Request(Struct, frozen=True, gc=False):
    """One request.

    Parameters
    ----------
    row : of the matrix.
    exposure_delay_s : 0, or by how much the exposure is sent after the request.
    reward_delay_s : when the rewards are sent after the request; before the exposure if that is delayed.
    exposure_twice, reward_twice : the same record is sent once more.
    """

    row: int
    exposure_delay_s: float
    reward_delay_s: float
    exposure_twice: bool
    reward_twice: bool

    @property
    def early(self) -> bool:
        """Whether the rewards overtake the exposure."""
        return self.reward_delay_s < self.exposure_delay_s


def traffic(rows: int, requests: int, seed: int) -> Iterator[Request]:
    """`requests` requests in shuffled passes over `rows` rows: every row comes once before any comes again.

    Rewards take an exponential time, as people and batch jobs do, cut at `DELAY_MAX_S`. One request in a hundred has its rewards
    overtake its exposure, one exposure and one request's rewards in a hundred are sent twice.
    """
    random = Random(seed)
    order = list(range(rows))
    for i in range(requests):
        if i % rows == 0:
            random.shuffle(order)
        early = random.random() < EARLY_SHARE
        yield Request(
            row=order[i % rows],
            exposure_delay_s=EARLY_BY_S if early else 0.0,
            reward_delay_s=0.0 if early else min(random.expovariate(1 / DELAY_MEAN_S), DELAY_MAX_S),
            exposure_twice=random.random() < DOUBLED_SHARE,
            reward_twice=random.random() < DOUBLED_SHARE,
        )


class Pace:
    """How many requests are due: `rate` a second, without making up for more than `CATCH_UP_S` of delay.

    A machine that cannot keep up is then slower, not bursty.
    """

    CATCH_UP_S = 0.1

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._at, self._due = rate, now, 0.0

    def take(self, now: float) -> int:
        """Requests due since the last call; `now` in seconds, never decreasing."""
        self._due += min(now - self._at, self.CATCH_UP_S) * self._rate
        self._at = now
        whole = int(self._due)
        self._due -= whole
        return whole

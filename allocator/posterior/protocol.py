"""What every family of posteriors answers; policies, readouts and guardrails see nothing else."""

from __future__ import annotations

from typing import Protocol

from allocator.quadrature import FloatArray

__all__ = ["Posteriors"]


class Posteriors(Protocol):
    """One posterior an arm, of the mean of one metric in natural units; arms are independent."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm names, in the order of every array."""

    @property
    def down(self) -> bool:
        """Whether the least mean is the best."""

    @property
    def method(self) -> str:
        """The family, in a few words."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What has to hold for them to be right, a short sentence each."""

    @property
    def mean(self) -> FloatArray:
        """Posterior means, shape (arms,); nan where nothing at all is known."""

    @property
    def sd(self) -> FloatArray:
        """Posterior standard deviations, shape (arms,), ≥ 0; nan where nothing at all is known."""

    def interval(self, level: float = 0.95) -> FloatArray:
        """Equal-tailed credible intervals, shape (arms, 2); nan where nothing at all is known.

        Raises
        ------
        ArgumentError : `level` is not between 0 and 1.
        """

    def prob_best(self) -> FloatArray:
        """P(arm has the best mean), shape (arms,), > 0, sum 1 within 5e-9. Best is least for direction "down"."""

    def prob_beats(self, control: int) -> FloatArray:
        """P(arm's mean is better than that of the arm at place `control`), shape (arms,), in [0, 1]; ½ at the control itself.

        Raises
        ------
        ArgumentError : `control` is no place of an arm.
        """

    def expected_loss(self) -> FloatArray:
        """E[best mean - arm's mean], the other way round for direction "down"; shape (arms,), ≥ 0, natural units.

        What choosing the arm for good is expected to give away, a unit (Chick & Inoue 2001; Stucchio 2015, "Bayesian A/B testing
        at VWO"). nan where nothing at all is known.
        """

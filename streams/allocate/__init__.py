"""Allocation: partials of an experiment summed over partitions, decided upon, and published as weights.

Reading order: `totals` (newest partial of every partition, summed) → `agent` (when to decide, commit, publish).
"""

"""The join: exposures and rewards of one partition, folded by unit into exact moments.

Reading order: `decode` (bytes to typed events) → `reasons` (why some are not) → `cut` (which events make a chunk) → `plan`,
`kinds` (specs, compiled for the fold) → `cells` (the sums) → `units` (one unit's record, and what it contributes) → `fold` (a
chunk of events) → `sweep` (what can be forgotten) → `agent` (fold, commit, publish). Only `agent` touches Kafka, and only it and
`sweep` the disk.
"""

"""The join: exposures and rewards of one partition, folded by unit into exact moments.

Reading order: `decode` (bytes to typed events) → `cut` (which events make a chunk) → `plan` (a spec, compiled for the fold)
→ `cells`
(the sums) → `units` (one unit's record, and what it contributes) → `fold` (a chunk of events) → `partition` (fold, commit,
publish). Only `partition` touches Kafka or the disk.
"""

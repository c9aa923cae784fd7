"""The audit: a second state of the join, built from the sources alone, and compared with the live one bit for bit.

The way of an audit: live (the join's changelog, as a worker that has lost its disk would read it) → refused (what the live join
has made dead letters) → partition (the sources, folded by the join's own code into a RocksDB of the audit's own) → state (both in
the same words) → compare. `run` does it for all partitions. Nothing here writes to Kafka, joins a group or takes a transactional
id, so live workers do not notice.
"""

from streams.audit.compare import Comparison, Difference
from streams.audit.run import diff, rebuild

__all__ = ["Comparison", "Difference", "diff", "rebuild"]

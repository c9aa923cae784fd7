"""The one place that leans on private names of Faust 0.15.3 and aiokafka 0.14.0. An upgrade of either is decided here.

One file a library, named after it, so that who only needs a producer does not import Faust. `tests/unit/test_seam.py` holds a
contract test for each name, and `tests/unit/test_private_names.py` finds any that is used elsewhere.
"""

from streams.seam.aiokafka import Batch, Room, abandon, build_batches, install, read_batches, stop

__all__ = ["Batch", "Room", "abandon", "build_batches", "install", "read_batches", "stop"]

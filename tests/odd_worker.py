"""`allocator worker` that looks at its topics every half second or, as the control, never.

    python -m tests.odd_worker [--blind] worker --bootstrap ...

The blind one knows topics by their names alone, as every Kafka client does.
"""

from __future__ import annotations

import sys

from streams import app
from streams.cli import main
from streams.incarnations import TopicWatch

__all__: list[str] = []

if __name__ == "__main__":
    app.TOPICS_CHECK_S = 0.5
    if sys.argv[1] == "--blind":
        del sys.argv[1]

        async def unseeing(*_: object) -> None:
            """Nothing is learnt, so nothing is checked."""

        TopicWatch.start = unseeing  # type: ignore[method-assign,assignment]
    main()

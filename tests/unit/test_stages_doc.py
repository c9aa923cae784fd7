"""The picture and the table in docs/stages.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from allocator.stages import TABLE

PAGE = Path(__file__).parents[2] / "docs" / "stages.md"
ARROWS = {
    "advance": "here --> above",
    "roll back": "here --> below",
    "wait for a person": "here --> here",
    "enter": "[*] --> here",
}
NAMES = {"here": "stage n", "above": "stage n + 1", "below": "stage n - 1", "found": "the stage of that enrolment"}


def picture() -> str:
    """Mermaid: an arrow for each state that moves the ramp or waits for somebody, one for all those that stay."""
    names = [f'    state "{name}" as {key}' for key, name in NAMES.items()]
    moving = [rule for rule in TABLE if rule.move != "stay"]
    arrows = [f"    {'here --> found' if rule.state == 'changed' else ARROWS[rule.move]}: {rule.state}" for rule in moving]
    staying = ", ".join(rule.state for rule in TABLE if rule.move == "stay")
    return "\n".join(["```mermaid", "stateDiagram-v2", *names, *arrows, f"    here --> here: {staying}", "```"])


def table() -> str:
    rows = [f"| {rule.state} | {rule.when} | {rule.move} |" for rule in TABLE]
    return "\n".join(["<!-- table -->", "| state | when | what is done |", "| --- | --- | --- |", *rows, "<!-- end -->"])


def current() -> str:
    """The page as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    text = re.sub(r"```mermaid\n.*?```", lambda _: picture(), text, flags=re.DOTALL)
    return re.sub(r"<!-- table -->\n.*?<!-- end -->", lambda _: table(), text, flags=re.DOTALL)


def test_the_page_is_current() -> None:
    """To mend it: PYTHONPATH=. python tests/unit/test_stages_doc.py."""
    assert PAGE.read_text(encoding="utf-8") == current()


if __name__ == "__main__":
    PAGE.write_text(current(), encoding="utf-8")

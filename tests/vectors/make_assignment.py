"""Makes `assignment.json`: units with the arms they must get, for every language that writes a router.

    python -m tests.vectors.make_assignment

The answers come from the plain implementation below, which shares nothing with `allocator.assignment`: XXH64 by its published
specification in Python integers, buckets as fractions, logarithms with fifty digits.
"""

from __future__ import annotations

import json
from decimal import Decimal, getcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("assignment.json")
NOW = 1764000000.0
PPM = 1_000_000
MASK = 2**64 - 1

# ---- XXH64, step by step as in the specification ----

PRIME_1 = 0x9E3779B185EBCA87
PRIME_2 = 0xC2B2AE3D27D4EB4F
PRIME_3 = 0x165667B19E3779F9
PRIME_4 = 0x85EBCA77C2B2AE63
PRIME_5 = 0x27D4EB2F165667C5


def rotate(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & MASK


def mix(lane_state: int, lane: int) -> int:
    return rotate((lane_state + lane * PRIME_2) & MASK, 31) * PRIME_1 & MASK


def merge(state: int, lane_state: int) -> int:
    return ((state ^ mix(0, lane_state)) * PRIME_1 + PRIME_4) & MASK


def xxh64(data: bytes, seed: int) -> int:
    rest = data
    if len(data) >= 32:
        lanes = [(seed + offset) & MASK for offset in (PRIME_1 + PRIME_2, PRIME_2, 0, -PRIME_1)]
        while len(rest) >= 32:
            lanes = [mix(lanes[i], int.from_bytes(rest[8 * i : 8 * i + 8], "little")) for i in range(4)]
            rest = rest[32:]
        state = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            state = merge(state, lane)
    else:
        state = (seed + PRIME_5) & MASK
    state = (state + len(data)) & MASK
    while len(rest) >= 8:
        state = (rotate(state ^ mix(0, int.from_bytes(rest[:8], "little")), 27) * PRIME_1 + PRIME_4) & MASK
        rest = rest[8:]
    if len(rest) >= 4:
        state = (rotate(state ^ (int.from_bytes(rest[:4], "little") * PRIME_1 & MASK), 23) * PRIME_2 + PRIME_3) & MASK
        rest = rest[4:]
    for byte in rest:
        state = rotate(state ^ (byte * PRIME_5 & MASK), 11) * PRIME_1 & MASK
    state = (state ^ (state >> 33)) * PRIME_2 & MASK
    state = (state ^ (state >> 29)) * PRIME_3 & MASK
    return state ^ (state >> 32)


# ---- the rule ----


def bucket(unit: str, seed: int) -> int:
    return int(Fraction(xxh64(unit.encode(), seed), 2**64) * PPM)


def scores(weights: dict[str, Any], unit: str) -> list[tuple[Decimal, int, dict[str, Any]]]:
    """Every arm that has a share, best first: its score, its place, itself."""
    getcontext().prec = 50
    found = []
    for place, arm in enumerate(weights["arms"]):
        if arm["ppm"] > 0:
            share = (Decimal(xxh64(unit.encode(), arm["seed"])) + Decimal("0.5")) / Decimal(2) ** 64
            found.append((-share.ln() / arm["ppm"], place, arm))
    return sorted(found, key=lambda entry: entry[:2])


def reference(weights: dict[str, Any], unit: str, now: float = NOW) -> dict[str, Any]:
    """What `allocator.assign` must say, as it stands in the file."""

    def answer(arm: str, propensity: float, enrolled: bool, holdback: bool, reason: str) -> dict[str, Any]:
        return {"unit": unit, "arm": arm, "propensity": propensity, "enrolled": enrolled, "holdback": holdback, "reason": reason}

    if weights["status"] == "stopped":
        return answer(weights["fallback"], 1.0, False, False, "stopped")
    if now > weights["valid_until"]:
        return answer(weights["fallback"], 1.0, False, False, "lease expired")
    if bucket(unit, weights["enrolment"]["seed"]) >= weights["enrolment"]["ppm"]:
        return answer(weights["fallback"], 1.0, False, False, "not enrolled")
    if bucket(unit, weights["holdback"]["seed"]) < weights["holdback"]["ppm"]:
        return answer(weights["holdback"]["arm"], 1.0, True, True, "held back")
    arm = scores(weights, unit)[0][2]
    return answer(arm["id"], float(Fraction(arm["ppm"], PPM)), True, False, "assigned")


# ---- what is asked ----

ODD_UNITS = [
    "",
    " ",
    "u-17 ",
    "0",
    "\x00",
    "line\nbreak",
    'quote"and\\backslash',
    "größer",
    "caf\u00e9",  # one code point for the é, then two: other bytes, another unit
    "cafe\u0301",
    "Ωμέγα",
    "пользователь-7",
    "משתמש",
    "用户-42",
    "ユーザー",
    "사용자",
    "🦊",
    "👩‍🚀 of the crew",
    "\ufeffbyte order mark",
    "\U0010ffff",
    "ann@example.org",
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    *("x" * length for length in (3, 4, 7, 8, 9, 31, 32, 33, 63, 64, 65, 512)),  # around the hash's blocks
]
UNITS = [*ODD_UNITS, *(f"u-{i}" for i in range(60)), *(f"request:{i * 7919:08x}" for i in range(30))]


def weights(name: str, ppm: list[int], **changes: Any) -> dict[str, Any]:
    """A weights record; seeds are spread over their whole range."""
    seeds = [(0x9E3779B1 * (i + 1) + 977 * len(name)) % 2**32 for i in range(len(ppm) + 2)]
    arms = [{"id": f"arm-{i}", "ppm": share, "seed": seeds[i]} for i, share in enumerate(ppm)]
    record: dict[str, Any] = {
        "experiment": name,
        "segment": None,
        "version": 7,
        "status": "running",
        "arms": arms,
        "enrolment": {"ppm": PPM, "seed": seeds[-2]},
        "holdback": {"ppm": 0, "seed": seeds[-1], "arm": "arm-0"},
        "assign": "rendezvous-xxh64",
        "valid_until": NOW + 60,
        "fallback": "arm-0",
        "policy": "thompson",
        "reason": "test vector",
        "spec_hash": "0",
        "ts": NOW - 1,
        "inputs": {},
    }
    for path, value in changes.items():
        holder, _, field = path.rpartition("__")
        (record[holder] if holder else record)[field] = value
    return record


def cases() -> list[dict[str, Any]]:
    """The weights records asked about."""
    even = weights("extreme-seeds", [500_000, 500_000])
    even["arms"][0]["seed"], even["arms"][1]["seed"] = 0, 2**32 - 1
    tie = weights("tie-goes-to-the-first", [0, 500_000, 500_000])
    tie["arms"][2]["seed"] = tie["arms"][1]["seed"]
    return [
        even,
        weights("four-arms", [400_000, 300_000, 200_000, 100_000]),
        weights("ten-arms", [550_000, *[50_000] * 9]),
        weights("no-share-and-tiny-share", [0, 1, 999_999, 0], fallback="arm-3"),
        weights("one-arm", [1_000_000]),
        weights("ramp-25-percent", [240_000, 760_000], enrolment__ppm=250_000),
        weights("ramp-50-percent", [240_000, 760_000], enrolment__ppm=500_000, enrolment__seed=5),
        weights("holdback-10-percent", [333_333, 333_333, 333_334], holdback__ppm=100_000, holdback__arm="arm-1"),
        weights("ramp-and-holdback", [700_000, 300_000], enrolment__ppm=600_001, holdback__ppm=300_000, fallback="arm-1"),
        weights("nobody-enrolled", [500_000, 500_000], enrolment__ppm=0, fallback="arm-1"),
        weights("everybody-held-back", [500_000, 500_000], holdback__ppm=PPM, holdback__arm="arm-1"),
        weights("paused-goes-on", [250_000, 250_000, 250_000, 250_000], status="paused"),
        weights("stopped", [500_000, 500_000], status="stopped", fallback="arm-1"),
        weights("valid-to-the-last-moment", [500_000, 500_000], valid_until=NOW),
        weights("lease-expired", [500_000, 500_000], valid_until=NOW - 0.001, fallback="arm-1"),
        tie,
    ]


def document() -> dict[str, Any]:
    """The whole file."""
    hashes = [(unit, seed) for unit in ODD_UNITS for seed in (0, 5, 2**32 - 1)]
    return {
        "about": "At `now`, each unit must get what stands beside it under the case's weights. The rule is the docstring of "
        "allocator/assignment.py. `hashes` checks the hash alone: xxh64 in hexadecimal, and the bucket.",
        "now": NOW,
        "hashes": [
            {"unit": unit, "seed": seed, "xxh64": f"{xxh64(unit.encode(), seed):016x}", "bucket": bucket(unit, seed)}
            for unit, seed in hashes
        ],
        "cases": [{"weights": case, "assignments": [reference(case, unit) for unit in UNITS]} for case in cases()],
    }


def text(content: dict[str, Any]) -> str:
    """JSON with one vector a line, so that a change shows as the vectors it changed. ASCII only: no reader can misread it."""

    def rows(items: list[dict[str, Any]]) -> str:
        return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"

    sections = [
        '{"weights": ' + json.dumps(case["weights"]) + ',\n"assignments": ' + rows(case["assignments"]) + "}"
        for case in content["cases"]
    ]
    head = f'"about": {json.dumps(content["about"])},\n"now": {content["now"]},\n"hashes": {rows(content["hashes"])}'
    return "{" + head + ',\n"cases": [\n' + ",\n".join(sections) + "\n]}\n"


if __name__ == "__main__":
    FILE.write_text(text(document()), encoding="ascii")
    print(f"{FILE}: {sum(len(case['assignments']) for case in document()['cases'])} vectors")

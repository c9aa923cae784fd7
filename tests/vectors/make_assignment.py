"""Makes `assignment.json`: units with the arms they must get, for every language that writes a router.

    python -m tests.vectors.make_assignment

The answers come from the plain implementation below, which shares nothing with `allocator.assignment`: XXH64 by its published
specification in Python integers, buckets as fractions, logarithms with fifty digits, of JsonLogic the few operators that the
cases use. `RULES` and `SEGMENTS` are answers written by hand.
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


def logic(rule: Any, attributes: dict[str, Any]) -> Any:
    """The operators that rules of the cases use, on attributes of the types they expect."""
    if not isinstance(rule, dict):
        return rule
    [(operator, arguments)] = rule.items()
    if operator == "var":
        return attributes.get(arguments)
    if operator == "and":
        return all(logic(argument, attributes) for argument in arguments)
    left, right = (logic(argument, attributes) for argument in arguments)
    return left is not None and left >= right if operator == ">=" else {"in": lambda: left in right}[operator]()


def shut_out(weights: dict[str, Any], unit: str, attributes: dict[str, Any]) -> str | None:
    """Why the unit takes no part."""
    if layer := weights.get("namespace"):
        at = bucket(unit, layer["seed"])
        if not any(low <= at < high for low, high in layer["ranges"]):
            return "namespace"
    if bucket(unit, weights["enrolment"]["seed"]) >= weights["enrolment"]["ppm"]:
        return "not enrolled"
    rule = weights.get("eligibility")
    return "not eligible" if rule and not logic(rule, attributes) else None


def reference(weights: dict[str, Any], unit: str, now: float = NOW, attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `allocator.assign` must say, as it stands in the file."""
    params = {arm["id"]: arm["params"] for arm in weights["arms"] if "params" in arm}

    def answer(arm: str, propensity: float, enrolled: bool, holdback: bool, reason: str) -> dict[str, Any]:
        return {
            "unit": unit,
            **({} if attributes is None else {"attributes": attributes}),
            "arm": arm,
            "propensity": propensity,
            "enrolled": enrolled,
            "holdback": holdback,
            "reason": reason,
            **({"params": params[arm]} if params else {}),
        }

    if weights["status"] == "stopped":
        return answer(weights["fallback"], 1.0, False, False, "stopped")
    if now > weights["valid_until"]:
        return answer(weights["fallback"], 1.0, False, False, "lease expired")
    if why := shut_out(weights, unit, attributes or {}):
        return answer(weights["fallback"], 1.0, False, False, why)
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


def layered(name: str, ranges: list[list[int]], **changes: Any) -> dict[str, Any]:
    """Weights of an experiment that holds ranges of a namespace, with params."""
    record = weights(name, [300_000, 700_000], **changes)
    for arm in record["arms"]:
        arm["params"] = {"model": f"{arm['id']}-1", "top_k": 20}
    record["namespace"] = {"name": "home-page", "seed": HOME_PAGE, "ranges": ranges}
    return record


HOME_PAGE = 3_057_192_613
OF_VERSION_7 = {"and": [{">=": [{"var": "app_version"}, 7]}, {"in": [{"var": "country"}, ["de", "fr"]]}]}
ATTRIBUTES: list[dict[str, Any]] = [
    {"app_version": 7, "country": "de"},
    {"app_version": 6.9, "country": "de"},
    {"app_version": 12, "country": "fr", "plan": "pro"},
    {"app_version": 12, "country": "us"},
    {"country": "fr"},
    {},
]

RULES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({">=": [{"var": "app_version"}, 7]}, {"app_version": 7}, True),
    ({">=": [{"var": "app_version"}, 7]}, {"app_version": 6}, False),
    ({">=": [{"var": "app_version"}, 7]}, {"app_version": "8"}, True),  # as JavaScript compares
    ({">=": [{"var": "app_version"}, 7]}, {"app_version": "eight"}, False),
    ({">=": [{"var": "app_version"}, 7]}, {"app_version": [1, 2]}, False),
    ({">=": [{"var": "app_version"}, 7]}, {}, False),
    ({">=": [{"var": ["app_version", 7]}, 7]}, {}, True),  # a default
    ({"in": [{"var": "country"}, ["de", "fr"]]}, {"country": "fr"}, True),
    ({"in": [{"var": "country"}, ["de", "fr"]]}, {"country": "us"}, False),
    ({"!": [{"var": "bot"}]}, {}, True),
    ({"!": [{"var": "bot"}]}, {"bot": True}, False),
    ({"var": "beta"}, {"beta": "0"}, True),  # truth: a text that is not empty
    ({"var": "beta"}, {"beta": 0}, False),
    ({"var": "beta"}, {"beta": []}, False),
    ({"==": [{"var": "user.plan"}, "pro"]}, {"user": {"plan": "pro"}}, True),
    ({"starts_with": [{"var": "email"}, "ann@"]}, {"email": "ann@example.org"}, True),
    ({"ends_with": [{"var": "email"}, "@example.org"]}, {"email": "ann@example.com"}, False),
    ({"sem_ver": [{"var": "client"}, ">=", "2.10.0"]}, {"client": "2.9.4"}, False),
    ({"sem_ver": [{"var": "client"}, "^", "2.0.0"]}, {"client": "2.9.4"}, True),
    ({"sem_ver": [{"var": "client"}, ">=", "2.10.0"]}, {"client": "newest"}, False),
    ({"missing": ["plan"]}, {"plan": "pro"}, False),
    ({"some": [{"var": "groups"}, {"==": [{"var": ""}, "staff"]}]}, {"groups": ["x", "staff"]}, True),
]
"""Rule, attributes, whether the unit is eligible."""

PLAN = {"attribute": "plan", "names": ["free", "pro"], "cuts": []}
ACTIVITY = {"attribute": "requests_28d", "names": ["light", "medium", "heavy"], "cuts": [10, 100]}
SEGMENTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (PLAN, {"plan": "pro"}, "pro"),
    (PLAN, {"plan": "free", "requests_28d": 11}, "free"),
    (PLAN, {"plan": "enterprise"}, "other"),
    (PLAN, {"plan": "Pro"}, "other"),
    (PLAN, {"plan": 1}, "other"),
    (PLAN, {"plan": None}, "other"),
    (PLAN, {}, "other"),
    (ACTIVITY, {"requests_28d": -5}, "light"),
    (ACTIVITY, {"requests_28d": 9.999}, "light"),
    (ACTIVITY, {"requests_28d": 10}, "medium"),
    (ACTIVITY, {"requests_28d": 99}, "medium"),
    (ACTIVITY, {"requests_28d": 100.0}, "heavy"),
    (ACTIVITY, {"requests_28d": 10**12}, "heavy"),
    (ACTIVITY, {"requests_28d": "100"}, "other"),
    (ACTIVITY, {"requests_28d": True}, "other"),
    (ACTIVITY, {"requests_28d": None}, "other"),
    (ACTIVITY, {}, "other"),
]
"""Rule, attributes, segment."""


def layered_cases() -> list[dict[str, Any]]:
    """Weights records with a namespace, asked about without attributes."""
    return [
        layered("namespace-first-30-percent", [[0, 300_000]]),
        layered("namespace-next-30-percent", [[300_000, 600_000]], fallback="arm-1"),
        layered(
            "namespace-two-ranges-ramp-holdback", [[0, 100_000], [500_000, PPM]], enrolment__ppm=500_000, holdback__ppm=200_000
        ),
        layered("namespace-without-ranges", []),
    ]


def asked() -> list[dict[str, Any]]:
    """The cases with eligibility, whose units come with attributes."""
    plain = weights("eligible-version-7", [250_000, 750_000], eligibility=OF_VERSION_7, enrolment__ppm=700_000)
    both = layered("eligible-in-a-namespace", [[200_000, 800_000]], eligibility=OF_VERSION_7, fallback="arm-1")
    return [
        {
            "weights": record,
            "assignments": [reference(record, f"u-{i}", attributes=ATTRIBUTES[i % len(ATTRIBUTES)]) for i in range(60)],
        }
        for record in (plain, both)
    ]


def document() -> dict[str, Any]:
    """The whole file."""
    hashes = [(unit, seed) for unit in ODD_UNITS for seed in (0, 5, 2**32 - 1)]
    return {
        "about": "At `now`, each unit must get what stands beside it under the case's weights. The rule is the docstring of "
        "allocator/assignment.py. `hashes` checks the hash alone: xxh64 in hexadecimal, and the bucket. `rules` checks "
        "eligibility alone, `segments` the segment of a unit by a rule.",
        "now": NOW,
        "hashes": [
            {"unit": unit, "seed": seed, "xxh64": f"{xxh64(unit.encode(), seed):016x}", "bucket": bucket(unit, seed)}
            for unit, seed in hashes
        ],
        "cases": [
            *({"weights": case, "assignments": [reference(case, unit) for unit in UNITS]} for case in cases() + layered_cases()),
            *asked(),
        ],
        "rules": [{"rule": rule, "attributes": given, "eligible": eligible} for rule, given, eligible in RULES],
        "segments": [{"rule": rule, "attributes": given, "segment": segment} for rule, given, segment in SEGMENTS],
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
    tail = "".join(f',\n"{name}": {rows(content[name])}' for name in ("rules", "segments"))
    return "{" + head + ',\n"cases": [\n' + ",\n".join(sections) + "\n]" + tail + "}\n"


if __name__ == "__main__":
    FILE.write_text(text(document()), encoding="ascii")
    print(f"{FILE}: {sum(len(case['assignments']) for case in document()['cases'])} vectors")

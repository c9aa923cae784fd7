"""Exposures and rewards from files: what is sent, and what is said of a line that is not."""

from __future__ import annotations

import msgspec

from streams.event_files import BadLine, Event, read_events
from streams.records import Exposure, Reward

REWARD = '{"unit":"ü-1","metric":"click","value":1,"ts":1764000000.5,"reward_id":"r","extra":[1]}'


def test_a_json_line_is_sent_as_it_is_under_its_unit() -> None:
    assert list(read_events([REWARD + "\n"], Reward)) == [Event("ü-1".encode(), REWARD.encode())]


def test_bad_json_lines_are_numbered_and_the_rest_goes_on() -> None:
    lines = [REWARD, "", "{", '{"unit": 3}', "\ufeff" + REWARD, '["x"]']
    found = list(read_events(lines, Reward))
    assert [type(line) for line in found] == [Event, BadLine, BadLine, Event, BadLine]
    assert [(line.line, line.error) for line in found if isinstance(line, BadLine)] == [
        (3, "Input data was truncated"),
        (4, "Expected `str`, got `int` - at `$.unit`"),
        (6, "Expected `object`, got `array`"),
    ]


def test_csv_cells_become_fields_and_empty_ones_are_absent() -> None:
    lines = [
        "\ufeffexperiment,unit,arm,propensity,ts,exposure_id,holdback,segment,covariates\n",
        'chat,007,b,0.5,1764000000.25,e-1,true,,"{""requests_28d"": 41}"\n',
        "chat,u,b,1,1764000001,e-2,,pro,\n",
    ]
    first, second = (
        msgspec.json.decode(event.value, type=Exposure) for event in read_events(lines, Exposure) if isinstance(event, Event)
    )
    assert first == Exposure(
        experiment="chat", unit="007", arm="b", propensity=0.5, ts=1764000000.25, exposure_id="e-1", holdback=True,
        covariates={"requests_28d": 41},
    )  # fmt: skip
    assert (second.segment, second.holdback, second.covariates) == ("pro", False, {})


def test_bad_csv_lines_are_numbered() -> None:
    lines = [
        "unit,metric,value,ts,reward_id\n",
        "u,click,nan,1,r\n",
        "u,click,inf,1,r\n",
        "u,click,1,1,r,more\n",
        "u,click\n",
        'u,"two\n',
        'lines",1,1,r\n',
        "u,click,1,yesterday,r\n",
    ]
    found = list(read_events(lines, Reward))
    assert [line.line if isinstance(line, BadLine) else "sent" for line in found] == [2, 3, 4, 5, "sent", 8]


def test_a_csv_without_the_names_it_needs_is_one_error() -> None:
    [found] = read_events(["unit,value\n", "u,1\n", "v,2\n"], Reward)
    assert found == BadLine(1, "the first line must name the fields; it lacks metric, ts, reward_id")


def test_the_format_can_be_said() -> None:
    [found] = read_events(["{\n"], Reward, is_csv=True)
    assert isinstance(found, BadLine)
    assert "it lacks" in found.error
    assert list(read_events([], Reward)) == []

# SPDX-License-Identifier: Apache-2.0
"""What people see: lines without a terminal, a bar on one, alarms always."""

from __future__ import annotations

import io

from rich.console import Console

from ssl4eo.training.display import LINE_SECONDS, Display, span_words


class Time:
    """A clock that is set by hand."""

    def __init__(self):
        """Start at zero."""
        self.value = 0.0

    def __call__(self):
        """Read it."""
        return self.value


def shown(*, terminal=False, quiet=False, seconds_a_step=10.0, steps=12):
    """Run a display over some steps and give what it printed."""
    out, now = io.StringIO(), Time()
    console = Console(file=out, force_terminal=terminal, width=200, color_system=None)
    with Display(first_step=0, num_steps=steps, quiet=quiet, console=console, now=now) as display:
        for step in range(1, steps + 1):
            now.value += seconds_a_step
            display.show(loss=f"loss {step}.000", rate="8 img/s", waiting="waiting 3 %")
            display.advance(step)
        display.alarm("at step 12: [all] is lost")
    return out.getvalue()


def test_without_a_terminal_a_line_comes_at_the_start_then_each_half_minute_and_at_the_end():
    """Steps of 10 s: lines at steps 1, 4, 7, 10 and 12, with rate, waiting and time left."""
    lines = [line for line in shown().splitlines() if line.startswith("pre-training")]

    assert LINE_SECONDS == 30
    assert [line.split()[2] for line in lines] == ["1/12", "4/12", "7/12", "10/12", "12/12"]
    assert (
        lines[1] == "pre-training: step 4/12 \u00b7 loss 4.000 \u00b7 8 img/s \u00b7 waiting 3 % \u00b7 1 min 20 s left"
    )
    assert lines[-1].endswith("done")


def test_on_a_terminal_the_bar_shows_the_same():
    """Loss, rate and waiting stand beside the bar."""
    text = shown(terminal=True)

    assert "12/12" in text
    assert "loss 12.000" in text
    assert "waiting 3 %" in text
    assert "left" not in text


def test_quiet_prints_alarms_alone():
    """As they are, brackets too."""
    assert shown(quiet=True).splitlines() == ["ALARM at step 12: [all] is lost"]


def test_times_are_said_in_two_units():
    """At the borders."""
    assert [span_words(s) for s in (0, 59.9, 60, 3599, 3600)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "59 min 59 s",
        "1 h 00 min",
    ]

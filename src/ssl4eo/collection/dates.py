# SPDX-License-Identifier: Apache-2.0
"""When a picture was taken, by its name or by what a TIFF says: for files that no publisher's rule names.

A date is 00:00 UTC of its day where no time of day follows it, as in the other layouts. Price: a number of eight digits
that happens to be a day of 1900 to 2099 is taken for one.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping

from ssl4eo.collection.product_folders import parse_time

_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)(-?)(\d\d)\2(\d\d)(?:T(\d{6}))?(?!\d)", re.ASCII)


def time_in_name(name: str) -> dt.datetime | None:
    """Read the first date [UTC] out of a name, None where there is none.

    >>> time_in_name("p1_2020-01-10_v20210401").isoformat()
    '2020-01-10T00:00:00+00:00'
    >>> time_in_name("S2A_MSIL2A_20200110T104421_N0213").isoformat()
    '2020-01-10T10:44:21+00:00'
    >>> time_in_name("2020-13-10") is None
    True
    """
    for year, _, month, day, clock in _DATE.findall(name):
        date = f"{year}{month}{day}"
        time = parse_time(f"{date}{clock}", "%Y%m%d%H%M%S") if clock else None
        time = time or parse_time(date, "%Y%m%d")
        if time is not None:
            return time
    return None


def time_in_tags(tags: Mapping[str, str]) -> dt.datetime | None:
    """Read TIFFTAG_DATETIME, `2020:01:10 10:44:21`, None where it is not there; it has no zone and is taken as UTC."""
    return parse_time(tags.get("TIFFTAG_DATETIME", "").strip(), "%Y:%m:%d %H:%M:%S")

# SPDX-License-Identifier: Apache-2.0
"""For all tests: properties have no deadline, as a machine that is busy with others proves nothing."""

from hypothesis import settings

settings.register_profile("ssl4eo", deadline=None)
settings.load_profile("ssl4eo")

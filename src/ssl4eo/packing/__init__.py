# SPDX-License-Identifier: Apache-2.0
"""From any source to an archive: which layouts there are, who does the work, what is left out and why."""

# SPDX-License-Identifier: Apache-2.0
"""What a run saw and what its network does with it, recorded as arrays beside the run, for reports to draw."""

# SPDX-License-Identifier: Apache-2.0
"""What the satellite saw: sources that yield Samples."""

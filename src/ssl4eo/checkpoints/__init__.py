# SPDX-License-Identifier: Apache-2.0
"""What is kept of it: reading, writing and naming networks."""

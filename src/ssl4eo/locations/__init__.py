# SPDX-License-Identifier: Apache-2.0
"""Where and when to look: places drawn or taken from a list, their spacing, the windows of their seasons."""

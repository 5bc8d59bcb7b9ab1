# SPDX-License-Identifier: Apache-2.0
"""One paper, one file."""

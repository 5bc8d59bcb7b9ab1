# SPDX-License-Identifier: Apache-2.0
"""One protocol a file: how features become a score."""

# SPDX-License-Identifier: Apache-2.0
"""Pixels as people see them: composites, stretches, pictures of images and locations. No torch, no matplotlib."""

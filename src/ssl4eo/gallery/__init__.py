# SPDX-License-Identifier: Apache-2.0
"""The gallery: one scheme of paths, answered on demand by a server or written as a static site."""

# SPDX-License-Identifier: Apache-2.0
"""Tables, figures and galleries from recorded results."""

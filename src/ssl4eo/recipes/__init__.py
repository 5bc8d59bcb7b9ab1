# SPDX-License-Identifier: Apache-2.0
"""Complete experiments as functions that return configs."""

# SPDX-License-Identifier: Apache-2.0
"""Mechanics of optimization: schedules, optimizers, state, log."""

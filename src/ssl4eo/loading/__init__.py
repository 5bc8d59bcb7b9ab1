# SPDX-License-Identifier: Apache-2.0
"""From stored images to batches, in an order that resumes exactly."""

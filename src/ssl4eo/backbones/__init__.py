# SPDX-License-Identifier: Apache-2.0
"""What transfers: networks for any number of bands."""

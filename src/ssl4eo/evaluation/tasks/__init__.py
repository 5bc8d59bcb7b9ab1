# SPDX-License-Identifier: Apache-2.0
"""One task a file: what is to be predicted, from which images, on which named split."""

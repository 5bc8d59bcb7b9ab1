# SPDX-License-Identifier: Apache-2.0
"""How it is seen: crops, blur, flips, photometric changes, pairs of seasons."""

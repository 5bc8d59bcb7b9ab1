# SPDX-License-Identifier: Apache-2.0
"""How good it is: tasks times protocols."""

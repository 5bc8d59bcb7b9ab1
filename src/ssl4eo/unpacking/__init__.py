# SPDX-License-Identifier: Apache-2.0
"""From an archive to the layouts that others read: which there are, who does the work, where it goes on."""

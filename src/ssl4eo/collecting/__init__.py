# SPDX-License-Identifier: Apache-2.0
"""From places and a service to an archive: plan, fetch, keep a ledger, go on after any interruption."""

# SPDX-License-Identifier: Apache-2.0
"""Images fetched over a network: what is asked of a service, the services, and which of its scenes is taken."""

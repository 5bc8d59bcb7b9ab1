# SPDX-License-Identifier: Apache-2.0
"""One command line verb a file; cli.py finds them in its table."""

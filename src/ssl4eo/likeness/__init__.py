# SPDX-License-Identifier: Apache-2.0
"""What a network thinks is alike: embeddings in a file, searched, drawn in the plane, compared. Loads no torch."""

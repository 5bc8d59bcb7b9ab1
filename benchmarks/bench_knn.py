# SPDX-License-Identifier: Apache-2.0
"""How much memory and time does k-NN of large sets take?

    python benchmarks/bench_knn.py [--bank 100000] [--queries 100000] [--dimensions 512]

Synthetic features around 1,000 centers, 10 classes of 100 centers each. Prints the largest resident memory of the
process, the features themselves included, and seconds; and, of the first 200 queries, whether scikit-learn's
neighbors (brute force, cosine) vote the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from ssl4eo.environment import environment
from ssl4eo.evaluation.protocols.knn import NUM_NEIGHBORS, TEMPERATURE, predict_knn

CENTERS, CLASSES, CHECKED = 1000, 10, 200


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=512)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(CENTERS, args.dimensions, generator=generator)

    def draw(count):
        chosen = torch.randint(CENTERS, (count,), generator=generator)
        return centers[chosen] + 2 * torch.randn(count, args.dimensions, generator=generator), chosen % CLASSES

    (bank, labels), (queries, truth) = draw(args.bank), draw(args.queries)
    before, begin = peak(), time.perf_counter()
    predicted, _ = predict_knn(bank, labels, queries, num_classes=CLASSES)
    seconds, after = time.perf_counter() - begin, peak()
    print(json.dumps(environment(), default=str))
    sizes = f"{args.bank} x {args.queries} of {args.dimensions}"
    print(f"{sizes}: peak {after:.2f} GiB ({before:.2f} before), {seconds:.0f} s")
    print(f"accuracy {(predicted == truth).double().mean():.4f}")
    search = NearestNeighbors(n_neighbors=NUM_NEIGHBORS, metric="cosine", algorithm="brute").fit(bank.numpy())
    distance, index = search.kneighbors(queries[:CHECKED].numpy())
    weight = np.exp((1 - distance) / TEMPERATURE)
    votes = np.stack([(weight * (labels.numpy()[index] == k)).sum(axis=1) for k in range(CLASSES)], axis=1)
    same = int((votes.argmax(axis=1) == predicted[:CHECKED].numpy()).sum())
    print(f"{same} of {CHECKED} predictions are those of scikit-learn's neighbors")


if __name__ == "__main__":
    main()

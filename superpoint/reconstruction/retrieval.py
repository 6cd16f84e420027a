"""Which photographs may show the same thing, by their own descriptors: a global descriptor per image, its neighbours.

The descriptors of an image are summed up by VLAD (Jegou et al. 2010): per visual word the sum of the differences from
it, here over the square root of its length, and as signed square roots. The words, and the main components that make
the sum short, are learnt on the set itself.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from superpoint.engine.display import watch
from superpoint.matching.matchers import unit_length
from superpoint.reconstruction.pairs import Pair, distinct

Array = NDArray[np.float32]

# Chosen on three views each of 120 photographs, turned up to 30 degrees and scaled by 0.6 to 1.7, among 371 others.
# Share of the other two views among the 20 nearest: 128 words .77, with 192 components .91; 64 words .89; 512 .91.
WORDS = 128
COMPONENTS = 192
SAMPLE = 1000  # images that words and components are learnt on: bounds the memory, 130 MB at 256 numbers a descriptor
PER_IMAGE = 100  # strongest descriptors of an image that words are learnt on
STRONGEST = 1024  # descriptors of an image that are summed up
ROUNDS = 12  # of k-means
BLOCK = 1000  # images compared at once with all


def retrieve_pairs(names: Sequence[str], read: Callable[[str], Array], count: int) -> list[Pair]:
    """Pair each image with the `count` that are most like it.

    Args:
        names: of the images, in the order in which pairs name them.
        read: name -> descriptors float32 [N, D] of unit length, strongest first.
    """
    codes = global_descriptors(names, read)
    pairs: list[Pair] = []
    for start in range(0, len(names), BLOCK):
        block = codes[start : start + BLOCK] @ codes.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = -np.inf
        nearest = np.argsort(-block, axis=1, kind="stable")[:, : min(count, len(names) - 1)]
        for index, others in enumerate(nearest.tolist(), start):
            pairs += [(names[min(index, other)], names[max(index, other)]) for other in others]
    place = {name: index for index, name in enumerate(names)}
    return sorted(distinct(pairs), key=lambda pair: (place[pair[0]], place[pair[1]]))


def global_descriptors(names: Sequence[str], read: Callable[[str], Array]) -> Array:
    """Return a descriptor per image, float32 [images, COMPONENTS or fewer] of unit length."""
    places: list[int] = np.unique(np.linspace(0, len(names) - 1, min(SAMPLE, len(names))).astype(int)).tolist()
    chosen = [names[place] for place in places]
    words = _words(np.concatenate([read(name)[:PER_IMAGE] for name in watch(chosen, "images for the words")]))
    sums = np.stack([_aggregate(read(name), words) for name in watch(chosen, "images for the components")])
    mean = sums.mean(axis=0)
    # The components by the small matrix of inner products. Each is divided by the square root of its spread: half of
    # a whitening, which would raise the noise of the last ones.
    spread, vectors = np.linalg.eigh((sums - mean) @ (sums - mean).T)
    order = [index for index in np.argsort(-spread)[:COMPONENTS] if spread[index] > 1e-6 * spread.max()]
    basis = (sums - mean).T @ (vectors[:, order] / spread[order] ** 0.75)
    codes = [(_aggregate(read(name), words) - mean) @ basis for name in watch(names, "images for retrieval")]
    return unit_length(np.stack(codes))


def _words(descriptors: Array) -> Array:
    """Return the centres of spherical k-means, float32 [WORDS or fewer, D] of unit length."""
    rng = np.random.Generator(np.random.SFC64(0))
    words = descriptors[rng.permutation(len(descriptors))[:WORDS]]
    for _ in range(ROUNDS):
        sums = _sums(descriptors, (descriptors @ words.T).argmax(axis=1), len(words))
        words = np.where(np.linalg.norm(sums, axis=1, keepdims=True) > 0, unit_length(sums), words)
    return words


def _aggregate(descriptors: Array, words: Array) -> Array:
    found = descriptors[:STRONGEST]
    nearest = (found @ words.T).argmax(axis=1)
    sums = _sums(found - words[nearest], nearest, len(words))
    sums /= np.sqrt(np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))
    flat = sums.reshape(-1)
    return unit_length(np.sign(flat) * np.sqrt(np.abs(flat)))


def _sums(values: Array, groups: NDArray[np.int64], count: int) -> Array:
    """Sum the rows of each group, float32 [count, D]."""
    belongs = np.zeros((count, len(values)), np.float32)
    belongs[groups, np.arange(len(values))] = 1
    return belongs @ values

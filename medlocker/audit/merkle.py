"""The Merkle tree of an append-only log: roots, proofs, and their checks, on hashes alone.

Source: RFC 6962, section 2.1; the checks follow RFC 9162, section 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

EMPTY_ROOT = hashlib.sha256().digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry; the prefix keeps an entry from passing for a node."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier(NamedTuple):
    """All that is needed to append to a tree: the roots of its complete subtrees.

    Attributes:
        size: entries in the tree.
        peaks: one root for each binary one of `size`, largest subtree first.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    @property
    def well_formed(self) -> bool:
        """Whether there are as many peaks as the size asks for."""
        return self.size >= 0 and len(self.peaks) == self.size.bit_count()

    @property
    def root(self) -> bytes:
        """Root of the whole tree."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def append(self, leaf: bytes) -> Frontier:
        """The frontier after one more leaf hash."""
        peaks, size = list(self.peaks), self.size
        while size & 1:
            leaf = node_hash(peaks.pop(), leaf)
            size >>= 1
        return Frontier(self.size + 1, (*peaks, leaf))


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier.root


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from one leaf to the root.

    Source: RFC 6962, section 2.1.1, PATH(m, D[n]).

    Args:
        leaves: leaf hashes of the whole tree.
        index: of the leaf, from 0.

    Returns:
        Sibling hashes, lowest first.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} in a tree of {len(leaves)}")
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion_path(leaves[:split], index), tree_root(leaves[split:])]
    return [*inclusion_path(leaves[split:], index - split), tree_root(leaves[:split])]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion path leads to.

    Args:
        leaf: leaf hash.
        index: of the leaf.
        size: of the tree.
        path: from `inclusion_path`.

    Returns:
        The root; None where the path cannot be one of this leaf in a tree of this size.
    """
    if not 0 <= index < size:
        return None
    node, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        node, last = node >> 1, last >> 1
    return root if last == 0 else None


def consistency_path(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """The hashes which show that a tree begins with an older one.

    Source: RFC 6962, section 2.1.2, PROOF(m, D[n]).

    Args:
        leaves: leaf hashes of the whole tree.
        old_size: entries of the older tree, from 1.

    Raises:
        IndexError: the older tree is empty, or larger than the whole.
    """
    if not 0 < old_size <= len(leaves):
        raise IndexError(f"no older tree of {old_size} in a tree of {len(leaves)}")
    return _subproof(leaves, old_size, complete=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, complete: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if complete else [tree_root(leaves)]
    split = _split(len(leaves))
    if old_size <= split:
        return [*_subproof(leaves[:split], old_size, complete=complete), tree_root(leaves[split:])]
    return [*_subproof(leaves[split:], old_size - split, complete=False), tree_root(leaves[:split])]


def is_consistent(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a consistency path shows that the new tree begins with the old one.

    Args:
        old_size: from 1.
        old_root: root of the older tree.
        new_size: not below `old_size`.
        new_root: root of the newer tree.
        path: from `consistency_path`.
    """
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not path and old_root == new_root
    # An old tree that is complete is its own first node; the path leaves it out.
    nodes = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    return _roots_along(old_size, new_size, nodes) == (old_root, new_root)


def _roots_along(old_size: int, new_size: int, nodes: list[bytes]) -> tuple[bytes, bytes] | None:
    if not nodes:
        return None
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return None
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    return (old, new) if last == 0 else None


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1

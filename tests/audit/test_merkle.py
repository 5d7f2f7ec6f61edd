"""RFC 6962 trees: published vectors, and agreement with the recursive definition."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlocker.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    inclusion_path,
    is_consistent,
    leaf_hash,
    root_from_inclusion,
    tree_root,
)

# The reference vectors of Certificate Transparency (also transparency-dev/merkle, testonly).
ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
L = [leaf_hash(entry) for entry in ENTRIES]
N01_OF_4 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
RIGHT_HALF = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size):
    assert tree_root(L[:size]).hex() == ROOTS[size]
    assert ROOTS[0] == EMPTY_ROOT.hex()


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7", N01_OF_4, RIGHT_HALF]),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                ROOTS[4],
            ],
        ),
    ],
)
def test_inclusion_paths_are_the_published_ones(index, size, path):
    assert [node.hex() for node in inclusion_path(L[:size], index)] == path
    assert root_from_inclusion(L[index], index, size, [bytes.fromhex(node) for node in path]).hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (1, 1, []),
        (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7", N01_OF_4, RIGHT_HALF]),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                ROOTS[4],
            ],
        ),
        (2, 5, [N01_OF_4, "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
    ],
)
def test_consistency_paths_are_the_published_ones(old, new, path):
    assert [node.hex() for node in consistency_path(L[:new], old)] == path


def mth(entries: list[bytes]) -> bytes:
    """The definition in RFC 6962, section 2.1, word for word."""
    n = len(entries)
    if n == 0:
        return hashlib.sha256().digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < n:
        k *= 2
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_the_frontier_gives_the_root_of_the_definition(entries):
    frontier = Frontier()
    for entry in entries:
        frontier = frontier.append(leaf_hash(entry))
    assert frontier.root == mth(entries)
    assert frontier.well_formed


def test_every_leaf_of_every_small_tree_is_included_and_nowhere_else():
    for size in range(1, 24):
        tree = leaves(size)
        root = tree_root(tree)
        for index in range(size):
            path = inclusion_path(tree, index)
            accepted = [at for at in range(size + 2) if root_from_inclusion(tree[index], at, size, path) == root]
            assert accepted == [index]
            assert root_from_inclusion(tree[index], index, size, [*path, root]) != root
            assert not path or root_from_inclusion(tree[index], index, size, path[:-1]) != root


def test_every_small_tree_grows_from_each_of_its_beginnings():
    for new in range(1, 24):
        tree = leaves(new)
        for old in range(1, new + 1):
            path = consistency_path(tree, old)
            old_root, new_root = tree_root(tree[:old]), tree_root(tree)
            assert is_consistent(old, old_root, new, new_root, path)
            assert not is_consistent(old, leaf_hash(b"other"), new, new_root, path)
            assert not is_consistent(old, old_root, new, leaf_hash(b"other"), path)
            assert not is_consistent(old, old_root, new, new_root, [*path, new_root])


@given(st.integers(2, 200), st.data())
def test_an_altered_path_proves_nothing(new, data):
    tree = leaves(new)
    old = data.draw(st.integers(1, new - 1))
    path = consistency_path(tree, old)
    changed = data.draw(st.integers(0, len(path) - 1))
    path[changed] = leaf_hash(path[changed])
    assert not is_consistent(old, tree_root(tree[:old]), new, tree_root(tree), path)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_what_is_not_in_the_tree_has_no_path(index, size):
    with pytest.raises(IndexError):
        inclusion_path(leaves(size), index)
    assert root_from_inclusion(leaf_hash(b"x"), index, size, []) is None


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (1, 0)])
def test_trees_that_do_not_grow_have_no_path(old, new):
    with pytest.raises(IndexError):
        consistency_path(leaves(new), old)
    assert not is_consistent(old, EMPTY_ROOT, new, EMPTY_ROOT, [])

"""Readers of image sets with known factors, on tiny files of the same form."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import DataError, DataNotFoundError, factor_sets
from lrn.data.factor_sets import dsprites, mpi3d, small_norb

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The data folder; decoded arrays go to a cache of the test."""
    monkeypatch.setenv("LRN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LRN_CACHE_DIR", str(tmp_path / "cache"))
    for name in factor_sets.names():
        (tmp_path / name).mkdir()
    return tmp_path


def images(rows, *shape):
    return RNG.integers(0, 256, (rows, *shape), dtype=np.uint8)


def test_dsprites(folder):
    classes = np.stack(np.unravel_index(np.arange(24), (1, 3, 2, 2, 2, 1)), 1)
    pictures = images(24, 8, 8) // 128
    path = folder / "dsprites" / dsprites.FILE
    np.savez_compressed(
        path,
        imgs=pictures,
        latents_classes=classes.astype(np.int64),
        latents_values=classes.astype(float),
        metadata=np.array({"title": "pickled, and not read"}, dtype=object),
    )
    found = factor_sets.load("dsprites")
    np.testing.assert_array_equal(found.factors, classes[:, 1:])
    np.testing.assert_array_equal(
        found.pixels(np.array([3, 1])), pictures[[3, 1], :, :, None].astype(np.float32)
    )
    assert (found.rows, found.names, found.sizes) == (24, dsprites.NAMES, (3, 2, 2, 2, 1))
    assert found.images.dtype == np.uint8
    assert isinstance(found.images.base, np.memmap)  # mapped, not read
    again = factor_sets.load("dsprites")
    np.testing.assert_array_equal(again.images, found.images)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot be read"):
        factor_sets.load("dsprites")
    for wrong, shown, sentence in (
        (classes, pictures * 255, "pixels above 1, which is white in dsprites"),
        (classes - 1, pictures, "of numbers from 0; it is cut"),
        (classes[:0], pictures[:0], "has no images"),
    ):
        np.savez(path, imgs=shown, latents_classes=wrong)
        with pytest.raises(DataError, match=sentence):
            factor_sets.load("dsprites")


def test_shapes3d(folder):
    labels = np.array(
        [[0.0, 0.1, 0.9, 0.75, 3, -30], [0.5, 0.1, 0.0, 1.25, 0, 30], [0.5, 0.2, 0.9, 1.0, 1, 0]]
    )
    pictures = images(3, 4, 4, 3)
    np.savez(folder / "shapes3d" / "3dshapes.npz", images=pictures, labels=labels)
    found = factor_sets.load("shapes3d")
    np.testing.assert_array_equal(found.images, pictures)
    np.testing.assert_array_equal(found.factors, [[0, 0, 1, 0, 2, 0], [1, 0, 0, 2, 0, 2], [1, 1, 1, 1, 1, 1]])
    np.testing.assert_allclose(found.pixels(slice(0, 1)), pictures[:1] / 255.0, rtol=1e-6)
    (folder / "shapes3d" / "3dshapes.npz").unlink()
    (folder / "shapes3d" / "3dshapes.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"h5py is not installed|cannot be read"):
        factor_sets.load("shapes3d")


def test_mpi3d(folder, monkeypatch):
    monkeypatch.setattr(mpi3d, "SIZES", (2, 1, 2, 1, 1, 2, 3))
    pictures = images(24, 4, 4, 3)
    np.savez(folder / "mpi3d" / "mpi3d_toy.npz", images=pictures)
    found = factor_sets.load("mpi3d", "toy")
    assert found.sizes == (2, 1, 2, 1, 1, 2, 3)
    np.testing.assert_array_equal(found.factors[7], [0, 0, 1, 0, 0, 0, 1])  # 7 = 1 * 6 + 0 * 3 + 1
    np.savez(folder / "mpi3d" / "mpi3d_real.npz", images=pictures[:5])
    with pytest.raises(DataError, match="has 5 images, expected 24"):
        factor_sets.load("mpi3d")
    with pytest.raises(DataNotFoundError, match=r"looked for .*mpi3d_realistic.npz; get the file from"):
        factor_sets.load("mpi3d", "realistic")
    np.savez(folder / "mpi3d" / "mpi3d_toy.npz", pictures=pictures)
    with pytest.raises(DataError, match=r"has no array 'images' but pictures\.npy"):
        factor_sets.load("mpi3d", "toy")


def norb(array):
    kind = {"uint8": 0x1E3D4C55, "int32": 0x1E3D4C54}[str(array.dtype)]
    sizes = [*array.shape, *[1] * (3 - array.ndim)]
    return struct.pack(f"<{2 + len(sizes)}i", kind, array.ndim, *sizes) + array.tobytes()


def test_small_norb(folder):
    pictures = images(4, 2, 6, 6)
    category = np.array([0, 1, 0, 4], np.int32)
    rest = np.array([[4, 0, 0, 0], [6, 1, 34, 5], [4, 8, 2, 0], [9, 0, 0, 1]], np.int32)
    for kind, array in {"dat": pictures, "cat": category, "info": rest}.items():
        (folder / "small_norb" / f"{small_norb.STEMS['train']}-{kind}.mat").write_bytes(norb(array))
        (folder / "small_norb" / f"{small_norb.STEMS['test']}-{kind}.mat.gz").write_bytes(
            gzip.compress(norb(array))
        )
    for split in ("train", "test"):
        found = factor_sets.load("small_norb", split)
        np.testing.assert_array_equal(found.images, pictures[:, 0, :, :, None])
        np.testing.assert_array_equal(found.factors[:, 1], [0, 1, 0, 2])
        np.testing.assert_array_equal(found.factors[:, 0], [0, 1, 0, 2])
    dat = folder / "small_norb" / f"{small_norb.STEMS['train']}-dat.mat"
    dat.write_bytes(dat.read_bytes()[:-1])
    with pytest.raises(DataError, match="is cut: it has 287 bytes of values, expected 288"):
        factor_sets.load("small_norb")
    dat.write_bytes(b"another file altogether")
    with pytest.raises(DataError, match="is no matrix of bytes or integers"):
        factor_sets.load("small_norb")


def test_what_is_not_there(folder, monkeypatch):
    with pytest.raises(InputError, match="image set 'dsprite' is not known; did you mean dsprites"):
        factor_sets.load("dsprite")
    with pytest.raises(InputError, match="split of dsprites 'test' is not known"):
        factor_sets.load("dsprites", "test")
    with pytest.raises(
        DataNotFoundError, match=r"dsprites was not found: looked for .*npz; get the file from"
    ):
        factor_sets.load("dsprites")
    monkeypatch.delenv("LRN_DATA_DIR")
    with pytest.raises(DataNotFoundError, match="because LRN_DATA_DIR is not set"):
        factor_sets.load("dsprites")

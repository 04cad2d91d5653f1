"""MATLAB files of every version and byte order, read lazily."""

import struct

import h5py
import numpy as np
import pytest

from keras_skd.data import mat_files
from keras_skd.data.datasets import recognise
from keras_skd.data.mat_files import sidd_blocks
from keras_skd.errors import InputError, MissingFileError

NOISY, CLEAN = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"


@pytest.fixture(autouse=True)
def _forgetful():
    mat_files._cached.cache_clear()


def big_endian_mat(path, name, array):
    """A MATLAB 5 file as a big-endian machine writes it: every number's bytes the other way."""

    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    uint8_class, uint8, int8, int32, uint32, matrix = 9, 2, 1, 5, 6, 14
    body = element(uint32, struct.pack(">II", uint8_class, 0))
    body += element(int32, struct.pack(f">{array.ndim}i", *array.shape))
    body += element(int8, name.encode())
    body += element(uint8, array.tobytes(order="F"))
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    path.write_bytes(head + element(matrix, body))


@pytest.fixture
def blocks():
    return np.random.default_rng(0).integers(0, 256, (2, 3, 16, 12, 3), np.uint8)


def write_hdf5(folder, blocks):
    for name in (NOISY, CLEAN):
        with h5py.File(folder / f"{name}.mat", "w", userblock_size=512) as file:
            file[name] = blocks.T


def test_big_endian_files(tmp_path, blocks):
    for name in (NOISY, CLEAN):
        big_endian_mat(tmp_path / f"{name}.mat", name, blocks)
    noisy, clean = recognise(tmp_path).groups[4]
    assert noisy.number == (1, 1)
    assert np.array_equal(noisy.read(), blocks[1, 1])
    assert np.array_equal(clean.read(), blocks[1, 1])


def test_listing_reads_no_array(tmp_path, blocks, monkeypatch):
    big_endian_mat(tmp_path / f"{NOISY}.mat", NOISY, blocks)
    big_endian_mat(tmp_path / f"{CLEAN}.mat", CLEAN, blocks)
    monkeypatch.setattr(mat_files, "_loaded", lambda *_: pytest.fail("an array was read"))
    groups = recognise(tmp_path).groups
    assert [group[0].size for group in groups] == [(16, 12)] * 6


def test_of_an_hdf5_file_one_block_is_read(tmp_path, blocks, monkeypatch):
    write_hdf5(tmp_path, blocks)
    monkeypatch.setattr(mat_files, "_loaded", lambda *_: pytest.fail("the whole array was read"))
    for index, (noisy, _) in enumerate(recognise(tmp_path).groups):
        assert np.array_equal(noisy.read(), blocks[divmod(index, 3)])


def test_a_file_that_is_replaced_is_read_again(tmp_path, blocks):
    for name in (NOISY, CLEAN):
        big_endian_mat(tmp_path / f"{name}.mat", name, blocks)
    ((noisy, _), *_) = recognise(tmp_path).groups
    assert np.array_equal(noisy.read(), blocks[0, 0])
    big_endian_mat(tmp_path / f"{NOISY}.mat", NOISY, np.concatenate([blocks, blocks])[::-1])
    assert np.array_equal(noisy.read(), blocks[-1, 0])


def test_values_of_other_types_are_refused(tmp_path, blocks):
    write_hdf5(tmp_path, blocks.astype(np.uint16))
    with pytest.raises(InputError, match=r"_01: values of 8 bits expected; got uint16"):
        recognise(tmp_path).groups[0][0].read()
    write_hdf5(tmp_path, blocks[0])
    with pytest.raises(InputError, match=r"blocks \(scenes, blocks, height, width, 3\) expected"):
        recognise(tmp_path)


def test_files_of_different_sets(tmp_path, blocks):
    write_hdf5(tmp_path, blocks)
    with h5py.File(tmp_path / f"{CLEAN}.mat", "w", userblock_size=512) as file:
        file[CLEAN] = blocks[:1].T
    with pytest.raises(InputError, match=r"holds 6 blocks and .* 3; both are one set"):
        sidd_blocks(tmp_path)
    (tmp_path / f"{CLEAN}.mat").unlink()
    with pytest.raises(MissingFileError, match=rf"{CLEAN}\.mat: missing"):
        recognise(tmp_path)
    assert sidd_blocks(tmp_path, benchmark=True) is None


def test_a_variable_of_another_name(tmp_path, blocks):
    write_hdf5(tmp_path, blocks)
    (tmp_path / f"{CLEAN}.mat").write_bytes((tmp_path / f"{NOISY}.mat").read_bytes())
    with pytest.raises(InputError, match=rf"no array {CLEAN} in it"):
        recognise(tmp_path)

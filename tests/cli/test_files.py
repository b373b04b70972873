"""Reading `.npz` files that anybody may have made, and writing files all or nothing."""

import io
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.cli.files import read_arrays, sections, write, write_arrays, write_text
from attnc_ir.errors import ArgumentError


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, q=np.arange(6.0).reshape(2, 3), n=np.array([1, 2]))
    return buffer.getvalue()


ARCHIVE = archive()


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_archive_is_read_or_refused(tmp_path_factory, changes) -> None:
    content = bytearray(ARCHIVE)
    for place, byte in changes:
        content[place] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    try:
        arrays = read_arrays(str(path))
    except (ArgumentError, MemoryError):
        return
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())


@pytest.mark.parametrize("length", range(0, len(ARCHIVE), 37))
def test_a_cut_archive_is_refused(tmp_path, length) -> None:
    path = tmp_path / "cut.npz"
    path.write_bytes(ARCHIVE[:length])
    with pytest.raises(ArgumentError, match=r"cut\.npz"):
        read_arrays(str(path))


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "member",
    [
        b"no array",
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}\n"),
        header("{'descr': '<f8', 'shape': (2,)}\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': ((((((\n"),
        header("{'descr': 'O', 'fortran_order': False, 'shape': (1,)}\n"),
        header("__import__('os')\n"),
    ],
    ids=["text", "negative", "short", "keys", "brackets", "objects", "code"],
)
def test_a_hostile_member_is_refused(tmp_path, member) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("q.npy", member)
    with pytest.raises(ArgumentError, match="array 'q'"):
        read_arrays(str(path))


def test_files_that_are_no_archive(tmp_path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "pickle.npz").write_bytes(b"\x80\x04K\x01.")
    for name, said in (
        ("one.npy", "one array without a name"),
        ("pickle.npz", "not an .npz file"),
        ("no", "No such"),
    ):
        with pytest.raises(ArgumentError, match=said):
            read_arrays(str(tmp_path / name))
    with pytest.raises(ArgumentError, match="directory"):
        read_arrays(str(tmp_path))


def test_saved_arrays_come_back(tmp_path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(True), "c": np.zeros((0, 3), np.uint16)}
    write_arrays(str(tmp_path / "x.dat"), arrays)  # the name is taken as it is
    found = read_arrays(str(tmp_path / "x.dat"))
    assert {k: (v.dtype, v.tolist()) for k, v in found.items()} == {
        k: (v.dtype, v.tolist()) for k, v in arrays.items()
    }


def test_a_write_that_fails_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "x"
    path.write_text("old", encoding="utf-8")

    def fails(file):
        file.write(b"new")
        raise OSError(28, "No space left on device")

    with pytest.raises(ArgumentError, match="No space left"):
        write(str(path), fails)
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_permissions_and_links_stay(tmp_path) -> None:
    path, link = tmp_path / "x", tmp_path / "link"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)
    link.symlink_to(path)
    write_text(str(link), "new")
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        write_text(str(tmp_path / "fresh"), "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_a_device_is_written_to_and_not_replaced(tmp_path) -> None:
    write_text(os.devnull, "gone")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(str(pipe), "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@given(
    st.lists(
        st.sampled_from(["graph", "// a remark", "// -----", "// -----  ", " // -----", "", "}"]), max_size=8
    )
)
def test_sections_keep_their_lines(lines) -> None:
    text = "\n".join(lines)
    found = sections(text)
    assert found
    for section in found:
        for number, line in enumerate(section.split("\n")):
            assert line in ("", lines[number] if lines else "")
    kept = [line for section in found for line in section.split("\n") if line in ("graph", "}")]
    assert kept == [line for line in lines if line in ("graph", "}")]

"""Samples in an .npz file: members stored without compression are mapped straight from the archive.

An .npz is a zip of .npy members. A stored member is a run of bytes of the file, so its array can be
mapped at its offset; a compressed one has to be read into memory whole. Nothing is ever unpickled.
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.npy_file import StrPath, map_array, open_file, read_header
from ps_common.data.source import Columns, Source
from ps_common.errors import DataError

_LOCAL_HEADER = struct.Struct(
    "<4s5H3I2H"
)  # APPNOTE.TXT 4.3.7: the two last are the lengths of name and extra


def npz(path: StrPath, x: str = "x", y: str | None = "y") -> Source:
    """Samples in two arrays of an .npz file, or in one with `y=None`.

    `numpy.savez` stores without compression: such arrays are mapped, not read, and their check sum is not
    verified (that would read them whole). Compressed ones (`numpy.savez_compressed`) are read into memory and
    verified. Raises `DataError` for a file that is missing, damaged, without these members, empty or
    holds anything but numbers.
    """
    file = Path(path).absolute()
    with open_file(file) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                x_values = _member(file, stream, archive, x, "x")
                y_values = None if y is None else _member(file, stream, archive, y, "y")
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise DataError(
                f"{file} is no .npz file or is damaged or truncated: {error}; "
                "copy it again or write it again with numpy.savez"
            ) from error
    return Columns(x_values, y_values, {"kind": "npz", "path": str(file), "x": x, "y": y}, str(file))


def _member(path: Path, stream: IO[bytes], archive: zipfile.ZipFile, name: str, role: str) -> HostArray:
    names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
    if name not in names:
        hint = "; pass y=None if it has no targets" if role == "y" else ""
        held = ", ".join(sorted(names)) or "none"
        raise DataError(f"{path} has no array {name!r} but {held}: pass {role}= the right name{hint}")
    info = archive.getinfo(name + ".npy")
    origin = f"{path}, array {name!r},"
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:  # bit 0: encrypted
        return _stored(path, stream, info, origin)
    with archive.open(info) as member:
        header = read_header(member, origin)
        _check_bytes(origin, header.header_bytes + header.data_bytes, info.file_size)
        data = member.read()  # to the very end, where zipfile verifies the check sum
    _check_bytes(origin, header.data_bytes, len(data))
    order = "F" if header.fortran_order else "C"
    return np.frombuffer(data, header.dtype).reshape(header.shape, order=order)  # type: ignore[call-overload,no-any-return]


def _stored(path: Path, stream: IO[bytes], info: zipfile.ZipInfo, origin: str) -> HostArray:
    stream.seek(info.header_offset)
    raw = stream.read(_LOCAL_HEADER.size)
    if len(raw) < _LOCAL_HEADER.size or not raw.startswith(b"PK\3\4"):
        raise zipfile.BadZipFile(f"the directory points to byte {info.header_offset}, where no member begins")
    *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(raw)
    start = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    stream.seek(start)
    header = read_header(stream, origin)
    _check_bytes(origin, header.header_bytes + header.data_bytes, info.file_size)
    size = stream.seek(0, 2)
    if start + info.file_size > size:
        raise zipfile.BadZipFile(f"{info.filename} should end at byte {start + info.file_size} of {size}")
    return map_array(path, header, start + header.header_bytes)


def _check_bytes(origin: str, expected: int, actual: int) -> None:
    if expected != actual:
        raise DataError(
            f"{origin} should have {expected} bytes by its header but has {actual}; "
            "copy the file again or write it again with numpy.savez"
        )

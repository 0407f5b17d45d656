"""The package for HDF5, which only those who have such files need."""

from typing import Any

from dynarium.errors import UserError


def h5py_for(doing: str) -> Any:
    """Return the module h5py, for ``reading`` or ``writing``.

    Raises:
        UserError: It is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(f"{doing} HDF5 needs a package: pip install 'dynarium[hdf5]'") from None
    return h5py

"""Result dataclasses as JSON values and back, for the way over a worker's pipe. Imports neither torch nor NumPy."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from convbench.errors import MeasurementError

T = TypeVar("T")

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
else:

    class _IsArray(type):
        def __instancecheck__(cls, value: object) -> bool:
            import numpy as np

            return isinstance(value, np.ndarray)

    class Floats(metaclass=_IsArray):
        """The annotation of a field that holds a float64 array, in modules that must not import NumPy."""


def encode(result: Any) -> Any:
    """``result`` as JSON can hold it: dataclasses as objects, scalars as numbers, arrays as dtype, shape and bytes.

    Keys of dictionaries become text. Raises TypeError for what has no such form.
    """
    return msgspec.to_builtins(result, enc_hook=_encode_numpy, str_keys=True)


def decode(kind: type[T], value: Any) -> T:
    """The ``kind`` that `encode` made ``value`` of. Raises MeasurementError that names the first wrong field."""
    try:
        return msgspec.convert(value, kind, dec_hook=_decode_array, str_keys=True)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        name = getattr(kind, "__name__", str(kind))
        raise MeasurementError(f"the measuring process gave no valid {name}: {error}") from error


def _encode_numpy(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode("ascii")
        return {"dtype": value.dtype.str, "shape": list(value.shape), "base64": content}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent between processes")


def _decode_array(kind: Any, value: Any) -> Any:
    """An array from its dtype, shape and bytes; the only type that msgspec does not know itself."""
    import numpy as np

    if kind is not Floats and getattr(kind, "__origin__", kind) is not np.ndarray:
        raise NotImplementedError(f"{kind} is no type of a result")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "base64"}:
        raise ValueError("an array needs dtype, shape and base64")
    content = base64.b64decode(value["base64"], validate=True)
    dtype = np.dtype(value["dtype"])
    if dtype.kind not in "biufc":
        raise ValueError(f"arrays hold numbers, not {dtype}")
    return np.frombuffer(content, dtype).reshape(value["shape"]).copy()

"""How much memory a value holds, whatever it is made of: tensors, arrays and bytes, each once."""

from collections.abc import Iterable, Mapping
from types import FunctionType, MethodType

import numpy as np
from pydantic import BaseModel
from torch import Tensor, nn

_LEAVES = (str, int, float, bool, type(None), type, BaseModel)


def stores_of(value: object, *, passing_over: type) -> dict[int, int]:
    """Return the bytes of every store that a value holds, by its address.

    Followed are containers, objects of this package, torch modules and what functions close over;
    other objects count nothing. Views count the whole of what they are views of.

    Args:
        value: Anything.
        passing_over: Objects of this class are somebody else's and are not followed.
    """
    stores: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[object] = [value]
    while waiting:
        own = waiting.pop()
        if isinstance(own, (*_LEAVES, passing_over)) or id(own) in seen:
            continue
        seen.add(id(own))
        match own:
            case Tensor():
                store = own.untyped_storage()
                stores[store.data_ptr()] = store.nbytes()
            case np.ndarray():
                whole = _whole(own)
                stores[whole.__array_interface__["data"][0]] = whole.nbytes
            case bytes() | bytearray() | memoryview():
                stores[id(own)] = memoryview(own).nbytes
            case _:
                waiting += _parts(own)
    return stores


def _whole(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _parts(own: object) -> Iterable[object]:
    match own:
        case Mapping():
            return own.values()
        case list() | tuple() | set() | frozenset():
            return own
        case MethodType():
            return (own.__self__,)
        case FunctionType():
            return [cell.cell_contents for cell in own.__closure__ or ()]
        case nn.Module():
            return [part for part in vars(own).values() if isinstance(part, (Tensor, dict))]
        case _ if type(own).__module__.partition(".")[0] == __name__.partition(".")[0]:
            return _fields(own)
        case _:
            return ()


def _fields(own: object) -> list[object]:
    slots = [name for base in type(own).__mro__ for name in getattr(base, "__slots__", ())]
    return [*getattr(own, "__dict__", {}).values(), *(getattr(own, n, None) for n in slots)]

"""The KServe V2 protocol's JSON for one classifier: requests in, answers out, no I/O.

Tensors travel as ``{"name", "datatype", "shape", "data"}`` with the data flat in row-major
order or nested. Every mistake a client can make raises RequestError, which says what was
wrong, its value and what is allowed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS = 64
CLASSES = 10
INK = 16
MAX_IMAGES = 1024

_INTEGERS = ("UINT8", "INT32", "INT64")
DATATYPES = (*_INTEGERS, "FP32", "FP64")
INPUTS = [{"name": "image", "datatype": "FP64", "shape": [-1, PIXELS]}]
OUTPUTS = [
    {"name": "label", "datatype": "INT64", "shape": [-1]},
    {"name": "scores", "datatype": "FP64", "shape": [-1, CLASSES]},
]
_OUTPUT_NAMES = tuple(str(output["name"]) for output in OUTPUTS)


class RequestError(ValueError):
    """An inference request that cannot be answered: status 400."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Images as rows of 64 pixels, 0 (paper) to 16 (ink); the outputs that are wanted."""

    images: NDArray[np.float64]
    outputs: tuple[str, ...]
    id: str | None


def parse(body: bytes) -> InferRequest:
    """Raises RequestError."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise RequestError("the body must be a JSON object with a list of inputs")
    request_id = request.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError(f"id = {_brief(request_id)}: must be a string")
    return InferRequest(
        _images(request.get("inputs")), _outputs(request.get("outputs")), request_id
    )


def answer(request: InferRequest, scores: NDArray[np.float64], version: str) -> dict[str, Any]:
    """The answer's JSON for scores of shape [images, 10]; the best score is the label."""
    count = len(scores)
    tensors = {
        "label": {"shape": [count], "data": scores.argmax(axis=1).tolist()},
        "scores": {"shape": [count, CLASSES], "data": scores.ravel().tolist()},
    }
    outputs = [
        {"name": output["name"], "datatype": output["datatype"], **tensors[str(output["name"])]}
        for output in OUTPUTS
        if output["name"] in request.outputs
    ]
    identity = {} if request.id is None else {"id": request.id}
    return {"model_name": "digits", "model_version": version, **identity, "outputs": outputs}


def _images(inputs: object) -> NDArray[np.float64]:
    if not isinstance(inputs, list) or not inputs:
        raise RequestError("inputs: must be a list with one tensor named image")
    names = [tensor.get("name") if isinstance(tensor, dict) else tensor for tensor in inputs]
    if names != ["image"]:
        raise RequestError(f"inputs = {_brief(names)}: must be exactly one tensor named image")
    tensor = inputs[0]
    datatype = tensor.get("datatype")
    if datatype not in DATATYPES:
        raise RequestError(
            f"datatype of image = {_brief(datatype)}: must be one of {', '.join(DATATYPES)}"
        )
    return _pixels(tensor.get("data"), _count(tensor.get("shape")), datatype)


def _count(shape: object) -> int:
    match shape:
        case [int(count), int(pixels)] if 1 <= count <= MAX_IMAGES and pixels == PIXELS:
            return count
        case _:
            raise RequestError(
                f"shape of image = {_brief(shape)}: must be [images, {PIXELS}] "
                f"with 1 to {MAX_IMAGES} images"
            )


def _pixels(data: object, count: int, datatype: str) -> NDArray[np.float64]:
    try:
        values = np.asarray(data if isinstance(data, list) else None)
    except ValueError:
        raise RequestError("data of image: rows of different lengths") from None
    kinds = "iu" if datatype in _INTEGERS else "iuf"
    if values.dtype.kind not in kinds:
        wanted = "whole numbers" if datatype in _INTEGERS else "numbers"
        raise RequestError(f"data of image: must be a list of {wanted}, as {datatype} says")
    if values.shape not in ((count * PIXELS,), (count, PIXELS)):
        raise RequestError(
            f"data of image: {_brief(list(values.shape))} values, but the shape says "
            f"[{count}, {PIXELS}]; give {count * PIXELS} in a row, or {count} rows of {PIXELS}"
        )
    pixels = values.astype(np.float64).reshape(count, PIXELS)
    if not ((pixels >= 0) & (pixels <= INK)).all():
        raise RequestError(f"data of image: pixels must be from 0 (paper) to {INK} (ink)")
    return pixels


def _outputs(outputs: object) -> tuple[str, ...]:
    if outputs is None:
        return _OUTPUT_NAMES
    if not isinstance(outputs, list):
        raise RequestError(f"outputs = {_brief(outputs)}: must be a list")
    names: list[str] = []
    for output in outputs:
        name = output.get("name") if isinstance(output, dict) else output
        if name not in _OUTPUT_NAMES:
            raise RequestError(
                f"outputs: no output {_brief(name)}; there are {', '.join(_OUTPUT_NAMES)}"
            )
        names.append(name)
    return tuple(names) or _OUTPUT_NAMES


def _brief(value: object) -> str:
    """A client's value, short enough for an error message."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

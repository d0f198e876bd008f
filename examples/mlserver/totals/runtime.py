"""A model for MLServer that adds up: one total for each row of numbers."""

from __future__ import annotations

import os

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Totals(MLModel):  # type: ignore[misc] # MLServer lives in an environment of its own
    """Input ``numbers``: FP64, [rows, columns]. Output ``totals``: FP64, [rows]."""

    async def load(self) -> bool:
        """Nothing to load; returns that it is ready."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        numbers = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output("totals", numbers.sum(axis=1))],
            parameters={"pid": os.getpid()},
        )

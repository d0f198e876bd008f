"""A model behind KServe's own SDK server: one total for each row, over V1 and V2.

    python -m examples.kserve.server --http_port 8000 --model_name totals --enable_grpc false

It needs PyPI's ``kserve`` (about 450 MB installed); the options are the SDK's.
"""

from __future__ import annotations

import argparse
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.utils.utils import generate_uuid


class Totals(Model):  # type: ignore[misc] # the SDK lives in an environment of its own
    """V1: instances → predictions. V2: the first input, FP64 [rows, columns] → totals."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    def predict(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        if isinstance(payload, InferRequest):
            totals = payload.inputs[0].as_numpy().sum(axis=1)
            output = InferOutput("totals", list(totals.shape), "FP64", totals.tolist())
            return InferResponse(
                response_id=generate_uuid(), model_name=self.name, infer_outputs=[output]
            )
        return {"predictions": [sum(row) for row in payload["instances"]]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    options, _ = parser.parse_known_args()
    ModelServer().start([Totals(options.model_name)])

"""MLServer with a runtime around the graph."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from shared import loaded_graph


class Boston(MLModel):
    async def load(self) -> bool:
        self.values = loaded_graph()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        import numpy as np

        matrix = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("prediction", np.array(self.values(matrix)))
        return InferenceResponse(model_name=self.name, outputs=[output])

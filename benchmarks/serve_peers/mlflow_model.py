"""MLflow's custom Python model around the graph, saved into the folder that is the argument."""

import sys
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from shared import COLUMNS, FOLDER, loaded_graph


class Boston(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        self.values = loaded_graph(context.artifacts["graph"])

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return self.values(model_input[COLUMNS])


if __name__ == "__main__":
    rows = pd.DataFrame({name: [0.5] for name in COLUMNS})
    mlflow.pyfunc.save_model(
        sys.argv[1],
        python_model=Boston(),
        artifacts={"graph": str(FOLDER / "model.onnx")},
        signature=infer_signature(rows, [0.5]),
        pip_requirements=[],
    )

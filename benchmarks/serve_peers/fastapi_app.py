"""FastAPI, pydantic and onnxruntime: what one writes by hand today."""

from typing import Any

from fastapi import FastAPI
from shared import cells_of, house_model, loaded_graph, tutorial_response

House = house_model()
predict = loaded_graph()
app = FastAPI()


@app.post("/v1/services/predict")
async def predict_rows(houses: list[House]) -> Any:
    return tutorial_response(houses, predict(cells_of(houses)))

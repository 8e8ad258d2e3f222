"""The tutorial's app: FastAPI and Keras; KERAS_CALL says whether by `model.predict(x)` or by `model(x)`."""

import os
from typing import Any

import keras
import numpy as np
from fastapi import FastAPI
from shared import FOLDER, cells_of, house_model, tutorial_response

House = house_model()
model = keras.models.load_model(FOLDER / "model.keras")
app = FastAPI()


@app.post("/v1/services/predict")
def predict_rows(houses: list[House]) -> Any:
    matrix = np.array(cells_of(houses), dtype=np.float32)
    values = model.predict(matrix) if os.environ["KERAS_CALL"] == "predict" else model(matrix).numpy()
    return tutorial_response(houses, values[:, 0].tolist())

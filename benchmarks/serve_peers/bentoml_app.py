"""BentoML with a service around the graph."""

from typing import Any

import bentoml
from shared import cells_of, house_model, loaded_graph, tutorial_response

House = house_model()


@bentoml.service(workers=1)
class Boston:
    def __init__(self) -> None:
        self.values = loaded_graph()

    @bentoml.api(route="/v1/services/predict")
    def predict(self, houses: list[House]) -> dict[str, Any]:
        return tutorial_response([house.model_dump() for house in houses], self.values(cells_of(houses)))

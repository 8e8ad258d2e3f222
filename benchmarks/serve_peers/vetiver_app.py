"""vetiver with a handler around the graph."""

from typing import Any

import pandas as pd
from shared import COLUMNS, loaded_graph
from vetiver import VetiverAPI, VetiverModel
from vetiver.handlers.base import BaseHandler


class GraphHandler(BaseHandler):
    def handler_predict(self, input_data: Any, check_prototype: bool) -> list[float]:
        return self.model(input_data[COLUMNS])


prototype = pd.DataFrame({name: [0.5] for name in COLUMNS})
app = VetiverAPI(VetiverModel(GraphHandler(loaded_graph(), prototype), "boston", prototype_data=prototype)).app

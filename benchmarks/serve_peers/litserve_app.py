"""LitServe with an API class around the graph; the port is the argument."""

import sys
from typing import Any

import litserve
from shared import COLUMNS, loaded_graph, tutorial_response


class Boston(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.values = loaded_graph()

    def decode_request(self, request: list[dict[str, Any]]) -> Any:
        return request

    def predict(self, x: Any) -> Any:
        return x, self.values([[row[name] for name in COLUMNS] for row in x])

    def encode_response(self, output: Any) -> Any:
        return tutorial_response(*output)


if __name__ == "__main__":
    server = litserve.LitServer(Boston(api_path="/v1/services/predict"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)

#!/bin/sh
# Predict the tutorial's house with a server of `estimator serve`, and send its actual value later.
set -eu
address=${1:-http://127.0.0.1:8000}
key=${ESTIMATOR_KEY:-}

post() {
    curl --silent --show-error --fail-with-body -H 'Content-Type: application/json' ${key:+-H "X-API-Key: $key"} "$@"
}

post "$address/v1/predict" --data '[{
    "CRIM": 0.09178, "ZN": 0.0, "INDUS": 4.05, "CHAS": 0, "NOX": 0.510, "RM": 6.416, "AGE": 84.1, "DIS": 2.6463,
    "RAD": 5.0, "TAX": 296.0, "PTRATIO": 16.6, "B": 395.50, "LSTAT": 9.04
}]'
echo

# With a prediction log (--log): POST the id of a prediction with its label, the actual value.
# post "$address/v1/labels" --data '[{"id": "...", "label": 23.6}]'

// Predict the tutorial's house with a server of `estimator serve`. Node 18 and later, and browsers, have fetch.
const house = {
  CRIM: 0.09178, ZN: 0.0, INDUS: 4.05, CHAS: 0, NOX: 0.51, RM: 6.416, AGE: 84.1,
  DIS: 2.6463, RAD: 5.0, TAX: 296.0, PTRATIO: 16.6, B: 395.5, LSTAT: 9.04,
};

const address = process.argv[2] ?? "http://127.0.0.1:8000";
const key = process.env.ESTIMATOR_KEY;

async function predict(rows) {
  const headers = { "content-type": "application/json", ...(key ? { "x-api-key": key } : {}) };
  const response = await fetch(`${address}/v1/predict`, { method: "POST", headers, body: JSON.stringify(rows) });
  const content = await response.json();
  if (response.ok) return content;
  const { detail } = content;
  throw new Error(Array.isArray(detail) ? detail.map((fault) => fault.msg).join("\n") : detail);
}

const { version, predictions: [row] } = await predict([house]);
console.log(`${row.prediction.toFixed(2)}, between ${row.interval.map((end) => end.toFixed(2)).join(" and ")}, by ${version}`);
await predict([{ ...house, TAX: "many" }]).catch((error) => console.log(error.message));

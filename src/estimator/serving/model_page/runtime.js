// A graph -> a function of its inputs.

/** Return (feed, wanted) -> tensors by name; what hangs on constants alone is worked out once. */
const prepareGraph = ({ nodes, constants, outputs }) => {
  const steps = [],
    known = new Map(constants);
  for (const { operator: name, inputs, outputs: made, attributes } of nodes) {
    if (!OPERATORS.has(name)) throw new Error(`the operator ${name} is not known to this page`);
    const step = { inputs, made, run: OPERATORS.get(name)(attributes) };
    if (inputs.length && inputs.every((input) => known.has(input))) runStep(step, known);
    else steps.push(step);
  }
  return (feed) => {
    const values = new Map([...known, ...Object.entries(feed)]);
    for (const step of steps) runStep(step, values);
    return Object.fromEntries(outputs.map((name) => [name, values.get(name)]));
  };
};

const runStep = ({ inputs, made, run }, values) => {
  const found = run(inputs.map((name) => (name ? values.get(name) : undefined)));
  made.forEach((name, place) => values.set(name, made.length > 1 ? found[place] : found));
};

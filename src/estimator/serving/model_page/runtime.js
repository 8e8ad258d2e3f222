// A graph -> a function of its inputs.

/** Return (feed) -> tensors by name; nodes that depend on constants alone are computed once. */
const prepareGraph = ({ nodes, constants, outputs }) => {
  const steps = [],
    computed = new Map(constants);
  for (const { operator: name, inputs, outputs: names, attributes } of nodes) {
    if (!OPERATORS.has(name)) throw new Error(`the operator ${name} is not supported by this page`);
    const step = { inputs, names, run: OPERATORS.get(name)(attributes) };
    if (inputs.length && inputs.every((input) => computed.has(input))) runStep(step, computed);
    else steps.push(step);
  }
  return (feed) => {
    const values = new Map([...computed, ...Object.entries(feed)]);
    for (const step of steps) runStep(step, values);
    return Object.fromEntries(outputs.map((name) => [name, values.get(name)]));
  };
};

const runStep = ({ inputs, names, run }, values) => {
  const result = run(inputs.map((name) => (name ? values.get(name) : undefined)));
  names.forEach((name, index) => values.set(name, names.length > 1 ? result[index] : result));
};

// TreeEnsemble of ai.onnx.ml 5, in doubles: for each row the sum of one leaf of every tree.

const LEQ = 0,
  LT = 1,
  EQ = 4,
  MEMBER = 6,
  SUM = 1;

operator("ai.onnx.ml:TreeEnsemble", (attributes) => {
  if (attributes.aggregate_function !== SUM || attributes.post_transform !== 0)
    throw new Error("TreeEnsemble: only the sum of trees is supported");
  const features = Int32Array.from(attributes.nodes_featureids),
    modes = attributes.nodes_modes.data;
  const splits = attributes.nodes_splits.data,
    missing = Uint8Array.from(attributes.nodes_missing_value_tracks_true);
  const yes = endsOf(attributes.nodes_truenodeids, attributes.nodes_trueleafs),
    no = endsOf(attributes.nodes_falsenodeids, attributes.nodes_falseleafs);
  const members = membersOf(modes, attributes.membership_values?.data);
  const outputs = attributes.n_targets,
    targets = Int32Array.from(attributes.leaf_targetids),
    weights = attributes.leaf_weights.data;
  const isYes = (index, value) => {
    if (Number.isNaN(value)) return missing[index] === 1;
    const mode = modes[index];
    if (mode === LEQ) return value <= splits[index];
    if (mode === LT) return value < splits[index];
    return mode === EQ ? value === splits[index] : members[index].has(value);
  };
  return ([{ dims: [rows, width], data }]) => {
    const result = tensorOf(DOUBLE, [rows, outputs]);
    for (const root of attributes.tree_roots) {
      for (let row = 0; row < rows; row++) {
        let index = root;
        while (index >= 0) index = isYes(index, data[row * width + features[index]]) ? yes[index] : no[index];
        result.data[row * outputs + targets[~index]] += weights[~index];
      }
    }
    return result;
  };
});

/** Return the target of each branch: the index of a node, or ~index of a leaf. */
const endsOf = (indices, areLeaves) => Int32Array.from(indices, (index, at) => (areLeaves[at] ? ~index : index));

/** Return the set of each node that tests membership; the sets are stored one after the other, each ended by NaN. */
const membersOf = (modes, values) => {
  const result = [];
  let at = 0;
  modes.forEach((mode, index) => {
    if (![LEQ, LT, EQ, MEMBER].includes(mode)) throw new Error(`TreeEnsemble: mode ${mode} is not supported`);
    if (mode !== MEMBER) return;
    for (result[index] = new Set(); !Number.isNaN(values[at]); at++) result[index].add(values[at]);
    at++;
  });
  return result;
};

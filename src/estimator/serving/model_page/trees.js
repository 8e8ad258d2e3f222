// TreeEnsemble of ai.onnx.ml 5, in doubles: for each row the sum of one leaf of every tree.

const LEQ = 0,
  LT = 1,
  EQ = 4,
  MEMBER = 6,
  SUM = 1;

operator("ai.onnx.ml:TreeEnsemble", (told) => {
  if (told.aggregate_function !== SUM || told.post_transform !== 0)
    throw new Error("TreeEnsemble: only sums are known");
  const features = Int32Array.from(told.nodes_featureids),
    modes = told.nodes_modes.data;
  const splits = told.nodes_splits.data,
    missing = Uint8Array.from(told.nodes_missing_value_tracks_true);
  const yes = endsOf(told.nodes_truenodeids, told.nodes_trueleafs),
    no = endsOf(told.nodes_falsenodeids, told.nodes_falseleafs);
  const members = membersOf(modes, told.membership_values?.data);
  const outputs = told.n_targets,
    targets = Int32Array.from(told.leaf_targetids),
    weights = told.leaf_weights.data;
  const isYes = (place, value) => {
    if (Number.isNaN(value)) return missing[place] === 1;
    const mode = modes[place];
    if (mode === LEQ) return value <= splits[place];
    if (mode === LT) return value < splits[place];
    return mode === EQ ? value === splits[place] : members[place].has(value);
  };
  return ([{ dims: [rows, width], data }]) => {
    const found = tensorOf(DOUBLE, [rows, outputs]);
    for (const root of told.tree_roots) {
      for (let row = 0; row < rows; row++) {
        let place = root;
        while (place >= 0) place = isYes(place, data[row * width + features[place]]) ? yes[place] : no[place];
        found.data[row * outputs + targets[~place]] += weights[~place];
      }
    }
    return found;
  };
});

/** Return where branches lead: a node's place, or ~ a leaf's. */
const endsOf = (places, areLeaves) => Int32Array.from(places, (place, at) => (areLeaves[at] ? ~place : place));

/** Return the set of each node that asks for members; the sets stand one after the other, each ended by NaN. */
const membersOf = (modes, values) => {
  const found = [];
  let at = 0;
  modes.forEach((mode, place) => {
    if (![LEQ, LT, EQ, MEMBER].includes(mode)) throw new Error(`TreeEnsemble: mode ${mode} is not known`);
    if (mode !== MEMBER) return;
    for (found[place] = new Set(); !Number.isNaN(values[at]); at++) found[place].add(values[at]);
    at++;
  });
  return found;
};

// Operators on text: categories to codes, text to tokens, tokens to counts.

operator("ai.onnx.ml:LabelEncoder", ({ keys_strings: keys, ...values }) => {
  const { values_int64s: integers, default_int64: integer = -1, values_floats: floats, default_float: float = 0 } = values;
  const [kind, results, other] = integers ? [INT64, integers, integer] : [FLOAT, floats, float];
  const valueOf = new Map(keys.map((key, index) => [key, results[index]]));
  return ([{ dims, data }]) => tensorOf(kind, dims, ARRAYS[kind].from(data, (text) => valueOf.get(text) ?? other));
});
operator("com.microsoft:Tokenizer", ({ tokenexp, pad_value: pad }) => {
  // RE2, the engine of onnxruntime, writes \pL for the \p{L} of JavaScript.
  const token = new RegExp(tokenexp.replace(/\\p([A-Z])/g, "\\p{$1}"), "gu");
  return ([{ dims, data }]) => {
    const tokens = data.map((text) => text.match(token) ?? []),
      width = Math.max(0, ...tokens.map((row) => row.length));
    return tensorOf(STRING, [...dims, width], tokens.flatMap((row) => [...row, ...Array(width - row.length).fill(pad)]));
  };
});
operator("TfIdfVectorizer", ({ mode, max_gram_length: longest, ngram_indexes: indices, pool_int64s: pool }) => {
  if (mode !== "TF" || longest !== 1) throw new Error("TfIdfVectorizer: only counts of single tokens are supported");
  const indexOf = new Map(pool.map((token, at) => [token, indices[at]])),
    width = Math.max(...indices) + 1;
  return ([{ dims: [rows, tokens], data }]) => {
    const result = tensorOf(FLOAT, [rows, width]);
    data.forEach((token, at) => {
      const index = indexOf.get(token);
      if (index !== undefined) result.data[Math.floor(at / tokens) * width + index] += 1;
    });
    return result;
  };
});

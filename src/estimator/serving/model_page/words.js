// Operators on texts: levels to positions, texts to words, words to counts.

operator("ai.onnx.ml:LabelEncoder", ({ keys_strings: keys, values_int64s: values, default_int64: other = -1 }) => {
  const known = new Map(keys.map((key, place) => [key, values[place]]));
  return ([{ dims, data }]) => tensorOf(INT64, dims, Float64Array.from(data, (text) => known.get(text) ?? other));
});
operator("com.microsoft:Tokenizer", ({ tokenexp, pad_value: pad }) => {
  // Of the engine that reads it elsewhere (RE2), \pL is written \p{L} here.
  const word = new RegExp(tokenexp.replace(/\\p([A-Z])/g, "\\p{$1}"), "gu");
  return ([{ dims, data }]) => {
    const words = data.map((text) => text.match(word) ?? []),
      width = Math.max(0, ...words.map((row) => row.length));
    return tensorOf(STRING, [...dims, width], words.flatMap((row) => [...row, ...Array(width - row.length).fill(pad)]));
  };
});
operator("TfIdfVectorizer", ({ mode, max_gram_length: longest, ngram_indexes: places, pool_int64s: pool }) => {
  if (mode !== "TF" || longest !== 1) throw new Error("TfIdfVectorizer: only counts of single words are known");
  const known = new Map(pool.map((word, at) => [word, places[at]])),
    width = Math.max(...places) + 1;
  return ([{ dims: [rows, words], data }]) => {
    const found = tensorOf(FLOAT, [rows, width]);
    data.forEach((word, at) => {
      const place = known.get(word);
      if (place !== undefined) found.data[Math.floor(at / words) * width + place] += 1;
    });
    return found;
  };
});

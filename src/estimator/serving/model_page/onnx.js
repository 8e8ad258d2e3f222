// The bytes of an ONNX file -> its graph. Only the protobuf messages that predictions need are read.
"use strict";

const FLOAT = 1,
  UINT8 = 2,
  INT64 = 7,
  STRING = 8,
  BOOL = 9,
  DOUBLE = 11;
const VARINT = 0,
  FIXED64 = 1,
  PACKED = 2;

/** Return { nodes, constants, inputs, outputs }; constants are tensors by name. */
const readGraph = (bytes) => {
  const graph = { nodes: [], constants: new Map(), inputs: [], outputs: [] };
  eachField(bytes, 0, bytes.length, (field, _, start, end) => {
    if (field === 7) readParts(bytes, start, end, graph);
  });
  return graph;
};

const readParts = (bytes, start, end, graph) =>
  eachField(bytes, start, end, (field, _, from, to) => {
    if (field === 1) graph.nodes.push(readNode(bytes, from, to));
    if (field === 5) {
      const tensor = readTensor(bytes, from, to);
      graph.constants.set(tensor.name, tensor);
    }
    if (field === 11 || field === 12) {
      const name = textOf(bytes, from, to, 1);
      (field === 11 ? graph.inputs : graph.outputs).push(name);
    }
  });

const readNode = (bytes, start, end) => {
  const node = { operator: "", domain: "", inputs: [], outputs: [], attributes: {} };
  eachField(bytes, start, end, (field, _, from, to) => {
    if (field === 1) node.inputs.push(readText(bytes, from, to));
    if (field === 2) node.outputs.push(readText(bytes, from, to));
    if (field === 4) node.operator = readText(bytes, from, to);
    if (field === 7) node.domain = readText(bytes, from, to);
    if (field === 5) {
      const [name, value] = readAttribute(bytes, from, to);
      node.attributes[name] = value;
    }
  });
  node.operator = node.domain ? `${node.domain}:${node.operator}` : node.operator;
  return node;
};

const readAttribute = (bytes, start, end) => {
  let name = "",
    kind = 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset),
    one = {},
    floats = [],
    integers = [],
    texts = [];
  eachField(bytes, start, end, (field, wire, from, to) => {
    if (field === 1) name = readText(bytes, from, to);
    if (field === 2) one.number = view.getFloat32(from, true);
    if (field === 3) one.number = from;
    if (field === 4) one.text = readText(bytes, from, to);
    if (field === 5) one.tensor = readTensor(bytes, from, to);
    if (field === 7) floats.push(view.getFloat32(from, true));
    if (field === 8) takeIntegers(bytes, wire, from, to, integers);
    if (field === 9) texts.push(readText(bytes, from, to));
    if (field === 20) kind = from;
  });
  const values = { 1: one.number, 2: one.number, 3: one.text, 4: one.tensor, 6: floats, 7: integers, 8: texts };
  return [name, values[kind]];
};

const readTensor = (bytes, start, end) => {
  const dims = [],
    texts = [];
  let kind = 0,
    name = "",
    raw = [0, 0];
  eachField(bytes, start, end, (field, wire, from, to) => {
    if (field === 1) takeIntegers(bytes, wire, from, to, dims);
    if (field === 2) kind = from;
    if (field === 6) texts.push(readText(bytes, from, to));
    if (field === 8) name = readText(bytes, from, to);
    if (field === 9) raw = [from, to];
  });
  return { name, kind, dims, data: kind === STRING ? texts : numbersOf(kind, bytes.slice(...raw).buffer) };
};

const numbersOf = (kind, buffer) => {
  if (kind === INT64) return Float64Array.from(new BigInt64Array(buffer), Number);
  return new ARRAYS[kind](buffer);
};

const takeIntegers = (bytes, wire, from, to, result) => {
  if (wire === VARINT) result.push(from);
  else for (let at = from; at < to;) [result[result.length], at] = readVarint(bytes, at);
};

const textOf = (bytes, start, end, wanted) => {
  let result = "";
  eachField(bytes, start, end, (field, _, from, to) => {
    if (field === wanted) result = readText(bytes, from, to);
  });
  return result;
};

const decoder = new TextDecoder();
const readText = (bytes, from, to) => decoder.decode(bytes.subarray(from, to));

/** Call take(field, wire, from, to) for each field of a message; a varint's value is passed as `from`. */
const eachField = (bytes, start, end, take) => {
  for (let at = start; at < end;) {
    let tag, value;
    [tag, at] = readVarint(bytes, at);
    const wire = tag & 7,
      field = tag >>> 3;
    if (wire === VARINT) {
      [value, at] = readVarint(bytes, at);
      take(field, wire, value, value);
      continue;
    }
    let size = wire === FIXED64 ? 8 : 4;
    if (wire === PACKED) [size, at] = readVarint(bytes, at);
    take(field, wire, at, at + size);
    at += size;
  }
};

/** Return a signed 64-bit integer, and the index after it. */
const readVarint = (bytes, at) => {
  let low = 0,
    high = 0,
    byte = 128;
  for (let shift = 0; byte & 128; shift += 7) {
    byte = bytes[at++];
    const bits = byte & 127;
    if (shift < 32) low |= bits << shift;
    if (shift > 25) high |= shift < 32 ? bits >>> (32 - shift) : bits << (shift - 32);
  }
  return [high * 4294967296 + (low >>> 0), at];
};

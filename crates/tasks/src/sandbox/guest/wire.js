// Values between a solution and its tests, which are two processes: JSON behind its length, on descriptor 3.
"use strict";
const relignWire = (() => {
  const fs = require("fs");
  // Kept here, out of reach of a solution that changes what is global.
  const { readSync, writeSync } = fs;
  const { stringify, parse } = JSON;
  const encode = (value) => {
    if (value === null || typeof value === "boolean" || typeof value === "string") return value;
    if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0) ? value : ["n", String(Object.is(value, -0) ? "-0" : value)];
    if (value === undefined) return ["u"];
    if (typeof value === "bigint") return ["i", String(value)];
    if (Array.isArray(value)) return ["l", value.map(encode)];
    if (value instanceof Map) return ["m", [...value].map(([key, item]) => [encode(key), encode(item)])];
    if (value instanceof Set) return ["s", [...value].map(encode)];
    if (value instanceof Date) return ["d", value.getTime()];
    if (typeof value === "object") return ["o", Object.keys(value).map((key) => [key, encode(value[key])])];
    throw new TypeError(`a ${typeof value} cannot be sent between tests and solution`);
  };
  const decode = (form) => {
    if (!Array.isArray(form)) return form;
    const [kind, rest] = form;
    if (kind === "n") return Number(rest);
    if (kind === "u") return undefined;
    if (kind === "i") return BigInt(rest);
    if (kind === "l") return rest.map(decode);
    if (kind === "m") return new Map(rest.map(([key, item]) => [decode(key), decode(item)]));
    if (kind === "s") return new Set(rest.map(decode));
    if (kind === "d") return new Date(rest);
    if (kind === "o") {
      const made = {};
      for (const [key, item] of rest) Object.defineProperty(made, String(key), { value: decode(item), enumerable: true, writable: true, configurable: true });
      return made;
    }
    throw new Error("no value came back");
  };
  const send = (message) => {
    const text = Buffer.from(stringify(message));
    const data = Buffer.alloc(4 + text.length);
    data.writeUInt32LE(text.length);
    text.copy(data, 4);
    for (let at = 0; at < data.length; ) at += writeSync(3, data, at);
  };
  const read = (count) => {
    const data = Buffer.alloc(count);
    for (let at = 0; at < count; ) {
      const got = readSync(3, data, at, count - at, null);
      if (got === 0) return null;
      at += got;
    }
    return data;
  };
  const receive = () => {
    const length = read(4);
    if (length === null || length.readUInt32LE() > 1 << 26) return null;
    const text = read(length.readUInt32LE());
    return text === null ? null : parse(text.toString());
  };
  return { encode, decode, send, receive };
})();

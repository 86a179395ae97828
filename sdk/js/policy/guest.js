// Between the contract's flat rows of numbers and a policy's plain functions. Runs inside the component: nothing but
// the language itself is there, no clock and no chance.

import { ANSWERS, QUESTIONS, RUNG } from "./columns.js";

const SAMPLE_WIDTH = 5;

// Judges of rows: the kind, the author's function for it, and what a row of its answer is.
const BATCHES = [
  { kind: "abr", name: "recommend", question: QUESTIONS.abr, answer: ANSWERS.abr },
  { kind: "optimize", name: "optimize", question: QUESTIONS.optimize, answer: ANSWERS.optimize },
  { kind: "score", name: "score", question: QUESTIONS.score, answer: ANSWERS.score },
  { kind: "ladder", name: "plan", question: QUESTIONS.ladder, answer: ANSWERS.ladder },
];

/** Which function of a policy answers each kind. */
export const FUNCTIONS = { abr: "recommend", optimize: "optimize", score: "score", ladder: "plan", auth: "authorize" };

/** The exports of a component: `policy` is the author's module, `manifest` what its plugin.toml says. */
export function component(manifest, policy) {
  const state = { config: defaults(manifest.config_schema) };
  const exports = {
    lifecycle: {
      configure(json) {
        let given;
        try {
          given = JSON.parse(json);
          state.config = configuration(manifest.config_schema, given);
        } catch (error) {
          // An error of the contract is a text.
          throw error instanceof Error ? error.message : String(error);
        }
      },
    },
  };
  for (const batch of BATCHES) {
    const wants = manifest.kinds[batch.kind];
    if (wants) {
      const judge = judgeOf(policy, batch.kind, batch.name);
      exports[batch.kind] = { [batch.name]: answerer(batch, wants, judge, state) };
    }
  }
  if (manifest.kinds.auth) {
    const judge = judgeOf(policy, "auth", "authorize");
    exports.auth = { authorize: (request) => verdict(judge(state.config, requestOf(request))) };
  }
  return exports;
}

/** Rows as the host hands them to a policy, and the policy's answers by name: for tests, without a component. */
export function tester(manifest, policy, config = {}) {
  const { lifecycle, ...kinds } = component(manifest, policy);
  lifecycle.configure(JSON.stringify(config));
  return {
    /** Asks about rows given by column name. Rows may have a `memo`; so has each answer. */
    ask(kind, { tick = {}, rungs = [], rows }) {
      const batch = BATCHES.find((batch) => batch.kind === kind);
      const wants = manifest.kinds[kind];
      const flat = (given, known, names) => given.flatMap((row) => flatten(row, columns(known, names)));
      const width = wants.memo ?? 0;
      const carried = rows.flatMap(({ memo = [] }) => Array.from({ length: width }, (_, at) => memo[at] ?? NaN));
      const { rows: numbers, memo } = kinds[kind][batch.name](
        { nowMs: tick.now_ms ?? 0, seed: tick.seed ?? 0, mode: tick.mode ?? 0, cause: tick.cause ?? 0 },
        flat(rungs, RUNG, wants.rung_columns),
        flat(rows, batch.question, wants.columns),
        carried,
      );
      const each = numbers.length / Math.max(rows.length, 1);
      return rows.map((_, at) => {
        const own = numbers.slice(at * each, (at + 1) * each);
        const answer = Object.fromEntries(batch.answer.map((name, place) => [name, known(own[place])]));
        answer.reason = wants.reasons?.[answer.reason] ?? answer.reason;
        if (kind === "ladder") answer.encode = own.slice(batch.answer.length).map((kept) => kept === 1);
        answer.memo = memo.slice(at * width, (at + 1) * width).map(known);
        return answer;
      });
    },
  };
}

function judgeOf(policy, kind, name) {
  const judge = policy[name];
  if (typeof judge !== "function") {
    throw new Error(`the manifest has [kinds.${kind}], but the policy exports no function ${name}`);
  }
  return judge;
}

function answerer({ kind, question, answer }, wants, judge, state) {
  const row = new (rowClass(columns(question, wants.columns)))();
  const ladder = new Ladder(columns(RUNG, wants.rung_columns));
  const width = Math.max(widthOf(columns(question, wants.columns)), 1);
  const memo = new Memo(wants.memo ?? 0);
  const reasons = new Map((wants.reasons ?? []).map((text, code) => [text, code]));
  return (t, rungs, rows, carried) => {
    const tick = Object.freeze({ now_ms: t.nowMs, seed: t.seed, mode: t.mode, cause: t.cause });
    const count = Math.trunc(rows.length / width);
    const numbers = [];
    ladder.numbers = rungs;
    row.numbers = rows;
    memo.numbers = carried;
    for (let at = 0; at < count; at++) {
      row.base = at * width;
      memo.base = at * memo.length;
      const given = judge(state.config, tick, ladder, row, memo);
      for (const name of answer) {
        numbers.push(name === "reason" ? reason(reasons, given.reason) : number(name, given[name]));
      }
      if (kind === "ladder") {
        for (let rung = 0; rung < ladder.length; rung++) numbers.push(given.encode[rung] ? 1 : 0);
      }
    }
    return { rows: numbers, memo: carried };
  };
}

// A view of one row: a property for each column the policy asked for. It is moved along the batch, so a policy must
// not keep it.
function rowClass(wanted) {
  class Row {
    numbers = [];
    base = 0;
  }
  let place = 0;
  for (const [name, width] of wanted) {
    const at = place;
    const get =
      width === 1
        ? function () {
            return known(this.numbers[this.base + at]);
          }
        : function () {
            return samples(this.numbers, this.base + at, width);
          };
    Object.defineProperty(Row.prototype, name, { get, enumerable: true });
    place += width;
  }
  return Row;
}

class Ladder {
  #width;
  #all = [];
  #rung;
  #numbers = [];

  constructor(wanted) {
    this.#width = Math.max(widthOf(wanted), 1);
    this.#rung = rowClass(wanted);
  }

  set numbers(numbers) {
    this.#numbers = numbers;
    this.#all.length = Math.trunc(numbers.length / this.#width);
    for (let at = 0; at < this.#all.length; at++) {
      this.#all[at] ??= new this.#rung();
      this.#all[at].numbers = numbers;
      this.#all[at].base = at * this.#width;
    }
  }

  get length() {
    return this.#all.length;
  }

  rung(at) {
    return this.#all[at];
  }

  highestWithin(kbps) {
    for (let at = this.#all.length - 1; at >= 0; at--) {
      if (this.#all[at].need_kbps <= kbps) return at;
    }
    return undefined;
  }

  [Symbol.iterator]() {
    return this.#all[Symbol.iterator]();
  }
}

class Memo {
  numbers = [];
  base = 0;

  constructor(length) {
    this.length = length;
  }

  get(at) {
    return at >= 0 && at < this.length ? known(this.numbers[this.base + at]) : undefined;
  }

  set(at, value) {
    if (!(Number.isInteger(at) && at >= 0 && at < this.length)) {
      throw new RangeError(`memo has ${this.length} places (memo in plugin.toml); there is no place ${at}`);
    }
    this.numbers[this.base + at] = number(`memo ${at}`, value);
  }
}

function samples(numbers, from, width) {
  const found = [];
  for (let at = from; at < from + width; at += SAMPLE_WIDTH) {
    const [start_ms, bytes, transfer_ms, ttfb_ms, rung] = numbers.slice(at, at + SAMPLE_WIDTH).map(known);
    if (bytes !== undefined && transfer_ms !== undefined) found.push({ start_ms, bytes, transfer_ms, ttfb_ms, rung });
  }
  return found;
}

function known(value) {
  return Number.isFinite(value) ? value : undefined;
}

function number(name, value) {
  if (value === undefined || value === null) return NaN;
  if (value === true) return 1;
  if (value === false) return 0;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new TypeError(`${name} is ${typeof value === "number" ? value : typeof value}; a finite number is wanted, or null`);
}

function reason(reasons, given) {
  if (typeof given === "string") {
    const code = reasons.get(given);
    if (code === undefined) throw new Error(`the manifest's reasons have no ${JSON.stringify(given)}`);
    return code;
  }
  return given === undefined || given === null ? 0 : number("reason", given);
}

function columns(known, names) {
  if (!names || names.length === 0) return known;
  return names.map((name) => {
    const column = known.find(([other]) => other === name);
    if (!column) throw new Error(`plugin.toml names the column ${name}, which does not exist`);
    return column;
  });
}

function widthOf(wanted) {
  return wanted.reduce((sum, [, width]) => sum + width, 0);
}

function flatten(row, wanted) {
  return wanted.flatMap(([name, width]) => {
    if (width === 1) return [number(name, row[name])];
    const flat = (row[name] ?? []).flatMap((one) => [one.start_ms, one.bytes, one.transfer_ms, one.ttfb_ms, one.rung]);
    return Array.from({ length: width }, (_, at) => number(name, flat[at - (width - flat.length)]));
  });
}

function defaults(schema) {
  const known = Object.entries(schema?.properties ?? {}).filter(([, property]) => property.default !== undefined);
  return Object.fromEntries(known.map(([key, property]) => [key, property.default]));
}

// What the operator gave, completed by the manifest's defaults. The host holds it to the schema; what is checked here
// again keeps a mistyped number from becoming a wrong decision.
function configuration(schema, given) {
  if (given === null) return defaults(schema);
  if (typeof given !== "object" || Array.isArray(given)) throw new Error("the configuration is not a table");
  for (const [key, value] of Object.entries(given)) {
    const property = schema?.properties?.[key];
    if (!property) {
      if (schema?.additionalProperties === false) throw new Error(`${key} is no parameter of this policy`);
      continue;
    }
    const type = property.type === "integer" ? "number" : property.type;
    if (["number", "boolean", "string"].includes(type) && typeof value !== type) {
      throw new Error(`${key} must be a ${type}`);
    }
    if (value < property.minimum) throw new Error(`${key} is ${value}; ${property.minimum} is the least`);
    if (value > property.maximum) throw new Error(`${key} is ${value}; ${property.maximum} is the most`);
  }
  return { ...defaults(schema), ...given };
}

function requestOf(r) {
  return {
    action: r.action,
    stream: r.streamId,
    peer: r.peer,
    claims: r.claims === "" ? {} : JSON.parse(r.claims),
    now_s: r.nowS,
    answered: r.answered ?? undefined,
  };
}

function verdict(given) {
  if (given?.ask !== undefined) return { tag: "ask", val: String(given.ask) };
  if (given?.allow === true) {
    const { ttl_s = 0, role = "", cap_kbps = null } = given;
    return { tag: "allow", val: { ttlS: ttl_s, role, capKbps: cap_kbps } };
  }
  if (given?.deny === true) return { tag: "deny", val: { status: given.status ?? 403, reason: given.reason ?? "" } };
  throw new Error("a verdict is { allow: true, … }, { deny: true, … } or { ask: URL }");
}

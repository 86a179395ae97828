"""Between the contract's flat rows of numbers and a policy's plain functions.

Runs inside the component: no files, no network, no clock and no chance. A project's tests run it as it stands.
"""

import json
import math

from .columns import ANSWERS, QUESTIONS, RUNG

# Which function of a policy answers each kind.
FUNCTIONS = {"abr": "recommend", "optimize": "optimize", "score": "score", "ladder": "plan", "auth": "authorize"}

SAMPLE = ("start_ms", "bytes", "transfer_ms", "ttfb_ms", "rung")


class Glue:
    """A policy behind its manifest: `policy` is the author's module, `manifest` what plugin.toml says."""

    def __init__(self, manifest, policy):
        self.manifest = manifest
        self.schema = manifest.get("config_schema") or {}
        self.config = self._defaults()
        self._kinds = {}
        for kind, wants in manifest["kinds"].items():
            name = FUNCTIONS[kind]
            judge = getattr(policy, name, None)
            if not callable(judge):
                raise ValueError(f"the manifest has [kinds.{kind}], but policy.py has no function {name}")
            self._kinds[kind] = judge if kind == "auth" else _Batch(kind, wants, judge)

    def configure(self, text):
        """Takes the operator's configuration; raises ValueError with words for the operator."""
        given = json.loads(text)
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise ValueError("the configuration is not a table")
        properties = self.schema.get("properties", {})
        for key, value in given.items():
            if key in properties:
                _hold_to(key, value, properties[key])
            elif self.schema.get("additionalProperties") is False:
                raise ValueError(f"{key} is no parameter of this policy")
        self.config = {**self._defaults(), **given}

    def answer(self, kind, tick, rungs, rows, memo):
        """Answers a batch of flat rows: flat rows and the memo that is carried on."""
        return self._kinds[kind].answer(self.config, tick, rungs, rows, memo)

    def authorize(self, request):
        """Answers a request to be let in, with what the policy's `authorize` returns."""
        return self._kinds["auth"](self.config, request)

    def ask(self, kind, rows, rungs=(), tick=None):
        """For tests: asks about rows given by column name, and gives the answers by name.

        A row may have a `memo`, a list; so has each answer. The reason is its text.
        """
        batch = self._kinds[kind]
        width = batch.memo_width
        carried = []
        for row in rows:
            memo = row.get("memo", [])
            carried.extend(_or_nan(memo[at] if at < len(memo) else None) for at in range(width))
        tick = tick or Tick(0, 0, 0, 0)
        flat_rungs = _flatten(rungs, batch.rung_columns)
        flat, memo = self.answer(kind, tick, flat_rungs, _flatten(rows, batch.columns), carried)
        each = len(flat) // max(len(rows), 1)
        answers = []
        for at in range(len(rows)):
            own = flat[at * each : (at + 1) * each]
            answer = {name: _known(number) for name, number in zip(ANSWERS[kind], own)}
            code = int(answer["reason"])
            answer["reason"] = batch.reasons[code] if code < len(batch.reasons) else code
            if kind == "ladder":
                answer["encode"] = [kept == 1 for kept in own[len(ANSWERS[kind]) :]]
            answer["memo"] = [_known(number) for number in memo[at * width : (at + 1) * width]]
            answers.append(answer)
        return answers

    def _defaults(self):
        properties = self.schema.get("properties", {})
        return {key: wants["default"] for key, wants in properties.items() if "default" in wants}


class Tick:
    """When and why a question is asked."""

    __slots__ = ("now_ms", "seed", "mode", "cause")

    def __init__(self, now_ms, seed, mode, cause):
        self.now_ms = now_ms
        self.seed = seed
        self.mode = mode
        self.cause = cause


class Ladder:
    """The rungs there are, lowest bitrate first."""

    __slots__ = ("_rungs",)

    def __init__(self, rungs):
        self._rungs = rungs

    def __len__(self):
        return len(self._rungs)

    def __getitem__(self, at):
        return self._rungs[at]

    def highest_within(self, kbps):
        """The number of the highest rung that needs no more than this; None if there is none."""
        for at in range(len(self._rungs) - 1, -1, -1):
            need = self._rungs[at].need_kbps
            if need is not None and need <= kbps:
                return at
        return None


class Memo:
    """Numbers that the host carries from one call about a row to the next; None where there is none."""

    __slots__ = ("_numbers", "_base", "_width")

    def __init__(self, numbers, width):
        self._numbers = numbers
        self._base = 0
        self._width = width

    def __len__(self):
        return self._width

    def __getitem__(self, at):
        return _known(self._numbers[self._base + self._within(at)])

    def __setitem__(self, at, number):
        self._numbers[self._base + self._within(at)] = _checked(f"memo {at}", number)

    def _within(self, at):
        if 0 <= at < self._width:
            return at
        raise IndexError(f"memo has {self._width} places (memo in plugin.toml); there is no place {at}")


class _Batch:
    """One kind: what its rows hold, and the function that judges them."""

    def __init__(self, kind, wants, judge):
        self.judge = judge
        self.is_ladder = kind == "ladder"
        self.columns = _columns(QUESTIONS[kind], wants.get("columns"))
        self.rung_columns = _columns(RUNG, wants.get("rung_columns"))
        self.reasons = wants.get("reasons", [])
        self.codes = {text: code for code, text in enumerate(self.reasons)}
        self.memo_width = wants.get("memo", 0)
        self.names = ANSWERS[kind]
        self.row_class = _row_class("Row", self.columns)
        self.rung_class = _row_class("Rung", self.rung_columns)
        self.width = max(sum(width for _, width in self.columns), 1)
        self.rung_width = max(sum(width for _, width in self.rung_columns), 1)

    def answer(self, config, tick, rungs, rows, memo):
        ladder = Ladder([self.rung_class(rungs, at) for at in range(0, len(rungs), self.rung_width)])
        carried = Memo(memo, self.memo_width)
        judge, names = self.judge, self.names
        numbers = []
        for base in range(0, len(rows), self.width):
            given = judge(config, tick, ladder, self.row_class(rows, base), carried)
            carried._base += self.memo_width
            for name in names:
                if name == "reason":
                    numbers.append(self._code(given.get("reason", 0)))
                else:
                    numbers.append(_checked(name, given.get(name)))
            if self.is_ladder:
                encode = given["encode"]
                numbers.extend(1.0 if encode[at] else 0.0 for at in range(len(ladder)))
        return numbers, memo

    def _code(self, reason):
        if isinstance(reason, str):
            if reason not in self.codes:
                raise ValueError(f"the manifest's reasons have no {reason!r}")
            return float(self.codes[reason])
        return _checked("reason", reason)


def _row_class(name, columns):
    """A view of one row, with a property for each column that the policy asked for."""
    members = {"__slots__": ("_numbers", "_base")}

    def init(self, numbers, base):
        self._numbers = numbers
        self._base = base

    members["__init__"] = init
    place = 0
    for column, width in columns:
        members[column] = property(_one(place) if width == 1 else _samples(place, width))
        place += width
    return type(name, (), members)


def _one(place):
    return lambda self: _known(self._numbers[self._base + place])


def _samples(place, width):
    def get(self):
        start = self._base + place
        found = []
        for at in range(start, start + width, len(SAMPLE)):
            sample = {name: _known(number) for name, number in zip(SAMPLE, self._numbers[at : at + len(SAMPLE)])}
            if sample["bytes"] is not None and sample["transfer_ms"] is not None:
                found.append(sample)
        return found

    return get


def _columns(known, names):
    if not names:
        return known
    widths = dict(known)
    for name in names:
        if name not in widths:
            raise ValueError(f"plugin.toml names the column {name}, which does not exist")
    return [(name, widths[name]) for name in names]


def _flatten(rows, columns):
    numbers = []
    for row in rows:
        for name, width in columns:
            if width == 1:
                numbers.append(_checked(name, row.get(name)))
            else:
                flat = [one.get(field) for one in row.get(name, []) for field in SAMPLE]
                numbers.extend([math.nan] * (width - len(flat)))
                numbers.extend(_or_nan(number) for number in flat)
    return numbers


def _known(number):
    return number if math.isfinite(number) else None


def _or_nan(number):
    return math.nan if number is None else float(number)


def _checked(name, number):
    if number is None:
        return math.nan
    if isinstance(number, (int, float)) and math.isfinite(number):
        return float(number)
    raise TypeError(f"{name} is {number!r}; a finite number is wanted, or None")


_TYPES = {"number": (int, float), "integer": int, "boolean": bool, "string": str}


def _hold_to(key, value, wants):
    kind = wants.get("type")
    wanted = _TYPES.get(kind)
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and kind != "boolean")):
        raise ValueError(f"{key} must be a {kind}")
    if "minimum" in wants and value < wants["minimum"]:
        raise ValueError(f"{key} is {value}; {wants['minimum']} is the least")
    if "maximum" in wants and value > wants["maximum"]:
        raise ValueError(f"{key} is {value}; {wants['maximum']} is the most")

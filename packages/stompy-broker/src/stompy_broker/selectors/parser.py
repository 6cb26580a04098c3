"""Reads a selector: a Pratt parser, whose errors say where, and what to write instead.

What JMS calls a selector of the wrong type is refused here, so that a function is made only from
what has a meaning. Its limits keep a hostile selector from costing more than others.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from stompy.errors import ProtocolError
from stompy_broker.selectors.expressions import (
    CONDITIONS,
    NUMBERS,
    AllOf,
    AnyOf,
    Arithmetic,
    Between,
    Comparison,
    In,
    IsNull,
    Like,
    Name,
    Negative,
    Node,
    Not,
    Number,
    Positive,
    Text,
    Truth,
)
from stompy_broker.selectors.refusal import bad_selector
from stompy_broker.selectors.tokens import Token, TokenKind, tokens
from stompy_broker.selectors.values import literal_number, pieces_of

LONGEST: Final = 4096
"""Characters of a selector."""
DEEPEST: Final = 64
"""Parentheses, signs and NOTs inside one another."""
MOST_NODES: Final = 512
"""Values and operators of a selector; the members of IN count by themselves."""
MOST_MEMBERS: Final = 200
"""Values in the parentheses of one IN."""
MOST_WILDCARDS: Final = 64
"""Signs ``%`` and ``_`` in one pattern of LIKE."""

_PREFIX = re.compile("(no_convert_string_expressions|convert_string_expressions|hyphenated_props):")

_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _UNARY = range(1, 8)

_POWERS = {
    **dict.fromkeys(("=", "<>", "<", ">", "<=", ">="), _COMPARISON),
    **dict.fromkeys(("+", "-"), _SUM),
    **dict.fromkeys(("*", "/", "%"), _PRODUCT),
    "OR": _OR,
    "AND": _AND,
    **dict.fromkeys(("IS", "LIKE", "BETWEEN", "IN", "NOT"), _COMPARISON),
}

_HYPHENATED = re.compile(r"[^\W\d]\w*(-\w+)+")


def parse(text: str) -> Node:
    """Read a selector.

    Raises:
        ProtocolError: it is none, or beyond the limits.
    """
    return _Parser(text).whole()


class _Parser:
    """One reading of one selector; `_token` is the next word, which was not used yet."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise bad_selector(text, LONGEST, f"longer than {LONGEST} characters")
        self._text = text
        start, found = 0, set()
        while match := _PREFIX.match(text, start):
            start = match.end()
            found.add(match[1])
        self._all_texts = "no_convert_string_expressions" in found
        self._words = tokens(text, start, hyphens="hyphenated_props" in found)
        self._token = next(self._words)
        self._end = start  # of the word before
        self._depth = 0
        self._nodes = 0

    def whole(self) -> Node:
        if self._at_end():
            raise self._bad("a selector says something; this one is empty")
        node = self._condition(self._expression(0))
        if not self._at_end():
            raise self._bad(self._left_over())
        return node

    def _left_over(self) -> str:
        token = self._token
        if token.is_sign("("):
            return "there are no functions; LIKE looks at the shape of a text"
        if token.is_sign(")"):
            return "a parenthesis that nobody opened"
        if token.kind is TokenKind.TEXT:
            return f"no operator before {token}; there are no XPATH and no REGEX, but LIKE"
        if self._power() == _COMPARISON:
            return f"a second comparison, {token}, without AND or OR between them"
        return f"no operator before {token}"

    # The Pratt parser: each operator has a power, and takes what has more.

    def _expression(self, least: int) -> Node:
        left = self._prefix()
        while (power := self._power()) > least:
            token = self._next()
            if power in (_OR, _AND):
                left = self._logic(left, token.value, power)
            elif power == _COMPARISON:
                left = self._comparison(left, token)
                if self._power() == _COMPARISON:
                    raise self._bad(self._left_over())
            else:
                left = self._chain(left, token, power)
        return left

    def _power(self) -> int:
        token = self._token
        if token.kind in (TokenKind.SIGN, TokenKind.KEYWORD):
            return _POWERS.get(token.value, 0)
        return 0

    def _prefix(self) -> Node:
        token = self._next()
        self._count(token)
        if token.kind is TokenKind.NAME:
            return Name(token.start, token.end, token.value)
        if token.kind is TokenKind.TEXT:
            return Text(token.start, token.end, token.value)
        if token.kind is TokenKind.NUMBER:
            return self._number(token.start, token, "")
        if token.is_keyword("TRUE", "FALSE"):
            if self._all_texts:
                return Text(token.start, token.end, self._text[token.start : token.end])
            return Truth(token.start, token.end, token.value == "TRUE")
        if token.is_sign("("):
            return self._parenthesis(token)
        if token.is_sign("+", "-"):
            return self._signed(token)
        if token.is_keyword("NOT"):
            return self._not(token)
        if token.is_keyword("NULL"):
            raise self._bad("NULL is no value; write IS NULL or IS NOT NULL", token)
        raise self._bad(f"a name or value is missing before {token}", token)

    def _parenthesis(self, opened: Token) -> Node:
        self._deeper(opened)
        node = self._expression(0)
        if not self._token.is_sign(")"):
            raise self._bad(f"no ) for this (, but {self._token}", opened)
        self._next()
        self._depth -= 1
        node = replace(node, start=opened.start, end=self._end)
        return node

    def _signed(self, sign: Token) -> Node:
        self._deeper(sign)
        if self._token.kind is TokenKind.NUMBER:
            node = self._number(sign.start, self._next(), sign.value)
        else:
            operand = self._numeric(self._expression(_PRODUCT))
            kind = Negative if sign.value == "-" else Positive
            node = kind(sign.start, operand.end, operand)
        self._depth -= 1
        return node

    def _not(self, word: Token) -> Node:
        self._deeper(word)
        operand = self._condition(self._expression(_NOT))
        self._depth -= 1
        return Not(word.start, operand.end, operand)

    def _number(self, start: int, token: Token, sign: str) -> Node:
        if self._all_texts:
            return Text(start, token.end, sign.replace("+", "") + token.value)
        try:
            value = literal_number(token.value)
        except ValueError as error:
            raise self._bad(str(error), token) from None
        return Number(start, token.end, -value if sign == "-" else value)

    def _logic(self, left: Node, word: str, power: int) -> Node:
        parts = [self._condition(left)]
        while True:
            parts.append(self._condition(self._expression(power)))
            if not self._token.is_keyword(word):
                break
            self._count(self._next())
        kind = AllOf if word == "AND" else AnyOf
        return kind(left.start, parts[-1].end, parts)

    def _chain(self, left: Node, token: Token, power: int) -> Node:
        first = self._numeric(left)
        rest = []
        while True:
            rest.append((token.value, self._numeric(self._expression(power))))
            if self._power() != power:
                break
            token = self._next()
            self._count(token)
        return Arithmetic(left.start, rest[-1][1].end, first, rest)

    def _comparison(self, left: Node, token: Token) -> Node:
        if token.is_keyword("IS"):
            return self._is_null(left)
        negated = token.is_keyword("NOT")
        if negated:
            token = self._next()
        if token.is_keyword("LIKE"):
            node = self._like(left)
        elif token.is_keyword("BETWEEN"):
            node = self._between(left)
        elif token.is_keyword("IN"):
            node = self._in(left)
        elif negated:
            raise self._bad(f"NOT before {token}; LIKE, BETWEEN or IN may follow here", token)
        else:
            right = self._expression(_COMPARISON)
            self._check_comparable(left, token, right)
            return Comparison(left.start, right.end, token.value, left, right)
        return Not(node.start, node.end, node) if negated else node

    def _is_null(self, left: Node) -> Node:
        negated = self._token.is_keyword("NOT")
        if negated:
            self._next()
        if not self._token.is_keyword("NULL"):
            raise self._bad(f"IS must be followed by NULL or NOT NULL, not by {self._token}")
        self._next()
        if isinstance(left, CONDITIONS):
            raise self._bad("a condition is no value that could be NULL", left)
        node = IsNull(left.start, self._end, left)
        return Not(left.start, self._end, node) if negated else node

    def _like(self, left: Node) -> Node:
        if not isinstance(left, Name | Text):
            raise self._bad(f"LIKE looks at a header, and this {_describe(left)}", left)
        token = self._next()
        if token.kind is not TokenKind.TEXT:
            raise self._bad(f"LIKE must be followed by a text in '…', not by {token}", token)
        escape = ""
        if self._token.is_keyword("ESCAPE"):
            self._next()
            mark = self._next()
            if mark.kind is not TokenKind.TEXT or len(mark.value) != 1:
                raise self._bad("ESCAPE must be followed by one character in '…'", mark)
            escape = mark.value
        try:
            wildcards = sum(not isinstance(piece, str) for piece in pieces_of(token.value, escape))
        except ValueError as error:
            raise self._bad(str(error), token) from None
        if wildcards > MOST_WILDCARDS:
            raise self._bad(f"{wildcards} of % and _; {MOST_WILDCARDS} are the most", token)
        return Like(left.start, self._end, left, token.value, escape)

    def _between(self, left: Node) -> Node:
        low = self._expression(_COMPARISON)
        if not self._token.is_keyword("AND"):
            raise self._bad(f"BETWEEN must have an AND after its lower end, not {self._token}")
        self._next()
        high = self._expression(_COMPARISON)
        for one in (left, low, high):
            if isinstance(one, Text):
                raise self._bad("BETWEEN compares numbers, and this is a text", one)
            self._numeric(one)
        return Between(left.start, high.end, left, low, high)

    def _in(self, left: Node) -> Node:
        if isinstance(left, CONDITIONS):
            raise self._bad("a condition is no value that could be in a list", left)
        opened = self._next()
        if not opened.is_sign("("):
            raise self._bad(f"IN must be followed by (…), not by {opened}", opened)
        members: list[Text | Number | Truth] = []
        while True:
            member = self._member()
            self._check_member(left, member)
            members.append(member)
            if len(members) > MOST_MEMBERS:
                raise self._bad(f"more than {MOST_MEMBERS} values in one IN", member)
            token = self._next()
            if token.is_sign(")"):
                return In(left.start, token.end, left, members)
            if not token.is_sign(","):
                raise self._bad(f"a comma or ) is missing before {token}", token)

    def _member(self) -> Text | Number | Truth:
        token, nodes = self._token, self._nodes
        literal = token.kind in (TokenKind.TEXT, TokenKind.NUMBER)
        literal = literal or token.is_sign("+", "-") or token.is_keyword("TRUE", "FALSE")
        node = self._prefix() if literal else None
        self._nodes = nodes
        if not isinstance(node, Text | Number | Truth):
            raise self._bad(f"IN takes texts, numbers, TRUE and FALSE, not {token}", token)
        return node

    # What may stand where.

    def _condition(self, node: Node) -> Node:
        if isinstance(node, (*CONDITIONS, Name, Truth)):
            return node
        raise self._bad(f"a condition must stand here, and this {_describe(node)}", node)

    def _numeric(self, node: Node) -> Node:
        if isinstance(node, (*NUMBERS, Name)):
            return node
        raise self._bad(f"a number must stand here, and this {_describe(node)}", node)

    def _check_comparable(self, left: Node, operator: Token, right: Node) -> None:
        equal = operator.value in ("=", "<>")
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Text | Truth) and not equal:
                hint = "texts and truths are compared by = and <> only"
                raise self._bad(f"{operator.value} with {_describe(one)[3:]}; {hint}", operator)
            if isinstance(one, CONDITIONS) and not isinstance(other, Truth):
                raise self._bad("a condition can be compared with TRUE and FALSE only", one)
            if isinstance(one, CONDITIONS) and not equal:
                raise self._bad("conditions are compared by = and <> only", operator)
            if isinstance(one, Text) and isinstance(other, NUMBERS):
                raise self._mixed(one, other)
            if isinstance(one, Truth) and isinstance(other, (*NUMBERS, Text)):
                raise self._bad(f"TRUE and FALSE, and beside them what {_describe(other)}", other)

    def _mixed(self, text: Node, number: Node) -> ProtocolError:
        """What says that a text is no number, or that arithmetic may be meant as a name."""
        if isinstance(number, Arithmetic) and any(sign == "-" for sign, _ in number.rest):
            written = self._text[number.start : number.end].replace(" ", "")
            if _HYPHENATED.fullmatch(written):
                why = f'{written} is arithmetic; the header of that name is written "{written}"'
                return self._bad(why, number)
        return self._bad(f"a text compared with what {_describe(number)}", text)

    def _check_member(self, left: Node, member: Node) -> None:
        if isinstance(left, Name) or type(left) is type(member):
            return
        if not (isinstance(left, NUMBERS) and isinstance(member, Number)):
            if isinstance(member, Text) and isinstance(left, NUMBERS):
                raise self._mixed(member, left)
            raise self._bad(
                f"what {_describe(member)} in a list for what {_describe(left)}", member
            )

    # Words and limits.

    def _at_end(self) -> bool:
        return self._token.kind is TokenKind.END

    def _next(self) -> Token:
        token = self._token
        self._end = token.end
        if token.kind is not TokenKind.END:
            self._token = next(self._words)
        return token

    def _count(self, token: Token) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise self._bad(f"more than {MOST_NODES} values and operators", token)

    def _deeper(self, token: Token) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._bad(f"deeper than {DEEPEST}", token)

    def _bad(self, why: str, where: Token | Node | None = None) -> ProtocolError:
        return bad_selector(self._text, (self._token if where is None else where).start, why)


def _describe(node: Node) -> str:
    if isinstance(node, Text):
        return "is a text"
    if isinstance(node, Truth):
        return "is TRUE or FALSE"
    if isinstance(node, Name):
        return "is a header"
    if isinstance(node, NUMBERS):
        return "is a number"
    return "is a condition"

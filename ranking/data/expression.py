"""Labels by expression: `event == 'buy'`, `rating >= 4`, `clicks > 0 and not is_bot`.

Names are columns; one that is no Python name stands in backquotes, a backquote in it doubled. A row
in which a column has no value has no label, unless the other side of an `and` or `or` decides.
"""

import ast
import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ranking.data.schema import DataError
from ranking.data.values import NUMBER, id_of

Type = Literal["id", "number", "flag"]
Resolve = Callable[[str, Type], Any]  # column and what it is read as → Ibis value
LARGEST = 2**53
OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
  ast.Eq: lambda a, b: a == b,
  ast.NotEq: lambda a, b: a != b,
  ast.Lt: lambda a, b: a < b,
  ast.LtE: lambda a, b: a <= b,
  ast.Gt: lambda a, b: a > b,
  ast.GtE: lambda a, b: a >= b,
  ast.Add: lambda a, b: a + b,
  ast.Sub: lambda a, b: a - b,
  ast.Mult: lambda a, b: a * b,
}
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`((?:[^`]|``)+)`""", re.DOTALL)
CURE = (
  "it may compare columns with numbers and texts, add and multiply them, and join comparisons by "
  "and, or, not"
)


@dataclasses.dataclass(frozen=True)
class Expression:
  """What a label is made of.

  Attributes:
    text: as it is written.
    truth: whether it says yes or no; else it is a number.

  Raises DataError for what is no expression of columns.
  """

  text: str
  truth: bool

  def __post_init__(self) -> None:
    if not self.columns():
      raise DataError(f"the expression {self.text!r} names no column; {CURE}")

  @classmethod
  def of_column(cls, name: str, truth: bool) -> "Expression":
    """A column alone."""
    return cls(f"`{name.replace('`', '``')}`", truth)

  def columns(self) -> dict[tuple[str, Type], None]:
    """The columns it names, and what each is read as."""
    named: dict[tuple[str, Type], None] = {}

    def collect(name: str, kind: Type) -> Any:
      named[name, kind] = None
      return _Anything()

    self.value(collect)
    return named

  def value(self, resolve: Resolve) -> Any:
    """What it comes to, given the values of its columns: a truth or a number."""
    tree, names = _parsed(self.text)
    return _Reader(self.text, names, resolve).value(tree, "flag" if self.truth else "number")


class _Anything:
  """Stands for a value when only the names of columns are asked for."""

  def __getattr__(self, name: str) -> Any:
    return lambda *_: self

  def _itself(self, *_: object) -> "_Anything":
    return self

  __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _itself  # type: ignore[assignment]  # gives no bool
  __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __neg__ = _itself
  __and__ = __or__ = __invert__ = _itself
  __hash__ = None  # type: ignore[assignment]  # equal to everything


def _parsed(text: str) -> tuple[ast.expr, dict[str, str]]:
  """The tree of an expression, and the columns that stand in backquotes by what replaces them."""
  names: dict[str, str] = {}

  def plain(match: re.Match[str]) -> str:
    if match[1] is None:  # a text, in which a backquote is one
      return match[0]
    name = f"backquoted_{len(names)}_"
    while name in text:
      name += "_"
    names[name] = match[1].replace("``", "`")
    return name

  try:
    return ast.parse(QUOTED.sub(plain, text.strip()), mode="eval").body, names
  except (SyntaxError, ValueError) as error:
    raise DataError(
      f"{text!r} is no expression; write it like event == 'buy', rating >= 4 or a > 0 and b == 0"
    ) from error


class _Reader:
  """Walks through an expression; what a column is read as follows from where it stands."""

  def __init__(self, text: str, names: Mapping[str, str], resolve: Resolve):
    self._text, self._names, self._resolve = text, names, resolve

  def value(self, node: ast.expr, kind: Type) -> Any:
    """The value of a part that stands where a flag, a number or an id belongs."""
    match node:
      case ast.Name() | ast.Attribute():
        return self._resolve(self._name(node), kind)
      case ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()) if kind == "number":
        return self.value(node, "flag").cast("int64")  # such as 2 * (grade == 'good')
      case ast.BoolOp(op=op, values=parts):
        found = [self.value(part, "flag") for part in parts]
        whole = found[0]
        for part in found[1:]:
          whole = whole & part if isinstance(op, ast.And) else whole | part
        return whole
      case ast.UnaryOp(op=ast.Not(), operand=part):
        return ~self.value(part, "flag")
      case ast.UnaryOp() | ast.BinOp() if kind != "number":
        raise self._refused(node, "compare it with a number, such as a + b > 0")
      case ast.UnaryOp(op=ast.USub(), operand=part):
        return -self.value(part, "number")
      case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=float() | int() as by)) if (
        by
      ):
        return self.value(left, "number") / float(by)
      case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
        return OPERATORS[type(op)](self.value(left, "number"), self.value(right, "number"))
      case ast.Compare(left=left, ops=ops, comparators=others):
        return self._comparison([left, *others], ops)
      case ast.Constant(value=str() as text):
        return id_of(text.strip())
      case ast.Constant(value=int() as constant) if kind == "id":
        return str(constant)
      case ast.Constant(value=bool() | int() | float() as constant):
        return constant
    raise self._refused(node)

  def _comparison(self, parts: list[ast.expr], ops: list[ast.cmpop]) -> Any:
    """A chain such as 0 < a <= 5, or `event in ['buy', 'order']`."""
    whole = None
    for (left, right), op in zip(itertools.pairwise(parts), ops, strict=True):
      if isinstance(op, (ast.In, ast.NotIn)):
        choices = self._choices(right)
        as_ids = any(isinstance(each, str) or abs(each) > LARGEST for each in choices)
        if as_ids:  # blanks around them do not count, and 1.0 is 1
          choices = [id_of(str(choice).strip()) for choice in choices]
        found = self.value(left, "id" if as_ids else "number").isin(choices)
        found = ~found if isinstance(op, ast.NotIn) else found
      elif isinstance(op, (ast.Is, ast.IsNot)):
        if not isinstance(right, ast.Constant) or right.value is not None:
          raise self._refused(
            right, "is and is not ask whether there is a value: write is not None"
          )
        there = self.value(left, "id")
        found = there.isnull() if isinstance(op, ast.Is) else there.notnull()
      elif type(op) in OPERATORS:
        kind = self._kind(left, right, isinstance(op, (ast.Eq, ast.NotEq)))
        found = OPERATORS[type(op)](self.value(left, kind), self.value(right, kind))
      else:
        raise self._refused(left)
      whole = found if whole is None else whole & found
    return whole

  def _choices(self, node: ast.expr) -> list[Any]:
    """The numbers and texts of a list."""
    choices = []
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
      with contextlib.suppress(ValueError):
        choices = [ast.literal_eval(each) for each in node.elts]
    if not choices or not {type(each) for each in choices} <= {str, int, float}:
      raise self._refused(node, "give numbers or texts, such as event in ['buy', 'order']")
    return choices

  def _kind(self, left: ast.expr, right: ast.expr, equality: bool) -> Type:
    """What both sides of a comparison are."""
    constants = [side.value for side in (left, right) if isinstance(side, ast.Constant)]
    if len(constants) == 2:
      raise self._refused(left)
    for constant in constants:
      if isinstance(constant, str) and not equality and re.match(NUMBER, constant.strip()):
        # As texts 10 is before 9.
        raise self._refused(ast.Constant(constant), "leave out the quotes around a number")
      # A number does not hold it to the last digit, and an id has no order.
      is_long = type(constant) is int and abs(constant) > LARGEST
      if is_long and not equality:
        raise self._refused(ast.Constant(constant), f"compare with {LARGEST} at most")
      if isinstance(constant, str) or is_long:
        return "id"
    if any(isinstance(constant, bool) for constant in constants):
      return "flag"
    columns = all(isinstance(side, (ast.Name, ast.Attribute)) for side in (left, right))
    return "id" if columns and equality else "number"

  def _name(self, node: ast.expr) -> str:
    if isinstance(node, ast.Name):
      return self._names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
      return f"{self._name(node.value)}.{node.attr}"
    raise self._refused(node)

  def _refused(self, node: ast.AST, cure: str = CURE) -> DataError:
    part = ast.unparse(node)
    return DataError(f"the expression {self._text!r} cannot be worked out at {part!r}; {cure}")

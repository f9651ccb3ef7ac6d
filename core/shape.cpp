#include <rewind/core/format.hpp>
#include <rewind/core/shape.hpp>

#include <ostream>

namespace rw {

namespace {
constexpr const char* broadcast_rule = "axes are aligned at the last; extents must be equal or one of them 1";
}

void Dims::overflow() { fail<ShapeError>("shape: too many axes: got more than {} (join axes with reshape)", max_rank); }

Shape broadcast(const char* op, const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape result = longer;
  int shift = longer.rank() - shorter.rank();
  for (int i = 0; i < shorter.rank(); ++i) {
    Index x = longer[i + shift], y = shorter[i];
    if (x != y && x != 1 && y != 1) fail<ShapeError>("{}: shapes do not broadcast: a is {}, b is {} ({})", op, a, b, broadcast_rule);
    result[i + shift] = x == 1 ? y : x;
  }
  return result;
}

bool broadcasts_to(const Shape& from, const Shape& to) {
  int shift = to.rank() - from.rank();
  if (shift < 0) return false;
  for (int i = 0; i < from.rank(); ++i)
    if (from[i] != to[i + shift] && from[i] != 1) return false;
  return true;
}

Strides broadcast_strides(const Shape& from, const Strides& strides, const Shape& to) {
  if (!broadcasts_to(from, to))
    fail<ShapeError>("broadcast_to: shapes do not fit: {} does not repeat to {} ({})", from, to, broadcast_rule);
  int shift = to.rank() - from.rank();
  Strides result{static_cast<const Dims&>(to)};
  for (int i = 0; i < to.rank(); ++i) {
    bool repeated = i < shift || (from[i - shift] == 1 && to[i] != 1);
    result[i] = repeated ? 0 : strides[i - shift];
  }
  return result;
}

int normal_axis(const char* op, Index axis, int rank) {
  if (rank == 0) fail<ShapeError>("{}: axis out of range: got {} for a scalar (a scalar has no axes)", op, axis);
  if (axis < -rank || axis >= rank)
    fail<ShapeError>("{}: axis out of range: got {} for rank {} (axes run from {} to {})", op, axis, rank, -rank, rank - 1);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

bool reshape_strides(const Shape& shape, const Strides& strides, const Shape& to, Strides& result) {
  if (shape.size() != to.size()) return false;
  result = contiguous_strides(to);
  if (to.size() == 0) return true;

  // Axes of extent 1 say nothing; the others are grouped so that each group of `shape` has as many elements as its group of `to`.
  Dims extents, steps;
  for (int i = 0; i < shape.rank(); ++i)
    if (shape[i] != 1) {
      extents.push_back(shape[i]);
      steps.push_back(strides[i]);
    }
  int from = extents.rank() - 1, at = to.rank() - 1;
  while (from >= 0) {
    Index inner = steps[from], have = extents[from], want = 1;
    int next = from - 1;
    while (at >= 0 && want < have) {
      result[at] = inner * want;
      want *= to[at--];
    }
    while (have != want) {
      if (have < want) {
        if (next < 0 || steps[next] != inner * have) return false;
        have *= extents[next--];
      } else {
        if (at < 0) return false;
        result[at] = inner * want;
        want *= to[at--];
      }
    }
    from = next;
  }
  return true;
}

std::string to_string(const Dims& dims) {
  std::string text;
  for (Index extent : dims) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << to_string(shape); }

}  // namespace rw

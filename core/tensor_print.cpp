#include <rewind/core/format.hpp>
#include <rewind/core/tensor.hpp>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

namespace rw {

namespace {

constexpr Index whole = 12;  // longest axis that is shown whole; a longer one shows `edge` elements at each end
constexpr Index edge = 4;

Index shown(Index extent) { return extent > whole ? 2 * edge : extent; }
Index position(Index extent, Index i) { return extent > whole && i >= edge ? extent - 2 * edge + i : i; }

std::string word(double x, DType dtype) {
  if (dtype == DType::boolean) return x != 0 ? "true" : "false";
  return fmt::format("{:.4g}", x);
}

// Every shown element in order, formatted; integers exactly.
void words(const Tensor& t, std::vector<std::string>& out) {
  if (t.rank() == 0) {
    bool exact = t.dtype() == DType::i64 || t.dtype() == DType::i32;
    out.push_back(exact ? fmt::format("{}", t.item<std::int64_t>()) : word(t.item<double>(), t.dtype()));
    return;
  }
  for (Index i = 0; i < shown(t.shape()[0]); ++i) words(t.select(0, position(t.shape()[0], i)), out);
}

void brackets(const Shape& shape, int axis, std::size_t width, const std::string*& next, std::string& out) {
  if (axis == shape.rank()) {
    out += fmt::format("{:>{}}", *next++, width);
    return;
  }
  bool innermost = axis == shape.rank() - 1;
  std::string gap = ",";
  if (innermost)
    gap += " ";
  else
    gap += std::string(static_cast<std::size_t>(shape.rank() - 1 - axis), '\n') + std::string(static_cast<std::size_t>(axis) + 1, ' ');
  out += "[";
  for (Index i = 0; i < shown(shape[axis]); ++i) {
    if (i > 0) out += gap;
    if (i == edge && shape[axis] > whole) out += "..." + gap;
    brackets(shape, axis + 1, width, next, out);
  }
  out += "]";
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  std::vector<std::string> all;
  if (tensor.size() > 0) words(tensor, all);
  std::size_t width = 0;
  for (const auto& w : all) width = std::max(width, w.size());
  const std::string* next = all.data();
  std::string text;
  if (tensor.size() == 0)
    text = "[]";
  else
    brackets(tensor.shape(), 0, width, next, text);
  return out << fmt::format("{}  {} {}", text, name(tensor.dtype()), tensor.shape());
}

}  // namespace rw

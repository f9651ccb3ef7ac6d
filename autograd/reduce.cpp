// Reductions on the tape. Attributes: Reduction, mask of axes, whether they stay with extent 1.
#include <algorithm>
#include <cmath>
#include <limits>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>

namespace rw::detail {

namespace {

constexpr const char* kind_name(Reduction kind) {
  constexpr const char* names[] = {"sum", "max", "min", "argmax", "argmin"};
  return names[static_cast<int>(kind)];
}

Shape reduced(const Shape& shape, std::uint32_t mask, bool keep) {
  Shape result;
  for (int i = 0; i < shape.rank(); ++i) {
    if (!(mask >> i & 1)) {
      result.push_back(shape[i]);
    } else if (keep) {
      result.push_back(1);
    }
  }
  return result;
}

class ReduceOperator final : public Operator {
 public:
  constexpr ReduceOperator() : Operator("reduce") {}

  Keep keep(const Node& node) const override {
    bool reads = static_cast<Reduction>(node.attributes[0]) != Reduction::sum;
    return {reads, reads};
  }

  std::string describe(const Attributes& a) const override {
    std::string axes;
    for (int i = 0; i < max_rank; ++i)
      if (a[1] >> i & 1) axes += fmt::format(" {}", i);
    return fmt::format("{} over{}", kind_name(static_cast<Reduction>(a[0])), axes);
  }

  void gradient(Pullback& p) const override {
    auto kind = static_cast<Reduction>(p.node.attributes[0]);
    auto mask = static_cast<std::uint32_t>(p.node.attributes[1]);
    if (kind == Reduction::argmax || kind == Reduction::argmin) return;
    const Shape& shape = p.type(0).shape;
    Shape kept = reduced(shape, mask, true);
    auto g = reshape(p.g(), kept);
    if (kind == Reduction::sum) return p.add(0, broadcast_to(g, shape));
    auto chosen = equal(p.x(0), reshape(p.y(), kept));  // equals share the gradient
    Dims axes;
    for (int i = 0; i < shape.rank(); ++i)
      if (mask >> i & 1) axes.push_back(i);
    auto ties = where(chosen, 1, zeros(Shape{}, p.type(0).dtype));
    Variable count = ties;
    count = reshape(sum_axes(count, mask), kept);
    p.add(0, where(chosen, g / count, 0));
  }

  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    auto kind = static_cast<Reduction>(i.attributes[0]);
    auto mask = static_cast<std::uint32_t>(i.attributes[1]);
    Shape kept = reduced(in[0]->shape, mask, true);
    double start = kind == Reduction::sum                                ? 0
                   : kind == Reduction::max || kind == Reduction::argmax ? -std::numeric_limits<double>::infinity()
                                                                         : std::numeric_limits<double>::infinity();
    std::vector<double> best(out[0].data.size(), start);
    std::vector<char> seen(best.size());
    bool arg = kind == Reduction::argmax || kind == Reduction::argmin;
    for_each_index(in[0]->shape, [&](std::span<const Index> index, Index n) {
      Index at = broadcast_position(kept, in[0]->shape, index), position = 0;
      for (int a = 0; a < in[0]->shape.rank(); ++a)
        if (mask >> a & 1) position = position * in[0]->shape[a] + index[a];
      double x = in[0]->data[n];
      if (kind == Reduction::sum) {
        best[at] += x;
      } else if (!seen[at] || (!std::isnan(best[at]) &&
                               (std::isnan(x) || (kind == Reduction::max || kind == Reduction::argmax ? x > best[at] : x < best[at])))) {
        best[at] = x;
        out[0].data[at] = static_cast<double>(position);
      }
      seen[at] = 1;
    });
    if (!arg) out[0].data = best;
  }

  void lower(Lowering& l, const Instruction& i) const override {
    auto kind = static_cast<Reduction>(i.attributes[0]);
    auto mask = static_cast<std::uint32_t>(i.attributes[1]);
    Slot x = l.type(i.inputs[0]).weak ? l.converted(i.inputs[0], DType::f32) : l.slot(i.inputs[0]);
    if (!is_floating(l.type(i.first).dtype) && kind == Reduction::sum && x.type.dtype != l.type(i.first).dtype)
      x = l.converted(i.inputs[0], l.type(i.first).dtype);
    Slot y = l.dense_result(i.first), kept = y;
    kept.type.shape = reduced(x.shape(), mask, true);
    kept.strides = contiguous_strides(kept.type.shape);
    l.emit({x, y}, [=](const Frame& f) { reduce(kind, x.view(f), mask, kept.view(f), f.split); });
    l.finish(i.first, y);
  }

  int lift(Lift& l) const override {
    auto a = l.instruction.attributes;
    a[1] <<= 1;
    return l.outer.append(*this, a, l.inputs, l.type());
  }

  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0];
    if (c.rows[x] == Rows::row && c.instruction.attributes[1] & 1) return false;
    if (c.rows[x] == Rows::unknown) {  // of the batch's extent: taken for rows
      const Shape& s = c.program.types[x].shape;
      c.rows[x] = s.rank() > 1 && s[0] == c.batch && !(c.instruction.attributes[1] & 1) ? Rows::row : Rows::shared;
    }
    c.rows[c.instruction.first] = c.rows[x];
    return true;
  }

  static Variable sum_axes(const Variable& x, std::uint32_t mask);
};

/// sum over time and rows, [T,R,N] -> N elements, or over the rows of one step, [R,N]; continued from a second operand of the result's
/// shape if there is one. Attribute 0: from the last step to the first.
class SumStepsOperator final : public Operator {
 public:
  constexpr SumStepsOperator() : Operator("sum_steps") {}
  std::string describe(const Attributes& a) const override { return a[0] ? "backward in time" : ""; }

  void interpret(const Program&, const Instruction&, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    const Index n = in[0]->shape.back();
    if (in.size() > 1) out[0].data = in[1]->data;
    for (std::size_t i = 0; i < in[0]->data.size(); ++i) out[0].data[static_cast<Index>(i) % n] += in[0]->data[i];
  }

  void lower(Lowering& l, const Instruction& i) const override {
    Slot x = l.slot(i.inputs[0]);
    if (x.shape().rank() == 2) x.type.shape.insert(0, 1), x.strides.insert(0, 0);
    if (x.strides[2] != 1 && x.shape()[2] != 1) x = l.dense_copy(x);
    bool reversed = i.attributes[0], continues = i.inputs.size() > 1;
    Slot y = continues ? l.continued(i.first, i.inputs[1]) : l.dense_result(i.first);
    l.emit({x, y}, [=](const Frame& f) {
      const Shape& s = x.shape();
      Index first = reversed ? (s[0] - 1) * x.strides[0] * size_of(x.type.dtype) : 0;
      sum_steps(x.type.dtype, s[2], s[1], s[0], x.address(f) + first, x.strides[1], reversed ? -x.strides[0] : x.strides[0], y.address(f),
                continues, f.split);
    });
    l.finish(i.first, y);
  }
};

/// sum over time and groups of rows: [T,..,N], or of one step [..,N], -> [G,N], one of each group of attribute 0 rows, which are counted
/// over all axes between; continued from a second operand of the result's shape if there is one. Attribute 1: steps; 2: from the last to
/// the first.
class SumGroupsOperator final : public Operator {
 public:
  constexpr SumGroupsOperator() : Operator("sum_groups") {}
  std::string describe(const Attributes& a) const override {
    return fmt::format("of {} rows", a[0]) + (a[1] > 1 ? fmt::format(", steps {}", a[1]) : "") + (a[2] ? " backward in time" : "");
  }

  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    const Index n = in[0]->shape.back(), group = i.attributes[0], rows = in[0]->shape.size() / n / i.attributes[1];
    if (in.size() > 1) out[0].data = in[1]->data;
    for (std::size_t k = 0; k < in[0]->data.size(); ++k) {
      const auto at = static_cast<Index>(k);
      out[0].data[at / n % rows / group * n + at % n] += in[0]->data[k];
    }
  }

  void lower(Lowering& l, const Instruction& i) const override {
    const Slot x = l.dense(i.inputs[0]);
    const bool continues = i.inputs.size() > 1, reversed = i.attributes[2];
    const Slot y = continues ? l.continued(i.first, i.inputs[1]) : l.dense_result(i.first);
    const Index rows = i.attributes[0], steps = i.attributes[1];
    l.emit({x, y}, [=](const Frame& f) {
      const Index columns = y.shape().back(), groups = y.shape()[0], step = groups * rows * columns,
                  bytes = columns * size_of(x.type.dtype);
      const std::byte* first = x.address(f) + (reversed ? (steps - 1) * groups * rows * bytes : 0);
      for (Index g = 0; g < groups; ++g)
        sum_steps(x.type.dtype, columns, rows, steps, first + g * rows * bytes, columns, reversed ? -step : step, y.address(f) + g * bytes,
                  continues, f.split);
    });
    l.finish(i.first, y);
  }

  bool rows(RowCheck& c) const override {
    c.rows[c.instruction.first] = Rows::group;
    const auto& in = c.instruction.inputs;
    return c.require(in[0], Rows::row) && (in.size() < 2 || c.require(in[1], Rows::group));
  }
};

constexpr ReduceOperator reduce_object;
constexpr SumStepsOperator sum_steps_object;
constexpr SumGroupsOperator sum_groups_object;

Variable record_reduction(Reduction kind, const Variable& x, std::uint32_t mask, bool keep) {
  Value* in = local(kind_name(kind), x);
  DType dtype = in->type.weak ? DType::f32 : in->type.dtype;
  if (kind == Reduction::argmax || kind == Reduction::argmin) {
    dtype = DType::i64;
  } else if (dtype == DType::boolean && kind == Reduction::sum) {
    dtype = DType::i64;
  }
  return record(reduce_object, {static_cast<int>(kind), mask, keep}, {in}, Type{dtype, reduced(in->type.shape, mask, keep)});
}

Variable ReduceOperator::sum_axes(const Variable& x, std::uint32_t mask) {
  return mask ? record_reduction(Reduction::sum, x, mask, true) : x;
}

std::uint32_t mask_of(const char* op, const Variable& x, const Axes& axes) {
  std::uint32_t mask = 0;
  for (Index a : axes.list()) {
    auto bit = 1u << normal_axis(op, a, x.rank());
    if (mask & bit) fail<ShapeError>("{}: axis {} is named twice (name each once)", op, a);
    mask |= bit;
  }
  return mask;
}
std::uint32_t all_axes(const Variable& x) { return (1u << x.rank()) - 1; }

Variable reduction(Reduction kind, const Variable& x, std::uint32_t mask, bool keep) {
  if (kind != Reduction::sum && x.size() == 0)
    fail<ShapeError>("{}: there are no elements: x is {} (only a sum of nothing has a value)", kind_name(kind), x.shape());
  return record_reduction(kind, x, mask, keep);
}

Index count(const Shape& shape, std::uint32_t mask) {
  Index n = 1;
  for (int i = 0; i < shape.rank(); ++i)
    if (mask >> i & 1) n *= shape[i];
  return n;
}

Variable mean_of(const Variable& x, std::uint32_t mask, bool keep) {
  Index n = count(x.shape(), mask);
  if (n == 0) fail<ShapeError>("mean: there are no elements: x is {} (only a sum of nothing has a value)", x.shape());
  Variable floating = is_floating(x.dtype()) ? x : cast(x, DType::f32);
  return reduction(Reduction::sum, floating, mask, keep) * constant(1.0 / static_cast<double>(n));
}

Variable variance_of(const Variable& x, std::uint32_t mask, bool keep) { return mean_of(square(x - mean_of(x, mask, true)), mask, keep); }

Variable norm_of(const Variable& x, std::uint32_t mask, bool keep) {
  auto squares = reduction(Reduction::sum, square(x), mask, keep);
  auto zero = equal(squares, constant(0));  // keeps the derivative of the root finite at 0
  return where(zero, constant(0), sqrt(where(zero, constant(1), squares)));
}

}  // namespace

const Operator& reduce_operator = reduce_object;
const Operator& sum_steps_operator = sum_steps_object;
const Operator& sum_groups_operator = sum_groups_object;

}  // namespace rw::detail

namespace rw {

using namespace detail;

Variable sum(const Variable& x) { return reduction(Reduction::sum, x, all_axes(x), false); }
Variable sum(const Variable& x, const Axes& axes, bool keep) { return reduction(Reduction::sum, x, mask_of("sum", x, axes), keep); }
Variable max(const Variable& x) { return reduction(Reduction::max, x, all_axes(x), false); }
Variable max(const Variable& x, const Axes& axes, bool keep) { return reduction(Reduction::max, x, mask_of("max", x, axes), keep); }
Variable min(const Variable& x) { return reduction(Reduction::min, x, all_axes(x), false); }
Variable min(const Variable& x, const Axes& axes, bool keep) { return reduction(Reduction::min, x, mask_of("min", x, axes), keep); }
Variable mean(const Variable& x) { return mean_of(x, all_axes(x), false); }
Variable mean(const Variable& x, const Axes& axes, bool keep) { return mean_of(x, mask_of("mean", x, axes), keep); }
Variable variance(const Variable& x) { return variance_of(x, all_axes(x), false); }
Variable variance(const Variable& x, const Axes& axes, bool keep) { return variance_of(x, mask_of("variance", x, axes), keep); }
Variable norm(const Variable& x) { return norm_of(x, all_axes(x), false); }
Variable norm(const Variable& x, const Axes& axes, bool keep) { return norm_of(x, mask_of("norm", x, axes), keep); }
Variable argmax(const Variable& x, Index axis, bool keep) { return reduction(Reduction::argmax, x, mask_of("argmax", x, axis), keep); }
Variable argmin(const Variable& x, Index axis, bool keep) { return reduction(Reduction::argmin, x, mask_of("argmin", x, axis), keep); }

Variable logsumexp(const Variable& x, const Axes& axes, bool keep) {
  auto top = detach(max(x, axes, true));
  top = where(is_finite(top), top, constant(0));  // all -inf gives -inf, an inf gives inf
  auto result = log(sum(exp(x - top), axes, true)) + top;
  if (keep) return result;
  return reshape(result, detail::reduced(x.shape(), mask_of("logsumexp", x, axes), false));
}

Variable softmax(const Variable& x, Index axis) {
  auto e = exp(x - detach(max(x, axis, true)));
  return e / sum(e, axis, true);
}

Variable log_softmax(const Variable& x, Index axis) { return x - logsumexp(x, axis, true); }

}  // namespace rw

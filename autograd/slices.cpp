// Parts of tensors and their joining: slice, concatenate, and the sum of many slices that is the gradient of many slices.
#include <cmath>
#include <memory>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/autograd/slices.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>
#include <utility>

namespace rw::detail {

namespace {

/// Copies (or adds) `part` to or from positions start .. of an axis of `whole`.
template <class F>
void for_part(const Shape& whole, const Shape& part, int axis, Index start, F f) {
  Strides strides = contiguous_strides(whole);
  for_each_index(part, [&](std::span<const Index> index, Index n) {
    Index at = start * strides[axis];
    for (int a = 0; a < part.rank(); ++a) at += index[a] * strides[a];
    f(at, n);
  });
}

/// x, start -> elements start .. of an axis. Attributes: axis, extent.
class SliceOperator final : public Operator {
 public:
  constexpr SliceOperator() : Operator("slice") {}
  bool cheap(const Instruction&) const override { return true; }
  Keep keep(const Node&) const override { return {}; }
  std::string describe(const Attributes& a) const override { return fmt::format("axis {} extent {}", a[0], a[1]); }
  void gradient(Pullback& p) const override { p.add_slice(0, static_cast<int>(p.node.attributes[0]), p.x(1), p.g()); }
  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    for_part(in[0]->shape, out[0].shape, static_cast<int>(i.attributes[0]), static_cast<Index>(in[1]->data[0]),
             [&](Index at, Index n) { out[0].data[n] = in[0]->data[at]; });
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot s = l.slot(i.inputs[0]);
    l.offset_by(s, i.inputs[1], s.strides[static_cast<int>(i.attributes[0])]);
    s.type = l.type(i.first);
    l.alias(i.first, s);
  }
  int lift(Lift& l) const override {
    if (!l.lifted[0] || l.lifted[1]) return -1;
    auto a = l.instruction.attributes;
    ++a[0];
    return l.outer.append(*this, a, l.inputs, l.type());
  }
  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0];
    if (c.rows[x] == Rows::unknown) c.rows[x] = Rows::shared;
    c.rows[c.instruction.first] = c.rows[x];
    return c.require(c.instruction.inputs[1], Rows::shared) && (c.rows[x] == Rows::shared || c.instruction.attributes[0] != 0);
  }
};

/// Attribute: axis.
class ConcatenateOperator final : public Operator {
 public:
  constexpr ConcatenateOperator() : Operator("concatenate") {}
  std::string describe(const Attributes& a) const override { return fmt::format("axis {}", a[0]); }
  void gradient(Pullback& p) const override {
    int axis = static_cast<int>(p.node.attributes[0]);
    Index start = 0;
    for (int i = 0; i < static_cast<int>(p.node.inputs.size()); ++i) {
      Index extent = p.type(i).shape[axis];
      if (p.needs(i)) p.add(i, part(p.g(), axis, constant(static_cast<double>(start)), extent));
      start += extent;
    }
  }
  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    int axis = static_cast<int>(i.attributes[0]);
    Index start = 0;
    for (const Array* x : in) {
      for_part(out[0].shape, x->shape, axis, start, [&](Index at, Index n) { out[0].data[at] = x->data[n]; });
      start += x->shape[axis];
    }
  }
  void lower(Lowering& l, const Instruction& i) const override {
    int axis = static_cast<int>(i.attributes[0]);
    Slot whole = l.result(i.first);
    Index start = 0;
    for (int v : i.inputs) {
      Slot to = whole;
      to.type.shape = l.type(v).shape;
      to.offset += start * whole.strides[axis];
      start += l.type(v).shape[axis];
      const Slot& from = l.slot(v);
      if (from.buffer != to.buffer || from.offset != to.offset || !(from.strides == to.strides)) l.emit_copy(from, to);
    }
  }
  int lift(Lift& l) const override {
    for (std::size_t k = 0; k < l.inputs.size(); ++k) {
      if (l.lifted[k]) continue;
      Type t = l.outer.types[l.inputs[k]];
      t.shape.insert(0, l.steps);
      l.inputs[k] = l.outer.append(broadcast_operator, {}, {l.inputs[k]}, t);
    }
    return l.outer.append(*this, {l.instruction.attributes[0] + 1}, l.inputs, l.type());
  }
  bool rows(RowCheck& c) const override {
    bool any = false;
    for (int v : c.instruction.inputs) any |= c.rows[v] == Rows::row;
    for (int v : c.instruction.inputs)
      if (!c.require(v, any ? Rows::row : Rows::shared)) return false;
    c.rows[c.instruction.first] = any ? Rows::row : Rows::shared;
    return !any || c.instruction.attributes[0] != 0;
  }
};

/// part, start, part, start, ..: zeros of the result's shape with each part added at its start. Attribute: axis.
class ScatterSlicesOperator final : public Operator {
 public:
  constexpr ScatterSlicesOperator() : Operator("scatter_slices") {}
  std::string describe(const Attributes& a) const override { return fmt::format("axis {}", a[0]); }
  void gradient(Pullback& p) const override {
    int axis = static_cast<int>(p.node.attributes[0]);
    for (int i = 0; i < static_cast<int>(p.node.inputs.size()); i += 2)
      if (p.needs(i)) p.add(i, part(p.g(), axis, p.x(i + 1), p.type(i).shape[axis]));
  }
  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    for (std::size_t k = 0; k < in.size(); k += 2)
      for_part(out[0].shape, in[k]->shape, static_cast<int>(i.attributes[0]), static_cast<Index>(in[k + 1]->data[0]),
               [&](Index at, Index n) { out[0].data[at] += in[k]->data[n]; });
  }
  void lower(Lowering& l, const Instruction& i) const override {
    int axis = static_cast<int>(i.attributes[0]);
    Slot whole = l.result(i.first);
    std::vector<Slot> slots{whole};  // then from, to for each part
    for (std::size_t k = 0; k < i.inputs.size(); k += 2) {
      Slot to = whole, from = l.slot(i.inputs[k]);
      to.type.shape = from.type.shape;
      l.offset_by(to, i.inputs[k + 1], whole.strides[axis]);
      slots.push_back(std::move(from));
      slots.push_back(std::move(to));
    }
    struct Scatter final : Step {
      Scatter(std::vector<Slot> s, int a) : slots(std::move(s)), axis(a) {}
      void run(const Frame& f) const override {
        if (tiles(f)) {
          for (std::size_t k = 1; k < slots.size(); k += 2) copy(slots[k].view(f), slots[k + 1].view(f));
          return;
        }
        fill(slots[0].view(f), 0);
        for (std::size_t k = 1; k < slots.size(); k += 2) accumulate(slots[k].view(f), slots[k + 1].view(f));
      }
      /// Whether the parts are all of the whole, none twice: then nothing is added up.
      bool tiles(const Frame& f) const {
        const Index extent = slots[0].shape()[axis], apart = slots[0].strides[axis] * size_of(slots[0].type.dtype);
        Index left = extent;
        List<char> there(static_cast<std::size_t>(extent));
        for (std::size_t k = 2; k < slots.size() && apart != 0; k += 2) {
          const Index start = (slots[k].address(f) - slots[0].address(f)) / apart;
          for (Index e = start; e < start + slots[k].shape()[axis]; ++e) left -= !std::exchange(there[static_cast<std::size_t>(e)], 1);
        }
        return left == 0 && covered() == extent;
      }
      Index covered() const {
        Index sum = 0;
        for (std::size_t k = 2; k < slots.size(); k += 2) sum += slots[k].shape()[axis];
        return sum;
      }
      std::vector<Slot> slots;
      int axis;
    };
    auto step = std::make_unique<Scatter>(slots, axis);
    l.emit(std::move(step), slots);
  }
  int lift(Lift& l) const override {
    for (std::size_t k = 0; k < l.inputs.size(); k += 2)
      if (!l.lifted[k] || l.lifted[k + 1]) return -1;
    return l.outer.append(*this, {l.instruction.attributes[0] + 1}, l.inputs, l.type());
  }
  bool rows(RowCheck& c) const override {
    for (std::size_t k = 0; k < c.instruction.inputs.size(); k += 2)
      if (!c.require(c.instruction.inputs[k], Rows::row) || !c.require(c.instruction.inputs[k + 1], Rows::shared)) return false;
    c.rows[c.instruction.first] = Rows::row;
    return c.instruction.attributes[0] != 0;
  }
};

/// Running sum. Attributes: axis, from the end.
class CumsumOperator final : public Operator {
 public:
  constexpr CumsumOperator() : Operator("cumsum") {}
  std::string describe(const Attributes& a) const override { return fmt::format("axis {}{}", a[0], a[1] ? " from the end" : ""); }
  void gradient(Pullback& p) const override {
    p.add(0, record(*this, {p.node.attributes[0], !p.node.attributes[1]}, {local("cumsum", p.g())}, p.type(0)));
  }
  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    int axis = static_cast<int>(i.attributes[0]);
    const Shape& s = in[0]->shape;
    Index inner = 1;
    for (int a = axis + 1; a < s.rank(); ++a) inner *= s[a];
    for (Index n = 0, size = s.size(); n < size; ++n) {
      Index e = i.attributes[1] ? size - 1 - n : n, position = e / inner % s[axis];
      bool begins = i.attributes[1] ? position == s[axis] - 1 : position == 0;
      out[0].data[e] = in[0]->data[e] + (begins ? 0 : out[0].data[i.attributes[1] ? e + inner : e - inner]);
    }
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot x = l.slot(i.inputs[0]), y = l.result(i.first);
    int axis = static_cast<int>(i.attributes[0]);
    bool reverse = i.attributes[1];
    l.emit({x, y}, [=](const Frame& f) { cumsum(x.view(f), axis, reverse, y.view(f)); });
  }
  int lift(Lift& l) const override {
    auto a = l.instruction.attributes;
    ++a[0];
    return l.outer.append(*this, a, l.inputs, l.type());
  }
  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0];
    if (c.rows[x] == Rows::unknown) c.rows[x] = Rows::shared;
    c.rows[c.instruction.first] = c.rows[x];
    return c.rows[x] == Rows::shared || c.instruction.attributes[0] != 0;
  }
};

constexpr SliceOperator slice_object;
constexpr ConcatenateOperator concatenate_object;
constexpr ScatterSlicesOperator scatter_slices_object;
constexpr CumsumOperator cumsum_object;

template <class T>
void accumulate_rows(const View& in, const View& out) {
  int rank = in.shape.rank();
  Index columns = rank ? in.shape[rank - 1] : 1, from = rank ? in.strides[rank - 1] : 0, to = rank ? out.strides[rank - 1] : 0;
  Shape rows = in.shape;
  if (rank) rows.erase(rank - 1);
  for_each_index(rows, [&](std::span<const Index> index, Index) {
    auto* x = static_cast<const T*>(in.data);
    auto* y = static_cast<T*>(out.data);
    for (std::size_t a = 0; a < index.size(); ++a)
      x += index[a] * in.strides[static_cast<int>(a)], y += index[a] * out.strides[static_cast<int>(a)];
    if (from == 1 && to == 1) {
      for (Index c = 0; c < columns; ++c) y[c] += x[c];
    } else {
      for (Index c = 0; c < columns; ++c) y[c * to] += x[c * from];
    }
  });
}

}  // namespace

const Operator& slice_operator = slice_object;
const Operator& concatenate_operator = concatenate_object;
const Operator& scatter_slices_operator = scatter_slices_object;

void accumulate(const View& in, const View& out) {
  if (in.shape.size() == 0) return;
  visit(in.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_same_v<T, bool>) accumulate_rows<T>(in, out);
  });
}

Variable part(const Variable& x, int axis, const Variable& start, Index extent) {
  Value *in = local("slice", x), *at = local("slice", start);
  Type type = in->type;
  type.shape[axis] = extent;
  return record(slice_operator, {axis, extent}, {in, at}, type);
}

}  // namespace rw::detail

namespace rw {

using namespace detail;

Variable slice(const Variable& x, Index axis, Index start, Index extent) {
  int a = normal_axis("slice", axis, x.rank());
  if (start < 0 || extent < 0 || start > x.shape()[a] || extent > x.shape()[a] - start)
    fail<ValueError>("slice: {} .. {} lies outside axis {} of {}", start, start + extent, a, x.shape());
  return part(x, a, static_cast<double>(start), extent);
}

Variable select(const Variable& x, Index axis, Index i) {
  int a = normal_axis("select", axis, x.rank());
  Index extent = x.shape()[a], at = i < 0 ? i + extent : i;
  if (at < 0 || at >= extent) fail<ValueError>("select: position {} lies outside axis {} of {}", i, a, x.shape());
  Shape shape = x.shape();
  shape.erase(a);
  return reshape(part(x, a, static_cast<double>(at), 1), shape);
}

namespace {
/// The axis from the front, and the extent of a part.
std::pair<int, Index> part_extent(const Variable& x, Index parts, Index axis) {
  int a = normal_axis("split", axis, x.rank());
  Index extent = x.shape()[a];
  if (parts < 1 || extent % parts != 0)
    fail<ShapeError>("split: axis {} of {} has extent {}, which is no multiple of {} (equal parts are needed)", a, x.shape(), extent,
                     parts);
  return {a, extent / parts};
}
}  // namespace

void detail::split_into(std::span<Variable> parts, const Variable& x, Index axis) {
  auto [a, extent] = part_extent(x, static_cast<Index>(parts.size()), axis);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Index start = static_cast<Index>(i) * extent;
    parts[i] = part(x, a, constant(static_cast<double>(start)), extent);
  }
}

std::vector<Variable> split(const Variable& x, Index parts, Index axis) {
  part_extent(x, parts, axis);
  std::vector<Variable> result(static_cast<std::size_t>(parts));
  split_into(result, x, axis);
  return result;
}

Variable concatenate(std::span<const Variable> parts, Index axis) {
  if (parts.empty()) fail<ShapeError>("concatenate: there are no parts (give one or more)");
  int a = normal_axis("concatenate", axis, parts[0].rank());
  detail::List<Value*> in;
  Type type{parts[0].dtype(), parts[0].shape()};
  type.shape[a] = 0;
  for (const auto& p : parts) {
    const Shape& s = p.shape();
    bool fits = s.rank() == type.shape.rank();
    for (int i = 0; fits && i < s.rank(); ++i) fits = i == a || s[i] == type.shape[i];
    if (!fits) fail<ShapeError>("concatenate: {} beside {} along axis {} (all other extents must be equal)", s, parts[0].shape(), a);
    if (p.dtype() != type.dtype) fail<DTypeError>("concatenate: {} beside {} (cast to one dtype)", p.dtype(), type.dtype);
    type.shape[a] += s[a];
    in.push_back(local("concatenate", p));
  }
  if (in.size() == 1) return parts[0];
  return record_one(concatenate_operator, {a}, in, type);
}

Variable stack(std::span<const Variable> parts, Index axis) {
  if (parts.empty()) fail<ShapeError>("stack: there are no parts (give one or more)");
  int a = normal_axis("stack", axis, parts[0].rank() + 1);
  detail::List<Variable> grown;
  for (const auto& p : parts) {
    if (!(p.shape() == parts[0].shape())) fail<ShapeError>("stack: {} beside {} (shapes must be equal)", p.shape(), parts[0].shape());
    grown.push_back(newaxis(p, a));
  }
  return concatenate(grown, a);
}

Variable pad(const Variable& x, Index axis, Index before, Index after, double value) {
  int a = normal_axis("pad", axis, x.rank());
  if (before < 0 || after < 0) fail<ValueError>("pad: {} before and {} after (both must be >= 0)", before, after);
  Shape shape = x.shape();
  detail::List<Variable> parts;
  auto edge = [&](Index extent) {
    shape[a] = extent;
    if (extent) parts.push_back(full(shape, constant(value), x.dtype()));
  };
  edge(before);
  parts.push_back(x);
  edge(after);
  return concatenate(parts, a);
}

Variable cumsum(const Variable& x, Index axis) {
  int a = normal_axis("cumsum", axis, x.rank());
  Value* in = local("cumsum", x);
  return record(cumsum_object, {a, 0}, {in}, in->type);
}

}  // namespace rw

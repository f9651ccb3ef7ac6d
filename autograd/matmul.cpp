// The matrix product on the tape. Attributes: left transposed, right transposed (their last two axes).
#include <rewind/autograd/gathered.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/matmul.hpp>

namespace rw::detail {

namespace {

struct Extents {
  Index batch, m, k, n;
  bool batched;  // the right operand has leading axes too
};

Extents extents(const Shape& a, const Shape& b, const Shape& out, bool ta) {
  int r = a.rank();
  Extents e{1, out[out.rank() - 2], a[ta ? r - 2 : r - 1], out.back(), b.rank() > 2};
  Index lead = 1;
  for (int i = 0; i < r - 2; ++i) lead *= a[i];
  if (e.batched) {
    e.batch = lead;
  } else {
    e.m *= lead;
  }
  return e;
}

/// Two-axis strides of a slot with its leading axes folded into the rows; false if no such strides exist.
bool as_matrix(const Slot& slot, Index rows, Index columns, Index& row, Index& column) {
  Strides s;
  if (!reshape_strides(slot.type.shape, slot.strides, Shape{rows, columns}, s)) return false;
  row = s[0];
  column = s[1];
  return true;
}

class MatmulOperator final : public Operator {
 public:
  constexpr MatmulOperator() : Operator("matmul") {}
  Keep keep(const Node&) const override { return {.operands = true}; }
  bool heavy() const override { return true; }
  std::string describe(const Attributes& t) const override {
    return t[0] && t[1] ? "both transposed" : t[0] ? "left transposed" : t[1] ? "right transposed" : "";
  }

  void gradient(Pullback& p) const override {
    bool ta = p.node.attributes[0], tb = p.node.attributes[1];
    auto g = p.g();
    if (!ta && p.type(1).shape.rank() == 2)
      if (Gathered rows = gathered(p, 0); rows.table) return gathered_gradient(p, rows);
    bool fold = p.type(0).shape.rank() > 2 && p.type(1).shape.rank() == 2;
    if (p.needs(0)) p.add(0, ta ? product(p.x(1), g, tb, true) : product(g, p.x(1), false, !tb));
    if (!p.needs(1)) return;
    auto a = p.x(0);
    if (fold) {  // one weight for all leading axes: their rows are one long sum
      Index rows = 1;
      for (int i = 0; i + 1 < g.rank(); ++i) rows *= g.shape()[i];
      a = reshape(a, Shape{rows, a.shape().back()});
      g = reshape(g, Shape{rows, g.shape().back()});
    }
    p.add(1, tb ? product(g, a, true, ta) : product(a, g, !ta, false));
  }

  static void gathered_gradient(Pullback& p, const Gathered& rows) {
    const bool tb = p.node.attributes[1];
    const auto sums = scatter_add(p.g(), rows.index(), rows.table->type.shape[0]);
    if (p.needs(1)) p.add(1, tb ? product(sums, handle(rows.table), true, false) : product(handle(rows.table), sums, true, false));
    if (rows.passes) return p.add(rows.table, product(sums, p.x(1), false, !tb));
    if (p.needs(0)) p.add(0, product(p.g(), p.x(1), false, !tb));
  }

  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    bool ta = i.attributes[0], tb = i.attributes[1];
    auto e = extents(in[0]->shape, in[1]->shape, out[0].shape, ta);
    for (Index b = 0; b < e.batch; ++b)
      for (Index r = 0; r < e.m; ++r)
        for (Index c = 0; c < e.n; ++c) {
          double s = 0;
          for (Index k = 0; k < e.k; ++k)
            s += in[0]->data[b * e.m * e.k + (ta ? k * e.m + r : r * e.k + k)] *
                 in[1]->data[b * e.k * e.n + (tb ? c * e.k + k : k * e.n + c)];
          out[0].data[(b * e.m + r) * e.n + c] = s;
        }
  }

  void lower(Lowering& l, const Instruction& i) const override {
    bool ta = i.attributes[0], tb = i.attributes[1];
    const Shape& out = l.type(i.first).shape;
    auto e = extents(l.type(i.inputs[0]).shape, l.type(i.inputs[1]).shape, out, ta);
    DType dtype = l.type(i.first).dtype;
    auto operand = [&](int value) {
      DType own = l.type(value).dtype;
      return own == dtype ? l.slot(value) : l.converted(value, dtype);
    };
    Slot a = operand(i.inputs[0]), b = operand(i.inputs[1]), c = l.result(i.first);
    Index a_row, a_column, b_row, b_column, c_row, c_column;
    Index rows = ta ? e.k : e.m, columns = ta ? e.m : e.k;
    if (!as_matrix(a, e.batch * rows, columns, a_row, a_column)) {
      a = l.dense_copy(a);
      a_row = columns, a_column = 1;
    }
    if (!as_matrix(b, e.batch * (tb ? e.n : e.k), tb ? e.k : e.n, b_row, b_column)) {
      b = l.dense_copy(b);
      b_row = tb ? e.k : e.n, b_column = 1;
    }
    Slot target = c;
    if (!as_matrix(c, e.batch * e.m, e.n, c_row, c_column) || (c_column != 1 && e.n != 1)) {
      target = l.scratch(c.type);
      c_row = e.n;
    }
    Index a_batch = rows * a_row, b_batch = (tb ? e.n : e.k) * b_row;
    if (ta) std::swap(a_row, a_column);
    if (tb) std::swap(b_row, b_column);
    int pack = e.batched || ta ? -1 : l.pack_request(b, dtype, e.k, e.n, b_row, b_column, e.m);
    l.splits(worth_splitting(e.m, e.n, e.k));
    bool pack_here = pack < 0 && !e.batched && !ta && runs_worth_packing(e.m, b_column) <= 1;
    l.emit({a, b, target}, [=](const Frame& f) {
      Index size = size_of(dtype);
      for (Index n = 0; n < e.batch; ++n) {
        Matrix left{a.address(f) + n * a_batch * size, a_row, a_column}, right{b.address(f) + n * b_batch * size, b_row, b_column};
        std::byte* to = target.address(f) + n * e.m * c_row * size;
        if (pack >= 0 && f.packs && f.packs[pack]) {
          matmul(e.m, left, *f.packs[pack], to, c_row, false, f.split, f.ahead);
        } else if (pack_here) {
          PackedMatrix packed(dtype, e.k, e.n, right);
          matmul(e.m, left, packed, to, c_row, false, f.split);
        } else if (ta && a_row == 1 && b_column == 1) {
          matmul_steps(dtype, e.m, e.n, e.k, 1, left.data, a_column, 0, right.data, b_row, 0, to, c_row, false, f.split);
        } else {
          matmul(dtype, e.m, e.n, e.k, left, right, to, c_row, false, f.split);
        }
      }
    });
    if (target.buffer != c.buffer) l.emit_copy(target, c);
  }

  int lift(Lift& l) const override {
    if (l.lifted[1] || l.outer.types[l.inputs[1]].shape.rank() > 2) {  // a product a step: batched over time
      for (int k = 0; k < 2; ++k) {
        if (l.lifted[k]) continue;
        Type t = l.outer.types[l.inputs[k]];
        t.shape.insert(0, l.steps);
        l.inputs[k] = l.outer.append(broadcast_operator, {}, {l.inputs[k]}, t);
      }
      if (l.outer.types[l.inputs[0]].shape.rank() != l.outer.types[l.inputs[1]].shape.rank()) return -1;
    } else if (l.instruction.attributes[0]) {
      return -1;
    }
    return l.outer.append(*this, l.instruction.attributes, l.inputs, l.type());
  }

  bool rows(RowCheck& c) const override {
    int a = c.instruction.inputs[0], b = c.instruction.inputs[1], y = c.instruction.first;
    int ra = c.program.types[a].shape.rank(), rb = c.program.types[b].shape.rank();
    if (c.rows[a] == Rows::shared && c.rows[b] != Rows::row) {
      c.rows[y] = Rows::shared;
      return c.require(b, Rows::shared);
    }
    if (rb == 2 ? bool(c.instruction.attributes[0]) : ra != rb) return false;
    if (c.program.types[a].shape[0] != c.batch) return false;
    c.rows[y] = Rows::row;
    return c.require(a, Rows::row) && c.require(b, rb == 2 ? Rows::shared : Rows::row);
  }
};

/// sum over time of left_t^T right_t: [T,R,M], [T,R,N] -> [M,N], continued from a third operand [M,N] if there is one. Attribute 0: from
/// the last step to the first; 1: with the sum over time and rows of the right operand, a second result [N], continued if the first is
/// from a fourth operand.
class MatmulStepsOperator final : public Operator {
 public:
  constexpr MatmulStepsOperator() : Operator("matmul_steps") {}
  std::string describe(const Attributes& a) const override {
    return fmt::format("{}{}{}", a[0] ? "backward in time" : "", a[0] && a[1] ? ", " : "", a[1] ? "with row sums" : "");
  }

  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    const Shape& s = in[0]->shape;
    Index rows = s[0] * s[1], m = s[2], n = in[1]->shape[2];
    if (in.size() > 2)
      for (std::size_t k = 0; k < out.size(); ++k) out[k].data = in[2 + k]->data;
    for (Index r = 0; r < rows; ++r) {
      for (Index x = 0; x < m; ++x)
        for (Index y = 0; y < n; ++y) out[0].data[x * n + y] += in[0]->data[r * m + x] * in[1]->data[r * n + y];
      if (i.attributes[1])
        for (Index y = 0; y < n; ++y) out[1].data[y] += in[1]->data[r * n + y];
    }
  }

  void lower(Lowering& l, const Instruction& i) const override {
    auto rows_contiguous = [&](int value) {
      Slot s = l.slot(value);
      return s.strides[2] == 1 || s.shape()[2] == 1 ? s : l.dense_copy(s);
    };
    Slot a = rows_contiguous(i.inputs[0]), b = rows_contiguous(i.inputs[1]);
    bool reversed = i.attributes[0], with_sums = i.attributes[1], continues = i.inputs.size() > 2;
    auto result = [&](int k) { return continues ? l.continued(i.first + k, i.inputs[2 + k]) : l.dense_result(i.first + k); };
    Slot c = result(0), sums = with_sums ? result(1) : Slot{};
    l.splits(worth_splitting(a.shape()[2], b.shape()[2], a.shape()[0] * a.shape()[1]));
    auto run = [=](const Frame& f) {
      const Shape &sa = a.shape(), &sb = b.shape();
      Index size = size_of(c.type.dtype), last = reversed ? sa[0] - 1 : 0, sign = reversed ? -1 : 1;
      matmul_steps(c.type.dtype, sa[2], sb[2], sa[1], sa[0], a.address(f) + last * a.strides[0] * size, a.strides[1], sign * a.strides[0],
                   b.address(f) + last * b.strides[0] * size, b.strides[1], sign * b.strides[0], c.address(f), sb[2], continues, f.split,
                   with_sums ? sums.address(f) : nullptr);
    };
    with_sums ? l.emit({a, b, c, sums}, run) : l.emit({a, b, c}, run);
    l.finish(i.first, c);
    if (with_sums) l.finish(i.first + 1, sums);
  }
};

constexpr MatmulOperator matmul_object;
constexpr MatmulStepsOperator matmul_steps_object;

}  // namespace

const Operator& matmul_operator = matmul_object;
const Operator& matmul_steps_operator = matmul_steps_object;

Variable product(const Variable& a, const Variable& b, bool ta, bool tb) {
  Value *x = local("matmul", a), *y = local("matmul", b);
  const Shape &sa = x->type.shape, &sb = y->type.shape;
  int ra = sa.rank(), rb = sb.rank();
  Shape out = sa;
  out[ra - 2] = sa[ta ? ra - 1 : ra - 2];
  out[ra - 1] = sb[tb ? rb - 2 : rb - 1];
  return record(matmul_operator, {ta, tb}, {x, y}, Type{promote(x->type.dtype, y->type.dtype), out});
}

}  // namespace rw::detail

namespace rw {

Variable matmul(const Variable& a, const Variable& b) {
  using detail::local;
  const auto &ta = local("matmul", a)->type, &tb = local("matmul", b)->type;
  const Shape &sa = ta.shape, &sb = tb.shape;
  if (sa.rank() == 0 || sb.rank() == 0)
    fail<ShapeError>("matmul: operands need an axis: a is {}, b is {} (multiply numbers with *)", sa, sb);
  for (const auto* t : {&ta, &tb})
    if (!is_floating(t->dtype)) fail<DTypeError>("matmul: f32 or f64 is needed: a is {}, b is {} (cast first)", ta.dtype, tb.dtype);
  if (sa.rank() == 1) {
    auto y = matmul(reshape(a, Shape{1, sa[0]}), b);
    Shape s = y.shape();
    s.erase(s.rank() == 1 ? 0 : s.rank() - 2);
    return reshape(y, s);
  }
  if (sb.rank() == 1) {
    auto y = matmul(a, reshape(b, Shape{sb[0], 1}));
    Shape s = y.shape();
    s.erase(s.rank() - 1);
    return reshape(y, s);
  }
  if (sa.back() != sb[sb.rank() - 2])
    fail<ShapeError>("matmul: inner dimensions differ: a is {}, b is {} (a's last axis must equal b's {})", sa, sb,
                     sb.rank() == 2 ? "first" : "last but one");
  if (sb.rank() > 2) {
    bool same = sa.rank() == sb.rank();
    for (int i = 0; same && i + 2 < sa.rank(); ++i) same = sa[i] == sb[i];
    if (!same) fail<ShapeError>("matmul: leading axes differ: a is {}, b is {} (they must be equal, or b of rank 2)", sa, sb);
  }
  return detail::product(a, b, false, false);
}

}  // namespace rw

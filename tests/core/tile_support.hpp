// What the tests of the tile machine share: a builder of programs, memory of any dtype, an interpreter in plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <random>
#include <rewind/core/tile.hpp>
#include <string>
#include <vector>

#include "support.hpp"

namespace rw::test {

using Kind = TileProgram::Kind;

/// Builds a program line by line; every function gives the number of the value.
struct Builder {
  TileProgram program;
  explicit Builder(DType dtype = DType::f64) { program.dtype = dtype; }
  int operand(DType dtype) {
    program.operands.push_back(dtype);
    return static_cast<int>(program.operands.size()) - 1;
  }
  int add(TileProgram::Instruction i) {
    program.code.push_back(i);
    return static_cast<int>(program.code.size()) - 1;
  }
  int load(int operand, bool narrow = false) { return add({.kind = Kind::load, .narrow = narrow, .operand = operand}); }
  template <class Op>
  int apply(int a, int b = -1, int c = -1, bool narrow = false) {
    return add({.kind = Kind::apply, .code = op::code<Op>, .narrow = narrow, .a = a, .b = b, .c = c});
  }
  int reduce(Kind kind, int a) { return add({.kind = kind, .a = a}); }
  void store(int value, int operand) { add({.kind = Kind::store, .a = value, .operand = operand}); }
};

/// A memory operand of a test: elements in double, the dtype they are kept in, and its strides.
struct Buffer {
  DType dtype;
  std::vector<std::byte> bytes;
  Buffer(DType d, std::size_t n) : dtype(d), bytes(n * static_cast<std::size_t>(size_of(d))) {}
  double get(Index i) const {
    return visit(dtype, [&](auto t) {
      decltype(t) v;
      std::memcpy(&v, bytes.data() + static_cast<std::size_t>(i) * sizeof v, sizeof v);
      return static_cast<double>(v);
    });
  }
  void set(Index i, double x) {
    visit(dtype, [&](auto t) {
      auto v = static_cast<decltype(t)>(x);
      std::memcpy(bytes.data() + static_cast<std::size_t>(i) * sizeof v, &v, sizeof v);
    });
  }
};

/// An operand, and where it begins.
struct Operand : TileOperand, TilePlace {};

inline Operand operand(Buffer& b, std::initializer_list<Index> strides, Index offset = 0) {
  Operand o;
  o.data = b.bytes.data() + offset * size_of(b.dtype);
  int i = 0;
  for (Index s : strides) o.strides[i++] = s;
  return o;
}

/// A program over any space: the Tile of the last one is kept.
class Machine {
 public:
  explicit Machine(TileProgram program, Isa isa = rw::isa()) : program_(std::move(program)), isa_(isa) {}
  void run(const Shape& space, const Operand* operands, Index begin, Index end) { over(space, operands).run(places_.data(), begin, end); }
  void run(const Shape& space, const Operand* operands, bool split) { over(space, operands).run(places_.data(), split); }

 private:
  const Tile& over(const Shape& space, const Operand* operands) {
    const Operand* end = operands + program_.operands.size();
    const std::vector<TileOperand> forms(operands, end);
    const bool same = tile_ && space == space_ && std::equal(forms.begin(), forms.end(), forms_.begin(), [](const auto& a, const auto& b) {
                        return a.rows == b.rows && a.across == b.across && std::equal(a.strides, a.strides + max_rank, b.strides);
                      });
    if (!same) tile_.emplace(program_, space_ = space, forms_ = forms, isa_);
    places_.assign(operands, end);
    return *tile_;
  }
  TileProgram program_;
  Isa isa_;
  std::optional<Tile> tile_;
  Shape space_;
  std::vector<TileOperand> forms_;
  std::vector<TilePlace> places_;
};

inline Buffer random_buffer(DType dtype, std::size_t n, unsigned seed) {
  std::mt19937_64 bits(seed);
  std::normal_distribution<double> normal;
  Buffer b(dtype, n);
  for (std::size_t i = 0; i < n; ++i) {
    double x = normal(bits);
    if (dtype == DType::boolean) x = x > 0;
    if (dtype == DType::i32 || dtype == DType::i64) x = std::nearbyint(3 * x);
    b.set(static_cast<Index>(i), x);
  }
  return b;
}

template <class F>
void for_isas(F&& f) {
  for (Isa isa : {Isa::sse2, Isa::avx2, Isa::avx512})
    if (supported(isa)) f(isa);
}

inline double value_of(op::Code code, double x, double y, double z) {
  if (code == op::code<op::Add>) return x + y;
  if (code == op::code<op::Subtract>) return x - y;
  if (code == op::code<op::Multiply>) return x * y;
  if (code == op::code<op::Maximum>) return x >= y ? x : y;
  if (code == op::code<op::Tanh>) return std::tanh(x);
  if (code == op::code<op::Sigmoid>) return 1 / (1 + std::exp(-x));
  if (code == op::code<op::Negate>) return -x;
  if (code == op::code<op::Where>) return x != 0 ? y : z;
  if (code == op::code<op::Clamp>) return x < y ? y : x > z ? z : x;
  FAIL("no reference for code " << int(code));
  return 0;
}

inline int runs = 0;

/// Runs a program over [rows axes.., C] point by point in double, reading and writing nothing but copies.
inline std::vector<Buffer> interpret(const TileProgram& program, const Shape& space, const std::vector<Operand>& operands,
                                     const std::vector<Buffer*>& buffers) {
  std::vector<Buffer> result;
  for (auto* b : buffers) result.push_back(*b);
  Index columns = space.rank() ? space.back() : 1, rows = columns ? space.size() / columns : 0;
  std::vector<std::vector<double>> values(program.code.size());
  auto place = [&](int o, Index row, Index column) {
    Index at =
        (static_cast<const std::byte*>(operands[static_cast<std::size_t>(o)].data) - buffers[static_cast<std::size_t>(o)]->bytes.data()) /
        size_of(buffers[static_cast<std::size_t>(o)]->dtype);
    const auto& strides = operands[static_cast<std::size_t>(o)].strides;
    if (space.rank()) at += column * strides[space.rank() - 1];
    for (int a = space.rank() - 2; a >= 0; --a) at += row % space[a] * strides[a], row /= space[a];
    return at;
  };
  std::vector<bool> narrow(program.code.size());
  for (std::size_t n = 0; n < program.code.size(); ++n) {
    const auto& i = program.code[n];
    auto o = static_cast<std::size_t>(i.operand);
    narrow[n] = i.kind == Kind::store ? narrow[static_cast<std::size_t>(i.a)]
                                      : i.narrow || i.kind == Kind::sum || i.kind == Kind::max || i.kind == Kind::min;
    Index width = narrow[n] ? 1 : columns;
    auto read = [&](int v, Index r, Index c) {
      if (v < 0) return 0.0;
      auto k = static_cast<std::size_t>(v);
      return values[k][static_cast<std::size_t>(narrow[k] ? r : r * columns + c)];
    };
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < width; ++c) {
        double x = 0;
        switch (i.kind) {
          case Kind::load: x = buffers[o]->get(place(i.operand, r, c)); break;
          case Kind::gather: {
            Index row = static_cast<Index>(buffers[static_cast<std::size_t>(i.index)]->get(place(i.index, r, c)));
            x = buffers[o]->get(place(i.operand, r, c) + row * operands[o].across);
            break;
          }
          case Kind::column: x = static_cast<double>(c); break;
          case Kind::apply: x = value_of(i.code, read(i.a, r, c), read(i.b, r, c), read(i.c, r, c)); break;
          case Kind::sum:
            for (Index j = 0; j < columns; ++j) x += read(i.a, r, j);
            break;
          case Kind::max:
          case Kind::min:
            x = read(i.a, r, 0);
            for (Index j = 1; j < columns; ++j) x = i.kind == Kind::max ? std::fmax(x, read(i.a, r, j)) : std::fmin(x, read(i.a, r, j));
            break;
          case Kind::store: result[o].set(place(i.operand, r, c), read(i.a, r, c)); continue;
          default: FAIL("not interpreted");
        }
        values[n].push_back(x);
      }
  }
  return result;
}

/// Runs on every instruction set and compares all memory; aliasing operands share a buffer, whose last interpreted copy counts.
inline void check(const TileProgram& program, const Shape& space, const std::vector<Operand>& operands, const std::vector<Buffer*>& buffers,
                  double tolerance) {
  auto wanted = interpret(program, space, operands, buffers);
  std::vector<std::vector<std::byte>> before;
  for (auto* b : buffers) before.push_back(b->bytes);
  for_isas([&](Isa isa) {
    Machine tile(program, isa);
    for (bool split : {false, true}) {
      tile.run(space, operands.data(), split);
      for (std::size_t k = 0; k < program.code.size(); ++k) {
        const auto& i = program.code[k];
        if (i.kind != Kind::store) continue;
        auto o = static_cast<std::size_t>(i.operand);
        Index n = static_cast<Index>(buffers[o]->bytes.size()) / size_of(buffers[o]->dtype);
        int wrong = 0;
        for (Index e = 0; e < n && wrong < 3; ++e)
          if (!(test::mixed_error(buffers[o]->get(e), wanted[o].get(e)) <= tolerance)) {
            ++wrong;
            FAIL_CHECK(std::string(name(isa)) << " " << to_string(space) << " operand " << o << " element " << e << ": "
                                              << buffers[o]->get(e) << ", not " << wanted[o].get(e));
          }
      }
      ++runs;
      for (std::size_t b = 0; b < buffers.size(); ++b) buffers[b]->bytes = before[b];
    }
  });
}

/// x - max, exp, sum, divide.
inline int softmax(Builder& b, int x) {
  int e = b.apply<op::Exp>(b.apply<op::Subtract>(x, b.reduce(Kind::max, x)));
  return b.apply<op::Divide>(e, b.reduce(Kind::sum, e));
}

}  // namespace rw::test

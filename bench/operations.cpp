// Elementwise operations on the tile machine, in L1 and from memory; reductions, random numbers, rows by index and copies from memory.
// Bytes are those of operands and results, each once, as in the rate of copies beside which they stand.
#include <fmt/format.h>

#include <rewind/core/kernels.hpp>
#include <rewind/core/tile.hpp>

#include "ops.hpp"

namespace rw::bench {

namespace {

constexpr Index in_cache = 1 << 11, in_memory = 1 << 24;  // elements: 8 KB of f32 an operand, and 64 MB
constexpr double span = 0.05;

/// Numbers from 0.25 to 2, in the domain of every operation.
Tensor numbers(const Shape& shape, DType dtype) {
  const Tensor t(shape, dtype);
  for (Index i = 0; i < t.size(); i += in_cache) {
    const Index n = std::min(in_cache, t.size() - i);
    auto fill = [&](auto* to) {
      for (Index k = 0; k < n; ++k) to[i + k] = 0.25 + 1.75 * static_cast<double>(k * 7919 % 2003) / 2003;
    };
    dtype == DType::f64 ? fill(reinterpret_cast<double*>(t.view().data)) : fill(reinterpret_cast<float*>(t.view().data));
  }
  return t;
}

/// Seconds of one run of a program of one operation over so many elements, which lie end to end.
double run(const TileProgram& program, const std::vector<TilePlace>& places, Index elements, bool split) {
  const Tile tile(program, {elements}, std::vector<TileOperand>(places.size(), {{1}}));
  return best_seconds([&] { tile.run(places.data(), split); }, span);
}

void elementwise(op::Code code, DType dtype, const Limits& limits, const std::vector<Tensor>& memory) {
  const auto& info = op::info[code];
  TileProgram program;
  program.dtype = dtype;
  std::vector<TilePlace> places;
  auto operand = [&](const Tensor& t) {
    program.operands.push_back(dtype);
    places.push_back({t.view().data});
    return static_cast<int>(places.size()) - 1;
  };
  for (int k = 0; k < info.arity; ++k)
    program.code.push_back({.kind = TileProgram::Kind::load, .operand = operand(memory[static_cast<std::size_t>(k)])});
  program.code.push_back(
      {.kind = TileProgram::Kind::apply, .code = code, .a = 0, .b = info.arity > 1 ? 1 : -1, .c = info.arity > 2 ? 2 : -1});
  program.code.push_back({.kind = TileProgram::Kind::store, .a = info.arity, .operand = operand(memory.back())});
  const double near = run(program, places, in_cache, false), far = run(program, places, in_memory, limits.split);
  const double bytes = static_cast<double>((info.arity + 1) * in_memory * size_of(dtype));
  fmt::print("{:<24}{:>10.3f}{:>12.3f}{:>10.1f}{:>9.2f}\n", info.name, near * 1e9 / in_cache, far * 1e9 / in_memory, bytes / far * 1e-9,
             bytes / far / limits.bytes);
}

/// What has no form in L1.
void other(const char* name, Index elements, double bytes, const Limits& limits, const std::function<void()>& call) {
  const double seconds = best_seconds(call, span);
  fmt::print("{:<24}{:>10}{:>12.3f}{:>10.1f}{:>9.2f}\n", name, "", seconds * 1e9 / static_cast<double>(elements), bytes / seconds * 1e-9,
             bytes / seconds / limits.bytes);
}

}  // namespace

void operations(DType dtype, const Limits& limits) {
  const auto size = static_cast<double>(size_of(dtype) * in_memory);
  std::vector<Tensor> memory;
  for (int k = 0; k < 4; ++k) memory.push_back(numbers({in_memory}, dtype));
  fmt::print("\n{:<24}{:>10}{:>12}{:>10}{:>9}\n", "operation", "in L1 ns", "memory ns", "GB/s", "share");
  op::for_each([&](auto operation) { elementwise(op::code<decltype(operation)>, dtype, limits, memory); });

  for (auto [name, kind] : {std::pair{"uniform", TileProgram::Kind::uniform}, {"normal", TileProgram::Kind::normal}}) {
    Tensor key({2}, DType::i64);
    key.data<Index>()[0] = key.data<Index>()[1] = 1;
    const TileProgram program{.dtype = dtype,
                              .operands = {DType::i64, dtype},
                              .code = {{.kind = kind, .operand = 0}, {.kind = TileProgram::Kind::store, .a = 0, .operand = 1}}};
    const std::vector<TilePlace> places{{key.view().data}, {memory[0].view().data}};
    const double near = run(program, places, in_cache, false), far = run(program, places, in_memory, limits.split);
    fmt::print("{:<24}{:>10.3f}{:>12.3f}{:>10.1f}{:>9.2f}\n", name, near * 1e9 / in_cache, far * 1e9 / in_memory, size / far * 1e-9,
               size / far / limits.bytes);
  }

  constexpr Index rows = in_memory / 1024, columns = 1024, table = 10000;
  const Tensor in = numbers({rows, columns}, dtype), out = numbers({rows, columns}, dtype), across = in.transpose();
  const Tensor row_sums({rows, 1}, dtype), column_sums({1, columns}, dtype), rows_of_table = numbers({table, columns}, dtype);
  Tensor index({rows}, DType::i64);
  for (Index i = 0; i < rows; ++i) index.data<Index>()[i] = i * 7919 % table;
  other("sum of rows", in_memory, size, limits, [&] { reduce(Reduction::sum, in.view(), 2, row_sums.view(), limits.split); });
  other("max of rows", in_memory, size, limits, [&] { reduce(Reduction::max, in.view(), 2, row_sums.view(), limits.split); });
  other("sum of columns", in_memory, size, limits, [&] { reduce(Reduction::sum, in.view(), 1, column_sums.view(), limits.split); });
  other("sum over steps", in_memory, size, limits, [&] {
    sum_steps(dtype, columns, 32, rows / 32, in.view().data, columns, 32 * columns, column_sums.view().data, false, limits.split);
  });
  other("running sum", in_memory, 2 * size, limits, [&] { cumsum(in.view(), 0, false, out.view()); });
  other("gather", in_memory, 2 * size, limits, [&] { gather_rows(rows_of_table.view(), index.view(), out.view()); });
  other("scatter_add", in_memory, 3 * size, limits, [&] { scatter_add_rows(in.view(), index.view(), rows_of_table.view(), true); });
  other("copy", in_memory, 2 * size, limits, [&] { copy(in.view(), out.view()); });
  const Tensor turned({columns, rows}, dtype);
  other("copy, transposed", in_memory, 2 * size, limits, [&] { copy(across.view(), turned.view()); });
}

}  // namespace rw::bench

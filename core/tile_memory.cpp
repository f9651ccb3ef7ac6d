// Sources of the tile machine that are not plain copies: rows by index, random numbers, positions.
#include <limits>
#include <rewind/core/format.hpp>
#include <rewind/core/random.hpp>
#include <rewind/core/tile_plan.hpp>

namespace rw::tile {

namespace {

template <class To, class From, class I>
void gather_as(Index rows, Index columns, const From* data, Index row, Index column, Index across, const I* index, Index index_row,
               Index index_column, To* out, Index out_row) {
  for (Index r = 0; r < rows; ++r) {
    const From* from = data + r * row;
    const I* at = index + r * index_row;
    To* to = out + r * out_row;
    if (index_column == 0) {
      from += static_cast<Index>(*at) * across;
      for (Index j = 0; j < columns; ++j) to[j] = static_cast<To>(from[j * column]);
    } else {
      for (Index j = 0; j < columns; ++j) to[j] = static_cast<To>(from[j * column + static_cast<Index>(at[j * index_column]) * across]);
    }
  }
}

template <class F>
void visit_index(DType dtype, F&& f) {
  dtype == DType::i32 ? f(std::int32_t{}) : f(std::int64_t{});
}

template <class T>
void random_as(Kind kind, RandomKey key, std::uint64_t first, Index rows, Index columns, Index row, Index column, T* out, Index out_row) {
  auto fill = [&](std::uint64_t e, T* to, Index n) { kind == Kind::uniform ? fill_uniform(key, e, to, n) : fill_normal(key, e, to, n); };
  if (columns == 1 && out_row == 1) columns = rows, column = row, rows = 1;
  if (column == 1 && row == columns && out_row == columns) columns *= rows, rows = 1;
  for (Index r = 0; r < rows; ++r) {
    std::uint64_t e = first + static_cast<std::uint64_t>(r * row);
    T* to = out + r * out_row;
    if (column == 1) {
      fill(e, to, columns);
    } else {
      for (Index j = 0; j < columns; ++j) fill(e + static_cast<std::uint64_t>(j * column), to + j, 1);
    }
  }
}

}  // namespace

void gather(Index rows, Index columns, DType data_dtype, DType index_dtype, DType out_dtype, const void* data, Index row, Index column,
            Index across, const void* index, Index index_row, Index index_column, void* out, Index out_row) {
  visit(data_dtype, [&](auto from) {
    visit_index(index_dtype, [&](auto i) {
      using From = decltype(from);
      using I = decltype(i);
      auto run = [&](auto* to) {
        gather_as(rows, columns, static_cast<const From*>(data), row, column, across, static_cast<const I*>(index), index_row, index_column,
                  to, out_row);
      };
      out_dtype == DType::f32 ? run(static_cast<float*>(out)) : run(static_cast<double*>(out));
    });
  });
}

void random(Kind kind, DType dtype, const void* key, std::uint64_t first, Index rows, Index columns, Index row, Index column, void* out,
            Index out_row) {
  auto words = static_cast<const std::int64_t*>(key);
  RandomKey stream{static_cast<std::uint64_t>(words[0]), static_cast<std::uint64_t>(words[1])};
  if (dtype == DType::f32) {
    random_as(kind, stream, first, rows, columns, row, column, static_cast<float*>(out), out_row);
  } else {
    random_as(kind, stream, first, rows, columns, row, column, static_cast<double*>(out), out_row);
  }
}

namespace {
/// I: the shorter integers convert several at a time.
template <class I, class T>
[[gnu::optimize("tree-vectorize", "vect-cost-model=dynamic")]] void count_from(I first, I columns, T* out) {
  for (I j = 0; j < columns; ++j) out[j] = static_cast<T>(first + j);
}
}  // namespace

void columns_from(DType dtype, Index first, Index columns, void* out) {
  auto fill = [&](auto* to) {
    if (first + columns <= std::numeric_limits<std::int32_t>::max())
      count_from(static_cast<std::int32_t>(first), static_cast<std::int32_t>(columns), to);
    else
      count_from(first, columns, to);
  };
  dtype == DType::f32 ? fill(static_cast<float*>(out)) : fill(static_cast<double*>(out));
}

void check_indices(DType dtype, const void* index, Index rows, Index columns, Index row, Index column, Index extent) {
  visit_index(dtype, [&](auto i) {
    auto at = static_cast<const decltype(i)*>(index);
    for (Index r = 0; r < rows; ++r)
      for (Index j = 0; j < (column == 0 ? 1 : columns); ++j) {
        Index value = static_cast<Index>(at[r * row + j * column]);
        if (value < 0 || value >= extent) fail<ValueError>("gather: index {} lies outside 0 .. {}", value, extent - 1);
      }
  });
}

}  // namespace rw::tile

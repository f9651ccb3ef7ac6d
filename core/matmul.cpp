// The products as callers ask for them, on the instruction set of this process.
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/matmul_kernels.hpp>

namespace rw {
namespace detail {

const ProductTable& product_table(Isa isa) {
  switch (isa) {
    case Isa::avx512: return product_avx512;
    case Isa::avx2: return product_avx2;
    case Isa::sse2: break;
  }
  return product_sse2;
}

namespace {
/// Calls f with a zero of the C++ type.
template <class F>
void visit_product(const char* op, DType dtype, F&& f) {
  if (dtype == DType::f32) return f(float{});
  if (dtype == DType::f64) return f(double{});
  fail<DTypeError>("{}: dtype must be f32 or f64: got {} (cast the operands)", op, dtype);
}

template <class T>
GroupedMatrix<T> left(Matrix a, Index k) {
  return {static_cast<const T*>(a.data), a.column, a.row, k, 0};
}
template <class T>
GroupedMatrix<T> right(Matrix b, Index k) {
  return {static_cast<const T*>(b.data), b.row, b.column, k, 0};
}
}  // namespace
}  // namespace detail

void matmul(DType dtype, Index m, Index n, Index k, Matrix a, Matrix b, void* c, Index c_row, bool accumulate, bool split) {
  detail::visit_product("matmul", dtype, [&]<class T>(T) {
    detail::Product<T> product{m, n, k, detail::left<T>(a, k), detail::right<T>(b, k), nullptr, static_cast<T*>(c), c_row, accumulate};
    detail::run_product(detail::product_table(isa()).of<T>(), product, split);
  });
}

void matmul(Index m, Matrix a, const PackedMatrix& b, void* c, Index c_row, bool accumulate, bool split, std::span<const Ahead> ahead) {
  detail::visit_product("matmul", b.dtype(), [&]<class T>(T) {
    const auto* panels = static_cast<const T*>(b.panels());
    detail::Product<T> product{m, b.n(), b.k(), detail::left<T>(a, b.k()), {}, panels, static_cast<T*>(c), c_row, accumulate, ahead};
    detail::run_product(detail::product_table(isa()).of<T>(), product, split);
  });
}

void matmul_steps(DType dtype, Index m, Index n, Index rows, Index steps, const void* a, Index a_row, Index a_step, const void* b,
                  Index b_row, Index b_step, void* c, Index c_row, bool accumulate, bool split, void* sums) {
  if (sums && (m == 0 || rows * steps == 0)) sum_steps(dtype, n, rows, steps, b, b_row, b_step, sums, accumulate, split);
  detail::visit_product("matmul_steps", dtype, [&]<class T>(T) {
    detail::GroupedMatrix<T> left{static_cast<const T*>(a), a_row, 1, rows, a_step};
    detail::GroupedMatrix<T> right{static_cast<const T*>(b), b_row, 1, rows, b_step};
    if (rows == 1)  // one group instead of many
      for (auto* x : {&left, &right}) *x = {x->data, x->step, 1, steps, 0};
    detail::Product<T> product{m, n, rows * steps, left, right, nullptr, static_cast<T*>(c), c_row, accumulate};
    product.sums = static_cast<T*>(sums);
    detail::run_product(detail::product_table(isa()).of<T>(), product, split);
  });
}

}  // namespace rw
